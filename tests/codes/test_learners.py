"""Autoencoders, β-VAE and PCA: the score models' encoder, and the optima that are known."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from book.studies import representations
from scorerep.codes.learners import Autoencoder, PrincipalComponents, Reconstruction
from scorerep.codes.scores import encode_in_batches, pca_codes
from scorerep.data import load_data
from scorerep.model import ModelConfig, ScoreModel
from scorerep.runs import fit
from scorerep.runs.fit import train_for
from scorerep.sde import VESDE
from scorerep.times import SingleTime, UniformTime
from scorerep.training import Optimisation, training_loop
from scorerep.worlds.linear_gaussian import LinearGaussian

DIGITS = ModelConfig(image_shape=(1, 8, 8), channels=(4, 8), blocks=1, latent=3, dropout=0.0)
SHORT = Optimisation(iterations=100, batch_size=16, learning_rate=3e-3, warmup=5)


@pytest.fixture(scope="module")
def digits():
    return load_data("digits").subset(64)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("probabilistic", [False, True])
@pytest.mark.parametrize("network", ["unet", "dense"])
def test_encoder_is_that_of_the_score_model(digits, probabilistic, network):
    config = replace(DIGITS, probabilistic=probabilistic, network=network, encoder_channels=(4, 8))
    score, autoencoder = ScoreModel(config), Autoencoder(config)
    score.encoder.load_state_dict(autoencoder.encoder.state_dict())
    codes = [encode_in_batches(model, digits) for model in (score, autoencoder)]
    assert codes[0].shape == (64, 3) and torch.equal(*codes)


@pytest.mark.parametrize("latent", [2, 16, 128])
def test_all_learners_of_a_seed_start_from_one_encoder_of_one_size(latent):
    encoders = {
        name: representations.learner(name, "mnist", latent, seed=1).model.encoder.state_dict()
        for name in representations.LEARNERS
        if name != "PCA"
    }
    first = encoders.pop("autoencoder")
    for name, other in encoders.items():
        for key, tensor in first.items():
            if name == "β-VAE" and key.startswith("dense.4"):
                continue  # mean and log-variance: twice the outputs
            assert torch.equal(tensor, other[key]), (name, key)


def test_penalty_of_the_beta_vae_has_its_full_weight_from_the_first_step():
    learner = representations.learner("β-VAE", "mnist", 2, seed=0)
    assert learner.objective.regulariser_weight == representations.BETA
    assert learner.optimisation.regulariser_at(0) == 1.0


@pytest.mark.parametrize(
    ("shape", "channels"), [((1, 28, 28), (4, 8)), ((3, 32, 32), (4, 4, 8)), ((5,), (16,))]
)
def test_decoder_gives_data_of_the_encoder_s_shape(shape, channels):
    model = Autoencoder(ModelConfig(image_shape=shape, channels=channels, blocks=1, latent=7))
    x = torch.zeros(2, *shape)
    z = model.encode(x)
    assert z.shape == (2, 7) and model.decode(z).shape == x.shape


# Known optima, on Gaussian data with linear maps

VARIANCES = torch.tensor([1.0, 0.5, 0.1, 0.05], dtype=torch.float64)


class Linear(nn.Module):
    """A linear autoencoder, with as many code variances as coordinates if probabilistic."""

    def __init__(self, latent: int, probabilistic: bool = False):
        super().__init__()
        torch.manual_seed(0)
        self.sde = VESDE()
        self.encoder = nn.Linear(4, latent, bias=False).double()
        self.decoder = nn.Linear(latent, 4, bias=False).double()
        self.log_variance = nn.Parameter(torch.full((latent,), -3.0, dtype=torch.float64))
        self.probabilistic = probabilistic

    def code_distribution(self, x_0):
        mean = self.encoder(x_0)
        return mean, self.log_variance.expand_as(mean) if self.probabilistic else None

    def decode(self, z):
        return self.decoder(z)


def least_loss(objective, latent, probabilistic=False, steps=700):
    """Mean of the last fifth of the losses, and the model."""
    world, model = LinearGaussian(VARIANCES), Linear(latent, probabilistic)
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    losses = []
    for _ in range(steps):
        x_0 = world.sample(500, generator)
        loss = objective(model, x_0, objective.draw(x_0, latent, generator)).total
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
    return sum(losses[-steps // 5 :]) / (steps // 5), model


def test_linear_autoencoder_finds_the_principal_subspace():
    loss, model = least_loss(Reconstruction(), latent=2)
    assert loss == pytest.approx(float(VARIANCES[2:].sum()) / 4, rel=0.03)
    q, _ = torch.linalg.qr(model.decoder.weight.detach())
    overlap = q[:2].square().sum()  # of 2: the decoder's plane is that of the first two directions
    assert float(overlap) == pytest.approx(2, abs=0.02)


def test_linear_denoising_autoencoder_keeps_them_too_and_shrinks():
    t = float(VESDE().time_of_tau(0.6))
    loss, _ = least_loss(Reconstruction(SingleTime(t)), latent=2)
    kept, lost = VARIANCES[:2], VARIANCES[2:]
    exact = (lost.sum() + (kept * 0.36 / (kept + 0.36)).sum()) / 4
    assert loss == pytest.approx(float(exact), rel=0.03)


def test_linear_beta_vae_pays_for_a_direction_what_reverse_water_filling_says():
    beta = 0.1  # a direction is worth its nats if its variance exceeds βd/2 = 0.2
    objective = Reconstruction(regulariser="kl", regulariser_weight=beta)
    loss, model = least_loss(objective, latent=4, probabilistic=True, steps=1_200)
    water = beta * 4 / 2
    kept, lost = VARIANCES[:2], VARIANCES[2:]
    exact = (lost.sum() + (water + water * torch.log(kept / water)).sum()) / 4
    assert loss == pytest.approx(float(exact), rel=0.03)
    spread = (model.encoder.weight.detach().square() @ VARIANCES).sqrt()
    assert int((spread > 0.3).sum()) == 2


def test_beta_of_zero_without_code_noise_is_the_autoencoder_s_loss(digits):
    model = Autoencoder(replace(DIGITS, probabilistic=True))
    x = digits.floats()
    objective = Reconstruction(regulariser="kl", regulariser_weight=0.0)
    draws = objective.draw(x, 3, torch.Generator().manual_seed(0))
    losses = objective(model, x, draws._replace(code_noise=torch.zeros(len(x), 3)))
    plain = (model.decode(model.encode(x)) - x).square().mean()
    assert torch.allclose(losses.total, plain) and float(losses.regulariser) > 0
    assert not torch.equal(objective(model, x, draws).total, losses.total)


def test_denoising_at_no_noise_is_the_autoencoder_s_loss(digits):
    model, x = Autoencoder(DIGITS), digits.floats()
    generator = torch.Generator().manual_seed(0)
    losses = [
        objective(model, x, objective.draw(x, 3, generator)).total
        for objective in (Reconstruction(), Reconstruction(SingleTime(1e-9)))
    ]
    assert torch.allclose(*losses, rtol=1e-3)
    noisy = Reconstruction(SingleTime(0.9))
    assert not torch.allclose(noisy(model, x, noisy.draw(x, 3, generator)).total, losses[0])


def test_principal_components_are_those_of_the_evaluation(digits):
    model = PrincipalComponents(digits, 5)
    codes = encode_in_batches(model, digits)
    assert torch.allclose(codes, torch.from_numpy(pca_codes(digits, digits, 5)[1]), atol=1e-4)
    error = (model.decode(codes) - digits.floats()).square().sum(dim=(1, 2, 3)).mean()
    flat = digits.floats().flatten(1)
    eigenvalues = torch.linalg.eigvalsh(torch.cov(flat.T, correction=0))
    assert float(error) == pytest.approx(float(eigenvalues[:-5].sum()), rel=1e-3)


# Training


def test_training_loop_lowers_the_squared_error(digits):
    torch.manual_seed(0)
    loop = training_loop(Autoencoder(DIGITS), digits, Reconstruction(), SHORT)
    losses = [float(state.losses.matching) for state in loop]
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])


class Clock:
    """A second a call; ``stops`` at one of them."""

    def __init__(self, stops: int | None = None):
        self.now, self.stops = 0.0, stops

    def __call__(self) -> float:
        self.now += 1
        if self.now == self.stops:
            raise KeyboardInterrupt
        return self.now


def test_time_limited_run_goes_on_from_its_state_to_the_same_weights(digits, tmp_path, monkeypatch):
    path = tmp_path / "state.safetensors"

    def train(clock, path=None):
        monkeypatch.setattr(fit.time, "process_time", clock)
        torch.manual_seed(0)
        return train_for(
            10, Autoencoder(DIGITS), digits, Reconstruction(), SHORT, path=path, save_every=3
        )

    whole, steps = train(Clock())
    assert steps == 10
    with pytest.raises(KeyboardInterrupt):
        train(Clock(stops=7), path)  # after the state of the third step
    again, steps = train(Clock(), path)
    assert steps == 10 and torch.equal(weights(whole), weights(again))


# The table


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(
        representations, "load_data", lambda name, split: load_data(name, split, limit=300)
    )


def arguments(folder, **changes):
    return representations.Arguments(
        data=("mnist",), latents=(2,), seeds=(0, 1), seconds=0.05, most=300,
        learners=("autoencoder", "PCA", "untrained"), folder=folder / "runs",
        out=folder / "table.csv", **changes,
    )  # fmt: skip


def test_killed_comparison_goes_on_without_losing_or_repeating(small, tmp_path, monkeypatch):
    real, done = representations.row, []

    def killed(run, *rest):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append((run["learner"], run["seed"]))
        return real(run, *rest)

    monkeypatch.setattr(representations, "row", killed)
    with pytest.raises(KeyboardInterrupt):
        representations.work(arguments(tmp_path))
    assert len(representations.collect(tmp_path / "runs", tmp_path / "table.csv")) == 3

    def counted(run, *rest):
        done.append((run["learner"], run["seed"]))
        return real(run, *rest)

    monkeypatch.setattr(representations, "row", counted)
    table = representations.work(arguments(tmp_path))
    assert sorted(done) == [
        ("PCA", 0), ("autoencoder", 0), ("autoencoder", 1), ("untrained", 0), ("untrained", 1)
    ]  # fmt: skip
    assert len(table) == 5 and table.groupby("learner").size().to_dict() == {
        "PCA": 1, "autoencoder": 2, "untrained": 2
    }  # fmt: skip
    for column in ("probe", "knn", "silhouette", "labels_100", "r2_stroke_width"):
        assert table[column].notna().all(), column
    assert (table[table.learner == "autoencoder"].iterations > 0).all()
    monkeypatch.setattr(representations, "row", lambda *_: pytest.fail("done again"))
    assert len(representations.work(arguments(tmp_path))) == 5

    # Another worker's folder: the rows join those of the table, PCA's once.
    monkeypatch.setattr(representations, "row", real)
    other = replace(arguments(tmp_path), seeds=(2,), folder=tmp_path / "other")
    other = replace(other, learners=("PCA", "untrained"))
    assert len(representations.work(other)) == 6


# Refusals


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Autoencoder(replace(DIGITS, latent=0)), "latent must be positive"),
        (
            lambda: Autoencoder(DIGITS).encode(torch.zeros(2, 1, 9, 9)),
            "x_0 must be floats of shape",
        ),
        (lambda: Autoencoder(DIGITS).decode(torch.zeros(2, 4)), r"z must be floats .*\(batch, 3\)"),
        # Its images would come back as integers.
        (lambda: Autoencoder(DIGITS).decode(torch.zeros(2, 3).long()), "z must be floats"),
        (lambda: Reconstruction("single_t"), "times must be a distribution such as"),
        (lambda: PrincipalComponents(torch.zeros(4, 1, 8, 8), 5), "latent must lie in 1..4"),
        (lambda: Reconstruction(proposal=UniformTime()), "no proposal"),
        (lambda: Reconstruction(draws_per_image=2), "one draw an image"),
        (lambda: Reconstruction(frozen_encoder=True), "no frozen phase"),
        (
            lambda: representations.work(representations.Arguments(learners=("PCA", "GAN"))),
            "no learner 'GAN'; there are",
        ),
    ],
)
def test_bad_input_gets_an_early_clear_error(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_seconds_must_be_positive(digits):
    with pytest.raises(ValueError, match="seconds must be positive, got 0"):
        train_for(0, Autoencoder(DIGITS), digits, Reconstruction(), SHORT)


def test_kl_needs_a_probabilistic_encoder(digits):
    objective = Reconstruction(regulariser="kl", regulariser_weight=1e-3)
    x = digits.floats()
    with pytest.raises(ValueError, match="probabilistic=True"):
        objective(Autoencoder(DIGITS), x, objective.draw(x, 3))
