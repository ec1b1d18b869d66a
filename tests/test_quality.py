"""Sample quality: the Fréchet distance against closed forms, and the shipped classifier."""

from pathlib import Path

import numpy as np
import pytest
import torch

from scorerep.checkpoint import CheckpointError
from scorerep.data import ImageData, load_data
from scorerep.quality import (
    ImageClassifier,
    accuracy,
    class_accuracy,
    features,
    frechet_distance,
    frechet_interval,
    gaussian_fit,
    kernel_distance,
    kernel_interval,
    load_classifier,
    save_classifier,
    sure_share,
    train_classifier,
)

WEIGHTS = Path(__file__).parents[1] / "book/checkpoints" / "mnist-classifier"


def draws(n, d=5, shift=0.0, scale=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return shift + scale * torch.randn(n, d, generator=generator, dtype=torch.float64)


def test_frechet_distance_of_gaussians_is_the_closed_form():
    # |μ − μ'|² + Σ_j (σ_j − σ'_j)² for diagonal covariances
    a, b = draws(200_000), draws(200_000, shift=0.5, scale=2.0, seed=1)
    assert frechet_distance(a, b) == pytest.approx(5 * 0.25 + 5 * 1.0, rel=0.02)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


def test_bootstrap_interval_covers_the_distance_and_shrinks_with_samples():
    real = draws(20_000)
    widths = []
    for n in (500, 8_000):
        value, low, high = frechet_interval(real, draws(n, shift=0.5, seed=2), resamples=50)
        assert low < value < high
        widths.append(high - low)
    assert widths[1] < 0.5 * widths[0]


def test_gaussian_fit_has_the_images_moments():
    images = 0.2 * draws(5_000, 12).float().view(-1, 1, 3, 4) + 0.1
    fake = gaussian_fit(images, 5_000, torch.Generator().manual_seed(1))
    assert fake.shape == images.shape and float(fake.abs().max()) <= 1
    assert torch.allclose(fake.mean(0), images.mean(0), atol=0.02)
    assert torch.allclose(fake.flatten(1).T.cov(), images.flatten(1).T.cov(), atol=0.005)


def test_shipped_classifier_is_right_on_99_percent_of_test_images():
    assert accuracy(load_classifier(WEIGHTS), load_data("mnist", "test")) >= 0.99


def test_real_digits_are_near_and_gaussian_noise_is_far():
    classifier, test = load_classifier(WEIGHTS), load_data("mnist", "test", limit=1_500).floats()
    real = features(classifier, test[:500])
    held_out = frechet_distance(real, features(classifier, test[500:1_000]))
    fit = gaussian_fit(test[:500], 500, torch.Generator().manual_seed(0))
    assert frechet_distance(real, features(classifier, fit)) > 20 * held_out
    share, low, high = sure_share(classifier, test[1_000:])
    assert low <= share <= high and share > 0.9
    assert sure_share(classifier, fit)[0] < share


def test_training_learns_and_saving_keeps_it(tmp_path):
    data = load_data("mnist", limit=2_000)
    torch.manual_seed(0)
    model = train_classifier(data, iterations=60, batch_size=64)
    held_out = load_data("mnist", "test", limit=500)
    assert accuracy(model, held_out) > 0.6
    save_classifier(model, tmp_path, iterations=60)
    assert accuracy(load_classifier(tmp_path), held_out) == pytest.approx(
        accuracy(model, held_out), abs=0.01
    )


def test_wrong_data_and_missing_weights_are_errors(tmp_path):
    with pytest.raises(ValueError, match=r"batch_size must lie in 2\.\.20, got 128"):
        train_classifier(load_data("digits", limit=20))
    with pytest.raises(ValueError, match="image_shape must be"):
        ImageClassifier((3, 2, 32))
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_classifier(tmp_path)
    with pytest.raises(ValueError, match="device must be a name"):
        load_classifier(WEIGHTS, "gpu")
    with pytest.raises(ValueError, match=r"images must be floats of shape \(batch, 1, 28, 28\)"):
        features(load_classifier(WEIGHTS), torch.zeros(2, 3, 32, 32))
    with pytest.raises(ValueError, match="fake must be .* features"):
        frechet_distance(draws(10), draws(10, d=4))
    with pytest.raises(ValueError, match="y must have one label for each"):
        class_accuracy(load_classifier(WEIGHTS), torch.zeros(0, 1, 28, 28), torch.zeros(0).long())


class Likes(ImageClassifier):
    """Its logits are the first pixels."""

    def forward(self, x):
        return x.flatten(1)[:, : self.num_classes]


def test_share_of_the_own_class_is_among_those_that_can_be_asked_for():
    images, y = torch.zeros(4, 1, 4, 4), torch.tensor([0, 1, 1, 0])
    images[:, 0, 0, 2] = 1.0  # a class that is not asked for is liked most
    images[:3, 0, 0, 1] = 0.5  # of the two others it is class 1, but for the last image
    images[3, 0, 0, 0] = 0.5
    judge = Likes((1, 4, 4), 3)
    assert class_accuracy(judge, images, y)[0] == 0
    share, low, high = class_accuracy(judge, images, y, among=[0, 1])
    assert share == 0.75 and low < 0.75 < high
    assert class_accuracy(judge, images, y, range(3)) == class_accuracy(judge, images, y)
    for among in ([], [0], [0, 1, 3]):
        with pytest.raises(ValueError, match="among must be classes that the judge knows"):
            class_accuracy(judge, images, y, among)


def test_classifier_of_colour_images_is_trained_saved_and_loaded(tmp_path):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(240) % 3
    images = torch.randint(0, 60, (240, 3, 12, 20), generator=generator, dtype=torch.uint8)
    images[torch.arange(240), labels] += 120  # the class is the brightest channel
    data = ImageData(images, labels, ("red", "green", "blue"), "colours", "train")
    model = train_classifier(data, iterations=40, batch_size=32)
    assert accuracy(model, data) > 0.9
    save_classifier(model, tmp_path)
    again = load_classifier(tmp_path)
    assert again.image_shape == (3, 12, 20) and again.num_classes == 3
    assert accuracy(again, data) == pytest.approx(accuracy(model, data), abs=0.02)
    found = features(again, data.floats())
    for dtype in (torch.float64, torch.bfloat16):
        peer = features(load_classifier(tmp_path).to(dtype), data.floats())
        assert peer.dtype == torch.float32 and torch.allclose(peer, found, rtol=0.1, atol=0.1)


def test_kernel_distance_is_that_of_its_definition_and_unbiased():
    a, b = draws(40), draws(40, shift=0.5, seed=1)
    k = lambda x, y: (x @ y.T / 5 + 1) ** 3  # noqa: E731
    off = 1 - torch.eye(40).double()
    exact = ((k(a, a) + k(b, b)) * off).sum() / (40 * 39) - 2 * k(a, b).mean()
    assert kernel_distance(a, b) == pytest.approx(float(exact), rel=1e-9)
    # Of two samples of one law: 0 on average, where the Fréchet distance of few is far from 0.
    pairs = [(draws(30, seed=2 * s), draws(30, seed=2 * s + 1)) for s in range(60)]
    values = np.array([kernel_distance(*pair) for pair in pairs])
    assert abs(values.mean()) < 3 * values.std() / 60**0.5 and (values < 0).any()
    assert np.mean([frechet_distance(*pair) for pair in pairs[:10]]) > 0.5


def test_kernel_interval_is_as_wide_as_the_distance_varies():
    state = torch.get_rng_state()
    found = [
        kernel_interval(draws(100, seed=2 * s), draws(100, shift=0.5, seed=2 * s + 1), subsets=60)
        for s in range(30)
    ]
    assert torch.equal(torch.get_rng_state(), state)
    values, low, high = np.array(found).T
    half = (high - low).mean() / 2
    assert 0.6 * 1.96 * values.std() < half < 1.6 * 1.96 * values.std()
    assert found[0] == kernel_interval(draws(100), draws(100, shift=0.5, seed=1), subsets=60)
