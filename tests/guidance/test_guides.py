"""Guides against the closed form, their training, and the errors that come before any work."""

from dataclasses import replace

import pytest
import torch

from scorerep import checkpoint, sampling
from scorerep.data import load_data
from scorerep.guidance.classifier import (
    ClassifierConfig,
    CrossEntropy,
    NoisyClassifier,
    fit_classifier,
)
from scorerep.guidance.guides import (
    Guide,
    LawClassifier,
    ScoreDifference,
    guided_score,
    load_pair,
)
from scorerep.model import ModelConfig, ScoreModel
from scorerep.quality import class_accuracy
from scorerep.sde import VESDE
from scorerep.times import UniformTime
from scorerep.training import Optimisation
from scorerep.worlds.empirical import EmpiricalLaw
from scorerep.worlds.mixture import GaussianMixture, labelled_quartet

SDE, WORLD = VESDE(), labelled_quartet()
SMALL = ClassifierConfig(image_shape=(1, 8, 8), channels=(8, 8))
BUDGET = Optimisation(iterations=3, batch_size=16, learning_rate=1e-3, warmup=1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def exact(x, t):
    return WORLD.score(x, SDE.tau(t))


def model_of(num_classes: int = 0, **changes) -> ScoreModel:
    torch.manual_seed(num_classes)
    config = ModelConfig(
        image_shape=(2,), channels=(16, 16), latent=0, num_classes=num_classes, **changes
    )
    return ScoreModel(config).eval()


@pytest.mark.parametrize("t", [0.1, 0.4, 0.8])
def test_score_plus_exact_guide_is_the_conditional_score(t):
    x_0, y = WORLD.sample(200, seeded())
    x_t = x_0 + float(SDE.tau(t)) * torch.randn(x_0.shape, generator=seeded(1)).double()
    field = guided_score(exact, LawClassifier(WORLD, SDE), y)
    torch.testing.assert_close(field(x_t, t), WORLD.score(x_t, SDE.tau(t), y))


def test_guide_of_the_empirical_law_is_its_guidance_score():
    digits = load_data("digits").subset(300)
    law = EmpiricalLaw(digits.images, digits.labels)
    x_t = digits.batch(slice(0, 20)) + 1.5 * torch.randn(20, 1, 8, 8, generator=seeded())
    t, y = float(SDE.time_of_tau(1.5)), (digits.labels[:20] + 1) % 10
    guide = LawClassifier(law, SDE).gradient(x_t, t, y)
    torch.testing.assert_close(guide, law.guidance_score(x_t, 1.5, y), rtol=1e-4, atol=1e-4)
    below = LawClassifier(law, SDE, least=2.0).gradient(x_t, t, y)
    assert torch.equal(below, torch.zeros_like(x_t))


def test_larger_scale_makes_samples_surer_of_their_class_and_narrower():
    y = torch.zeros(600, dtype=torch.long)
    start = SDE.prior_sample(600, 2, generator=seeded(), dtype=torch.float64)
    sure, spread = [], []
    for scale in (1.0, 4.0):
        field = guided_score(exact, LawClassifier(WORLD, SDE), y, scale)
        x_0 = sampling.heun(field, SDE, start, steps=20)
        sure.append(float(WORLD.class_posterior(x_0, 0.0)[:, 0].mean()))
        parts = [x_0[x_0[:, 0] * sign > 0] for sign in (-1, 1)]  # one component each
        spread.append(sum(float(part.var(0).sum()) for part in parts))
    assert sure[1] > sure[0] + 0.02
    assert spread[1] < 0.8 * spread[0]


def test_gradient_of_the_network_is_that_of_its_own_probabilities():
    torch.manual_seed(0)
    classifier = NoisyClassifier(replace(SMALL, num_classes=3)).double().eval()
    x, y = torch.randn(4, 1, 8, 8, generator=seeded()).double(), torch.tensor([0, 1, 2, 1])
    assert torch.allclose(classifier(x, 0.5).exp().sum(1), torch.ones(4).double())
    with torch.no_grad():  # as the samplers call it
        gradient = classifier.gradient(x, 0.5, y)
    h = 1e-5 * torch.randn(x.shape, generator=seeded(1)).double()
    ends = [classifier(x + sign * h, 0.5).gather(1, y[:, None]) for sign in (1, -1)]
    torch.testing.assert_close(
        (gradient * h).flatten(1).sum(1), (ends[0] - ends[1])[:, 0] / 2, rtol=1e-4, atol=1e-12
    )


def test_difference_of_scores_guides_to_the_conditional_score():
    conditional, plain = model_of(2, sigma_data=0.7), model_of(sigma_data=0.7)
    for model in (conditional, plain):
        torch.nn.init.normal_(model.network.out.weight)
    x, y = torch.randn(8, 2, generator=seeded()), torch.arange(8) % 2
    with torch.no_grad():
        field = guided_score(plain, ScoreDifference(conditional, plain), y)
        torch.testing.assert_close(field(x, 0.5), conditional.score(x, 0.5, y))


def test_classifier_of_points_approaches_the_exact_posterior():
    torch.manual_seed(0)
    config = ClassifierConfig(image_shape=(2,), channels=(32, 32), num_classes=2, sigma_data=0.7)
    classifier, objective = NoisyClassifier(config), CrossEntropy(UniformTime())
    optimiser = torch.optim.Adam(classifier.parameters(), lr=1e-2)
    generator, losses = seeded(), []
    for _ in range(150):
        x_0, y = WORLD.sample(256, generator)
        x_0 = x_0.float()
        loss = objective(classifier, x_0, objective.draw(x_0, 0, generator), y)
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
        losses.append(float(loss.matching))
    tau = 0.3
    x = (
        WORLD.sample(2_000, generator)[0] + tau * torch.randn(2_000, 2, generator=generator)
    ).float()
    with torch.no_grad():
        learned = classifier(x, float(SDE.time_of_tau(tau))).exp()
    exact_posterior = WORLD.class_posterior(x, tau)
    assert float((learned - exact_posterior).abs().mean()) < 0.1
    assert sum(losses[-20:]) < sum(losses[:20])


def test_fitted_classifier_resumes_and_is_the_one_on_disk(tmp_path):
    data = load_data("digits").subset(100)
    whole = fit_classifier(SMALL, data, BUDGET, tmp_path / "a", progress=False)
    fit_classifier(SMALL, data, replace(BUDGET, iterations=2), tmp_path / "b", progress=False)
    again = fit_classifier(SMALL, data, BUDGET, tmp_path / "b", progress=False)
    loaded = NoisyClassifier.from_pretrained(tmp_path / "a")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    card = checkpoint.read_card(tmp_path / "b")
    assert card["iterations_done"] == 3 and card["seconds"] > 0
    other = load_data("digits").subset(90)
    with pytest.raises(checkpoint.CheckpointError, match="differs in data_checksum"):
        fit_classifier(SMALL, other, BUDGET, tmp_path / "b", progress=False)
    with pytest.raises(checkpoint.CheckpointError, match="differs in optimisation"):
        faster = replace(BUDGET, learning_rate=1e-2)
        fit_classifier(SMALL, data, faster, tmp_path / "b", progress=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_shape": (1, 8.0, 8)}, "image_shape must be whole numbers"),
        ({"image_shape": (1, 0, 8)}, "image_shape must be"),
        ({"channels": (8, 8.5)}, "channels must be whole numbers"),
    ],
)
def test_impossible_classifiers_are_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_an_error_before_anything_is_written(tmp_path, seed):
    data = load_data("digits").subset(96)
    with pytest.raises(ValueError, match="seed must lie in"):
        fit_classifier(SMALL, data, BUDGET, tmp_path / "a", seed=seed, progress=False)
    assert not list(tmp_path.iterdir())


