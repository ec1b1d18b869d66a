"""Sample quality: the Fréchet distance against closed forms, and the shipped classifier."""

from pathlib import Path

import pytest
import torch

from scorerep.checkpoint import CheckpointError
from scorerep.data import load_data
from scorerep.quality import (
    accuracy,
    features,
    frechet_distance,
    frechet_interval,
    gaussian_fit,
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
    with pytest.raises(ValueError, match="must be 28×28 grey images"):
        train_classifier(load_data("digits"))
    with pytest.raises(CheckpointError, match="no weights at"):
        load_classifier(tmp_path)
