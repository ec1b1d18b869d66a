"""Mutual information by two denoisers: exact where they are, close where they are trained."""

import math
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch

from book.studies import mutual_information as study
from book.studies.information_tasks import additive, bivariate, dense, student, tasks
from scorerep.codes import information, mutual
from scorerep.codes.mutual import BUDGET, LOWEST, Pair, estimate, prepared
from scorerep.codes.spectrum import Spectrum
from scorerep.sde import VESDE, VPSDE
from scorerep.training import Optimisation

SHORT = Optimisation(
    iterations=150, batch_size=128, learning_rate=5e-3, warmup=20, decay=0.8, ema=0.9
)
RHO = 0.8


class Exact:
    """E[x_0 | x_t] of a standard normal x, or given y of correlation ρ with it."""

    def __init__(self, sde, rho=0.0):
        self.sde, self.rho = sde, rho

    def denoise(self, x_t, t, y=None):
        mean = 0.0 if y is None else self.rho * y
        variance, noise = 1 - self.rho**2, float(self.sde.level(t)) ** 2
        at = x_t / float(self.sde.alpha(t))
        return (variance * at + noise * mean) / (variance + noise)


def normal_pairs(points: int, rho: float = RHO, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = bivariate(rho).sample(points, seed)
    return torch.tensor(x), torch.tensor(y)


@pytest.mark.parametrize("sde", [VESDE(0.01, 20.0), VPSDE()])
def test_best_denoisers_give_the_information_between_the_two_ends(sde):
    def told(level):  # I(x_τ; y), of correlation ρ/√(1 + τ²)
        return -0.5 * math.log(1 - RHO**2 / (1 + level**2))

    x, y = normal_pairs(4_000)
    found = estimate(x, y, (Exact(sde), Exact(sde, RHO)), levels=200)
    expected = told(LOWEST) - told(float(sde.level(1.0)))
    assert found.standard_error < 0.02 and found.points == 4_000
    assert found.value == pytest.approx(expected, abs=3 * found.standard_error)
    assert found.energy == pytest.approx(expected, abs=0.02)  # far less noise than the gap
    assert found.spectrum.integral().value == pytest.approx(found.value)
    assert found.energy != found.value


def test_noise_is_not_the_stream_that_the_points_were_drawn_from():
    sde, generator = VESDE(0.01, 20.0), torch.Generator().manual_seed(0)
    x, noise = torch.randn(2, 4_000, 1, generator=generator, dtype=torch.double)
    y = RHO * x + (1 - RHO**2) ** 0.5 * noise
    spectrum = estimate(x, y, (Exact(sde), Exact(sde, RHO)), levels=60).spectrum.per_octave(sde)
    low = spectrum.value[:12]  # τ up to 0.08, where nothing is hidden yet
    assert (np.abs(low) < 0.01 + 4 * spectrum.standard_error[:12]).all()


def test_a_worse_plain_network_adds_its_excess_and_a_worse_conditional_one_takes_it_away():
    sde = VESDE(0.01, 20.0)
    x, y = normal_pairs(4_000)
    exact = estimate(x, y, (Exact(sde), Exact(sde, RHO))).value
    ignorant = estimate(x, y, (Exact(sde), Exact(sde))).value
    assert ignorant == 0  # it does not use y
    assert estimate(x, y, (Exact(sde, RHO), Exact(sde, RHO))).value > exact + 0.2
    assert estimate(x, y, (Exact(sde), Exact(sde, 0.5))).value < exact - 0.05


def test_trained_networks_come_near_the_truth_and_independent_data_near_zero():
    x, y = normal_pairs(3_000)
    truth = bivariate(RHO).information
    found = information.estimate(x, y, optimisation=SHORT, channels=(16,), seed=1)
    assert found.points == 600
    assert abs(found.value - truth) < 0.1 and found.standard_error < 0.05
    alone = estimate(x, y.roll(1, 0), optimisation=SHORT, channels=(16,))
    assert abs(alone.value) < 0.05


def test_labels_are_told_as_one_of_many_and_a_seed_is_one_answer():
    x, _ = normal_pairs(2_000)
    chance = torch.sigmoid(3 * x[:, 0])
    positive = (torch.rand(2_000, generator=torch.Generator().manual_seed(0)) < chance).long()
    left = -(chance * chance.log() + (1 - chance) * (1 - chance).log()).mean()
    found = estimate(x, positive, optimisation=SHORT, channels=(16,), levels=20)
    assert found.value == pytest.approx(math.log(2) - float(left), abs=0.1)
    few = replace(SHORT, iterations=3)
    twice = [
        estimate(x[:200], y, optimisation=few, channels=(8,), levels=5).value
        for y in (positive[:200], torch.stack([positive == 0, positive == 1], 1)[:200].double())
    ]
    assert twice[0] == twice[1]


def test_preparing_is_the_same_after_any_increasing_map_and_whitens():
    x = np.random.default_rng(0).normal(size=(500, 3)) @ np.array(
        [[1, 0.5, 0], [0, 1, 0], [0, 0, 3]]
    )
    out = prepared("x", x)
    assert torch.equal(out, prepared("x", np.exp(x / 2)))
    np.testing.assert_allclose(np.cov(out.numpy(), rowvar=False), np.eye(3), atol=1e-5)
    with_twin = np.c_[x, x[:, :1], np.ones(500)]  # a copy and a constant tell nothing new
    assert prepared("x", with_twin).shape == (500, 3)
    assert prepared("x", torch.arange(60) % 4).shape == (60, 3)
    heavy = prepared("x", x, normal_scores=False)
    assert not torch.allclose(heavy, out, atol=1e-2)


def test_pair_is_told_y_in_the_place_of_a_code():
    torch.manual_seed(0)
    pair = Pair(2, 3, (8,))
    assert pair.given.encoder is None and pair.plain.config.latent == 0
    x, y = torch.randn(5, 2), torch.randn(5, 3)
    assert pair.given.denoise(x, 0.5, y).shape == pair.plain.denoise(x, 0.5).shape == (5, 2)
    with pytest.raises(ValueError, match="z must have shape"):
        pair.given.denoise(x, 0.5, y[:, :2])


def sizes(pair: Pair, y: torch.Tensor) -> tuple[float, float]:
    """Of what the first weights make of y, and of the part that y and −y have in common."""
    embed = pair.given.network.conditioning.code
    there, back = embed(y), embed(-y)
    return tuple(float(part.var(0).mean().sqrt()) for part in (there, (there + back) / 2))


@pytest.mark.parametrize("dimension", [1, 2, 30])
def test_first_weights_keep_the_size_of_y_and_bend_it(dimension):
    torch.manual_seed(0)
    y = torch.randn(2_000, dimension)
    with torch.no_grad():
        size, even = sizes(Pair(2, dimension), y)
        assert 0.5 < size < 1.5 and even > 0.3
        with mock.patch.object(mutual, "he_initialised", lambda network: network):
            size, even = sizes(Pair(2, dimension), y)
        assert size < 0.2 and even < 0.1


def test_a_common_scale_is_found():
    task = student(2, 1)  # uncorrelated: y tells how large x is
    assert task.information > 0.43
    budget = replace(SHORT, iterations=250, batch_size=256, learning_rate=3e-3)
    found = estimate(*task.sample(4_000, 0), optimisation=budget, levels=20)
    assert found.value > 0.2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"y": np.zeros((40, 1))}, "y must vary"),
        ({"y": np.arange(39.0)}, "x and y must have a row a point, and 2 at least: 40, 39"),
        ({"x": np.full((50, 1), np.nan)}, "x must be finite"),
        ({"x": np.zeros((3, 1))}, r"x must be of at least 20 points, got \(3, 1\)"),
        ({"held_out": 1.0}, r"held_out must lie in \(0, 1\)"),
        ({"levels": 1}, "levels must be at least 2"),
        ({"pair": (Exact(VESDE()), Exact(VESDE(0.1, 20.0)))}, "pair must be of one SDE"),
    ],
)
def test_what_cannot_be_estimated_is_refused(change, said):
    x, y = normal_pairs(40)
    with pytest.raises(ValueError, match=said):
        estimate(**({"x": x, "y": y} | change))