def test_accuracy_counts_the_class_that_was_asked_for():
    class Judge(torch.nn.Module):
        def forward(self, x):
            return 50 * torch.nn.functional.one_hot(x[:, 0, 0, 0].long(), 10).float()

    images = torch.zeros(10, 1, 28, 28)
    images[:5] = 1.0
    share, low, high = class_accuracy(Judge(), images, torch.zeros(10, dtype=torch.long))
    assert share == 0.5 and low < 0.5 < high


def test_bad_input_is_named(tmp_path):
    guide, plain = LawClassifier(WORLD, SDE), model_of()
    y = torch.zeros(3, dtype=torch.long)
    with pytest.raises(ValueError, match="y must be given: without labels"):
        guided_score(plain, guide, None)
    with pytest.raises(ValueError, match="this model is conditional"):
        guided_score(model_of(2), guide, y)
    with pytest.raises(ValueError, match="is not the score model's"):
        guided_score(model_of(sigma_max=20.0), guide, y)
    with pytest.raises(ValueError, match="the guide is for data of shape"):
        guided_score(plain, NoisyClassifier(SMALL), y)
    with pytest.raises(ValueError, match="model of labels"):
        ScoreDifference(plain, plain)
    one_class = GaussianMixture([1.0], [[0.0, 0.0]], 1.0)
    with pytest.raises(ValueError, match="labels of at least two classes"):
        LawClassifier(one_class, SDE)
    with pytest.raises(ValueError, match="labels of at least two classes"):
        LawClassifier(EmpiricalLaw(torch.zeros(4, 2)), SDE)
    with pytest.raises(ValueError, match="num_classes must be at least 2"):
        ClassifierConfig(num_classes=1)
    digits = load_data("digits")
    with pytest.raises(ValueError, match="needs images of each"):
        fit_classifier(replace(SMALL, num_classes=2), digits.select(["3"]), BUDGET, tmp_path)
    with pytest.raises(ValueError, match="image_shape is"):
        fit_classifier(replace(SMALL, image_shape=(1, 28, 28)), digits, BUDGET, tmp_path)
    with pytest.raises(ValueError, match="a classifier needs labels"):
        objective = CrossEntropy(UniformTime())
        x = torch.zeros(4, 1, 8, 8)
        objective(NoisyClassifier(SMALL), x, objective.draw(x, 0))


def test_pair_of_other_data_or_sde_is_an_error(tmp_path):
    config = ModelConfig(image_shape=(1, 8, 8), channels=(4, 4), blocks=1, latent=0)
    for name, data in (("digits", "a"), ("others", "b")):
        ScoreModel(config).save_pretrained(tmp_path / name, data_checksum=data)
    NoisyClassifier(SMALL).save_pretrained(tmp_path / "classifier", data_checksum="a")
    model, classifier = load_pair(tmp_path / "digits", tmp_path / "classifier")
    assert model.sde == classifier.sde
    with pytest.raises(ValueError, match="were trained on different data"):
        load_pair(tmp_path / "others", tmp_path / "classifier")
    NoisyClassifier(replace(SMALL, sigma_max=20.0)).save_pretrained(
        tmp_path / "narrow", data_checksum="a"
    )
    with pytest.raises(ValueError, match="the guide's SDE"):
        load_pair(tmp_path / "digits", tmp_path / "narrow")
    with pytest.raises(checkpoint.CheckpointError, match="no classifier of noisy images"):
        NoisyClassifier.from_pretrained(tmp_path / "digits")


def guides():
    torch.manual_seed(0)
    conditional, plain = model_of(2), model_of()
    for model in (conditional, plain):
        torch.nn.init.normal_(model.network.out.weight)
    network = NoisyClassifier(ClassifierConfig(image_shape=(2,), channels=(8,), num_classes=2))
    return LawClassifier(WORLD, SDE), network.eval(), ScoreDifference(conditional, plain)