# The tasks of known truth, and what they are compared with


def test_information_of_the_tasks_is_the_mean_log_ratio_of_densities():
    from scipy.stats import multivariate_normal, multivariate_t

    task = dense(3)
    x, y = task.sample(20_000, 0)
    both = np.full((6, 6), 0.5) + 0.5 * np.eye(6)
    log = multivariate_normal(np.zeros(6), both).logpdf(np.c_[x, y])
    for part in (x, y):
        log = log - multivariate_normal(np.zeros(3), both[:3, :3]).logpdf(part)
    assert log.mean() == pytest.approx(task.information, abs=4 * log.std() / 20_000**0.5)
    task = student(2, 3)
    x, y = task.sample(20_000, 0)
    log = multivariate_t(np.zeros(4), np.eye(4), 3).logpdf(np.c_[x, y])
    for part in (x, y):
        log = log - multivariate_t(np.zeros(2), np.eye(2), 3).logpdf(part)
    assert log.mean() == pytest.approx(task.information, abs=4 * log.std() / 20_000**0.5)


@pytest.mark.parametrize("width", [0.1, 0.5, 0.75])
def test_information_of_additive_noise_is_an_entropy_of_y_less_that_of_the_noise(width):
    grid = np.linspace(-width, 1 + width, 200_001)
    density = (np.minimum(grid + width, 1) - np.maximum(grid - width, 0)) / (2 * width)
    entropy = -np.trapezoid(density * np.log(np.maximum(density, 1e-300)), grid)
    assert additive(width).information == pytest.approx(entropy - math.log(2 * width), abs=1e-4)