@pytest.mark.parametrize("kind", range(3), ids=["law", "network", "difference"])
def test_all_guides_keep_the_protocol(kind):
    guide = guides()[kind]
    assert isinstance(guide, Guide)
    x, y = torch.randn(4, 2, generator=seeded()), torch.tensor([0, 1, 1, 0])
    t = torch.tensor([0.3, 0.5, 0.7, 0.9])
    with torch.no_grad():
        each = guide.gradient(x, t, y)
        alone = [guide.gradient(x[i : i + 1], float(t[i]), y[i : i + 1]) for i in range(4)]
        torch.testing.assert_close(each, torch.cat(alone), rtol=1e-4, atol=1e-5)
        # One label is for all images, and not for the first alone.
        all_ones = torch.ones(4, dtype=torch.long)
        for one in (1, torch.tensor(1)):
            field = guided_score(lambda x, t: torch.zeros_like(x), guide, one)
            torch.testing.assert_close(field(x, 0.5), guide.gradient(x, 0.5, all_ones))
    for wrong in (torch.tensor([1]), torch.ones(5).long(), torch.tensor([0.0] * 4)):
        with pytest.raises(ValueError, match="y must be"):
            guided_score(lambda x, t: x, guide, wrong)(x, 0.5)


def test_the_law_guides_above_its_least_level_only():
    guide = LawClassifier(WORLD, SDE, least=0.5)
    t = SDE.time_of_tau(torch.tensor([0.2, 0.6, 0.4, 3.0]))
    x, y = torch.randn(4, 2, generator=seeded()), torch.tensor([0, 1, 1, 0])
    found, whole = (g.gradient(x, t, y) for g in (guide, LawClassifier(WORLD, SDE)))
    assert torch.equal(found[[0, 2]], torch.zeros(2, 2))
    torch.testing.assert_close(found[[1, 3]], whole[[1, 3]])
    with pytest.raises(ValueError, match="t must be positive"):
        LawClassifier(WORLD, SDE).gradient(x, 0.0, y)


def test_the_gradient_of_the_network_can_be_differentiated_where_gradients_are_on():
    guide = guides()[1].double()
    x = torch.randn(3, 2, generator=seeded()).double().requires_grad_()
    gradient = guide.gradient(x, 0.5, 1)
    second = torch.autograd.grad(gradient.sum(), x)[0]
    h = 1e-5
    ends = [guide.gradient(x.detach() + sign * h, 0.5, 1) for sign in (1, -1)]
    torch.testing.assert_close(
        second.sum(1), (ends[0] - ends[1]).sum(1).detach() / (2 * h), rtol=1e-4, atol=1e-8
    )
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            quiet = guide.gradient(x, 0.5, 1)
            assert not quiet.requires_grad and torch.allclose(quiet, gradient.detach())


def test_half_precision_rounds_the_weights_alone(tmp_path):
    torch.manual_seed(0)
    classifier = NoisyClassifier(SMALL).eval()
    classifier.save_pretrained(tmp_path, torch.float16)
    again = NoisyClassifier.from_pretrained(tmp_path)
    for name, buffer in classifier.named_buffers():
        assert torch.equal(again.get_buffer(name), buffer), name
    x = torch.randn(4, 1, 8, 8, generator=seeded())
    torch.testing.assert_close(again(x, 0.5), classifier(x, 0.5), rtol=1e-2, atol=1e-2)
    with pytest.raises(ValueError, match="dtype must be a floating-point type"):
        classifier.save_pretrained(tmp_path, torch.int8)
    with pytest.raises(ValueError, match="device must be a name"):
        NoisyClassifier.from_pretrained(tmp_path, "gpu")


def test_what_is_no_guide_or_scale_is_refused():
    with pytest.raises(TypeError, match="guide must have sde, image_shape and gradient"):
        guided_score(exact, exact, 1)
    with pytest.raises(ValueError, match="scale must be a finite number"):
        guided_score(exact, LawClassifier(WORLD, SDE), 1, float("nan"))