def test_maps_of_the_tasks_keep_the_points_apart_and_a_spiral_keeps_lengths():
    known = tasks()
    assert len(known) >= 20 and all(task.information > 0 for task in known.values())
    name = "multinormal-sparse-5-5-2-2.0"
    base, turned = known[name].sample(300, 3), known[f"spiral-{name}"].sample(300, 3)
    for a, b in zip(base, turned, strict=True):
        np.testing.assert_allclose((a**2).sum(1), (b**2).sum(1))
        assert np.abs(a - b).max() > 0.5
    plain = known["1v1-normal-0.75"].sample(300, 3)
    for mapped in ("wiggly", "half_cube", "bimodal"):
        full = next(n for n in known if mapped in n)
        for a, b in zip(plain, known[full].sample(300, 3), strict=True):
            order = a[:, 0].argsort()
            assert (np.diff(b[order, 0]) > 0).all(), mapped  # increasing, and so invertible
        first = known["1v1-normal-0.75"]
        same = [
            [prepared("x", part) for part in task.sample(300, 3)] for task in (first, known[full])
        ]
        assert all(torch.equal(a, b) for a, b in zip(*same)) and known[full].ranks_of == first.name
    assert known[f"spiral-{name}"].information == known[name].information


def test_baselines_know_a_normal_pair_and_independent_numbers():
    x, y = (prepared("x", a) for a in bivariate(0.9).sample(3_000, 0))
    truth = bivariate(0.9).information
    for name, error in (("KSG", 0.04), ("scikit-learn", 0.05), ("CCA", 0.04)):
        found = study.ESTIMATORS[name](x, y, 0)["value"]
        assert found == pytest.approx(truth, abs=error), name
        assert abs(study.ESTIMATORS[name](x, y.roll(1, 0), 0)["value"]) < 0.04, name
    assert study.scikit_learn(torch.cat([x, y], 1), y, 0) is None
    assert 0.5 * truth < study.mine(x, y, 0, steps=150)["value"] < truth + 0.1


def test_study_writes_each_row_once(tmp_path, monkeypatch):
    calls = []

    def short(x, y, seed):
        calls.append(seed)
        return {"value": 0.4}

    monkeypatch.setitem(study.ESTIMATORS, "KSG", short)
    arguments = study.Arguments(
        tasks=("1v1-normal-0.75",), estimators=("KSG", "scikit-learn"), seeds=(0, 1), points=100,
        out=tmp_path / "table.csv",
    )  # fmt: skip
    study.work(arguments)
    study.work(replace(arguments, seeds=(0, 1, 2)))
    table = study.pd.read_csv(tmp_path / "table.csv")
    assert calls == [0, 1, 2] and len(table) == 6
    study.work(replace(arguments, seeds=(0,), points=120))  # not skipped, and nothing replaced
    both = study.pd.read_csv(tmp_path / "table.csv")
    assert calls == [0, 1, 2, 0] and both.groupby("points").size().to_dict() == {100: 6, 120: 2}
    assert (table[table.estimator == "KSG"].value == 0.4).all()
    assert not (tmp_path / "mutual_spectra.csv").exists()
    assert table.truth.nunique() == 1 and BUDGET.iterations == 1_500


def test_study_takes_over_rows_of_equal_normal_scores_and_no_others(tmp_path, monkeypatch):
    calls = []

    def short(x, y, seed):
        calls.append(seed)
        return {"value": 0.4 + len(calls)}

    monkeypatch.setitem(study.ESTIMATORS, "KSG", short)
    names = ("1v1-normal-0.75", "half_cube-1v1-normal-0.75", "spiral-multinormal-sparse-3-3-2-2.0")
    arguments = study.Arguments(
        tasks=names, estimators=("KSG",), seeds=(0,), points=100, out=tmp_path / "table.csv"
    )
    study.work(arguments)
    values = study.pd.read_csv(tmp_path / "table.csv").set_index("task").value
    assert [values[name] for name in names] == [1.4, 1.4, 2.4]


def test_study_keeps_spectra_and_gives_one_setting_the_arrays_without_normal_scores(
    tmp_path, monkeypatch
):
    seen = {}

    def short(name):
        def found(x, y, seed):
            seen[name] = x
            t = np.linspace(0.05, 1, 4)
            return {"value": 0.4, "spectrum": Spectrum(t, t, 0 * t)}

        return found

    for name in ("denoisers", "standardised"):
        monkeypatch.setitem(study.ESTIMATORS, name, short(name))
    arguments = study.Arguments(
        tasks=("student-identity-2-2-1", "student-identity-5-5-2"), seeds=(0,), points=100,
        estimators=("denoisers", "standardised"), out=tmp_path / "table.csv",
    )  # fmt: skip
    study.work(arguments)
    table, spectra = (study.pd.read_csv(tmp_path / f"{k}.csv") for k in ("table", "mutual_spectra"))
    assert len(table) == 3 and list(spectra.groupby("task").size()) == [4, 4]
    assert "spectrum" not in table and spectra.t.max() == 1
    for task in arguments.tasks[:1]:
        study.keep(Spectrum(np.linspace(0.05, 1, 4), np.ones(4), np.ones(4)),
                   tmp_path / "mutual_spectra.csv",
                   {"task": task, "seed": 0, "points": 100})  # fmt: skip
    again = study.pd.read_csv(tmp_path / "mutual_spectra.csv")
    assert len(again) == 8 and again.standard_error.sum() == 4  # in the place of the first
    assert seen["standardised"].abs().max() > 1.2 * seen["denoisers"].abs().max()  # heavy tails
