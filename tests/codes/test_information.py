"""Information spectra: the integral is the information, for labels of exact laws and of data."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris

from scorerep.codes.information import (
    Spectrum,
    bins_of,
    code_spectrum,
    entropy,
    label_spectrum,
    trapezoid_weights,
)
from scorerep.model import ModelConfig, ScoreModel
from scorerep.sde import VESDE, VPSDE
from scorerep.worlds.empirical import EmpiricalLaw
from scorerep.worlds.linear_gaussian import LinearGaussian
from scorerep.worlds.mixture import GaussianMixture, labelled_quartet

SDE = VESDE()


def grid(start, stop, levels):
    return np.linspace(start, stop, levels)


def test_separated_classes_are_worth_their_entropy():
    law = GaussianMixture([0.5, 0.3, 0.2], [[-4.0, 0.0], [4.0, 0.0], [0.0, 5.0]], 0.01)
    spectrum = label_spectrum(law, SDE, grid(0.3, 1.0, 30), 400, torch.Generator().manual_seed(0))
    value, error = spectrum.integral()
    expected = entropy(torch.tensor([0] * 5 + [1] * 3 + [2] * 2))
    remainder = 20 / (2 * 50**2)  # at most tr Cov(x_0) / (2 σ_max²)
    assert error < 0.02
    assert abs(value - expected) < 3 * error + remainder + 0.01


def test_overlapping_classes_are_worth_less_by_their_ambiguity():
    # I(y; x_0) = H(y) − E H(y|x_0), the second term by Monte Carlo of its own
    law = labelled_quartet()
    generator = torch.Generator().manual_seed(0)
    x_0, _ = law.sample(20_000, generator)
    p = law.class_posterior(x_0, 0.0)
    ambiguity = -(p * p.clamp(min=1e-12).log()).sum(1)
    h = -(law.class_prior * law.class_prior.log()).sum()
    expected = float(h - ambiguity.mean())
    spectrum = label_spectrum(law, SDE, grid(0.01, 1.0, 60), 800, generator)
    value, error = spectrum.integral()
    assert expected < float(h) - 0.05
    assert abs(value - expected) < 3 * math.hypot(error, float(ambiguity.std()) / 141) + 0.005


def test_information_between_two_noise_levels_is_the_difference_at_its_ends():
    law = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 0.04)

    def information(t):  # H(y) − E H(y|x_t) by quadrature over x_t
        x = torch.linspace(-400, 400, 400_001, dtype=torch.float64)[:, None]
        tau = float(SDE.tau(t))
        density = law.log_prob(x, tau).exp()
        p = law.class_posterior(x, tau)
        h = -(p * p.clamp(min=1e-300).log()).sum(1)
        return math.log(2) - float((density * h).sum() * (x[1] - x[0]))

    spectrum = label_spectrum(
        law, SDE, grid(0.45, 0.65, 21), 3_000, torch.Generator().manual_seed(0)
    )
    value, error = spectrum.integral()
    assert value == pytest.approx(information(0.45) - information(0.65), abs=3 * error + 1e-3)


def test_labels_of_data_and_shuffled_labels_are_both_worth_their_entropy_elsewhere():
    iris = load_iris()
    x, y = torch.tensor(iris.data), torch.tensor(iris.target)
    shuffled = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(0))]
    # two flowers of different shuffled labels are the same to the last digit: keep one of each
    _, first = np.unique(iris.data, axis=0, return_index=True)
    peaks = []
    for labels in (y[first], shuffled[first]):
        spectrum = label_spectrum(
            EmpiricalLaw(x[first], labels), SDE, grid(0.02, 1.0, 50), 400,
            torch.Generator().manual_seed(1),
        )  # fmt: skip
        value, error = spectrum.integral()
        assert abs(value - entropy(labels)) < 3 * error + 0.02
        peaks.append(spectrum.peak())
    assert peaks[0] > peaks[1] + 0.1  # what separates species is coarser than what tells flowers


def test_draws_go_where_the_integrand_varies():
    law = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 1e-4)
    calls = {}
    real = law.guidance_energy

    def counted(tau, n, generator=None):
        calls[tau] = calls.get(tau, 0) + n
        return real(tau, n, generator)

    law.guidance_energy = counted
    times = grid(0.1, 1.0, 10)
    label_spectrum(law, SDE, times, 100, torch.Generator().manual_seed(0))
    assert 950 <= sum(calls.values()) <= 1_050
    busy, idle = calls[float(SDE.tau(times[4]))], calls[float(SDE.tau(times[0]))]
    assert busy > 3 * idle


def test_spectrum_arithmetic():
    t = np.array([0.1, 0.2, 0.4])
    spectrum = Spectrum(t, np.array([0.0, 2.0, 1.0]), np.array([0.0, 0.1, 0.0]))
    value, error = spectrum.integral()
    assert value == pytest.approx(0.1 + 0.3) and error == pytest.approx(0.015)
    assert trapezoid_weights(t) == pytest.approx([0.05, 0.15, 0.1])
    octave = math.log(2) / math.log(5_000)  # of σ; of τ it is a little less near t = 0
    assert spectrum.per_octave(SDE).value[1] == pytest.approx(2 * octave, rel=0.04)
    assert spectrum.per_octave(SDE).value[2] == pytest.approx(octave, rel=2e-3)
    assert 0.2 < spectrum.peak() < 0.4
    assert list(spectrum.frame(data="x").columns) == ["t", "value", "standard_error", "data"]


class Exact:
    """The best denoiser of a mixture, given the class with probability 1 − ``forget``."""

    def __init__(self, law, worse=0.0):
        self.law, self.worse = law, worse

    def denoise(self, x_t, t, z):
        tau = float(SDE.tau(t))
        best = self.law.posterior_mean(x_t, tau, z)
        return best + self.worse * tau


def test_spectrum_of_a_perfect_model_of_labels_is_that_of_the_labels():
    law = labelled_quartet()
    times = grid(0.3, 0.8, 12)
    exact = label_spectrum(law, SDE, times, 2_000, torch.Generator().manual_seed(0))
    found = code_spectrum(
        Exact(law), law, SDE, times, 4_000, torch.Generator().manual_seed(1), lambda x_0, y: y
    )
    error = np.hypot(exact.standard_error, found.standard_error)
    assert (np.abs(found.value - exact.value) < 4 * error + 1e-3).all()


def test_spectrum_of_a_worse_model_is_lower_everywhere():
    law, times = labelled_quartet(), grid(0.3, 0.8, 6)
    found = [
        code_spectrum(
            Exact(law, worse), law, SDE, times, 2_000, torch.Generator().manual_seed(1),
            lambda x_0, y: y,
        ).value
        for worse in (0.0, 0.3)
    ]  # fmt: skip
    assert (found[1] < found[0]).all()


def test_spectrum_of_any_code_on_the_law_is_never_above_the_exact_one():
    # A denoiser that is told another class than the item's: worse than knowing nothing.
    law, times = labelled_quartet(), grid(0.35, 0.55, 5)
    wrong = code_spectrum(
        Exact(law), law, SDE, times, 2_000, torch.Generator().manual_seed(1), lambda x_0, y: 1 - y
    )
    exact = label_spectrum(law, SDE, times, 2_000, torch.Generator().manual_seed(2))
    assert (wrong.value < exact.value).all() and (wrong.value < 0).all()


def test_model_without_a_code_takes_the_place_of_the_law_for_held_out_data():
    # With the exact denoiser as "the model without a code" both ways give the same number.
    law, times = labelled_quartet(), grid(0.35, 0.55, 5)

    class Without:
        def denoise(self, x_t, t):
            return law.posterior_mean(x_t, float(SDE.tau(t)))

    options = {"draws": 500, "code": lambda x_0, y: y}
    found = [
        code_spectrum(
            Exact(law), law, SDE, times, generator=torch.Generator().manual_seed(1),
            without=without, **options,
        ).value
        for without in (None, Without())
    ]  # fmt: skip
    assert found[1] == pytest.approx(found[0], rel=1e-9)


def test_one_level_is_enough_for_a_model_of_one_level():
    law = labelled_quartet()
    one = code_spectrum(
        Exact(law), law, SDE, [0.45], 200, torch.Generator().manual_seed(1), lambda x_0, y: y
    )
    assert one.value.shape == (1,)


def test_codes_that_differ_for_every_item_hold_log_n():
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    names = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    spectrum = label_spectrum(
        EmpiricalLaw(x, names), SDE, grid(0.05, 1.0, 50), 300, torch.Generator().manual_seed(2)
    )
    value, error = spectrum.integral()
    assert value == pytest.approx(math.log(40), abs=3 * error + 0.01)


def test_few_draws_are_too_low_by_about_a_hundredth_on_a_mixture():
    # the draws that say where to draw are kept: label_spectrum's docstring gives this number
    law, generator = labelled_quartet(), torch.Generator().manual_seed(0)
    p = law.class_posterior(law.sample(200_000, generator)[0], 0.0)
    ambiguity = -(p * p.clamp(min=1e-12).log()).sum(1).mean()
    truth = float(-(law.class_prior * law.class_prior.log()).sum() - ambiguity)
    runs = [
        label_spectrum(
            law, SDE, grid(0.01, 1.0, 30), 60, torch.Generator().manual_seed(seed)
        ).integral()[0]
        for seed in range(40)
    ]
    assert 0.98 < np.mean(runs) / truth < 0.995


def test_standard_errors_are_the_spread_over_seeds():
    law, times = labelled_quartet(), grid(0.3, 0.6, 8)
    runs = [
        label_spectrum(law, SDE, times, 100, torch.Generator().manual_seed(seed)).integral()
        for seed in range(60)
    ]
    values, errors = np.array(runs).T
    assert values.std(ddof=1) == pytest.approx(errors.mean(), rel=0.3)


def test_linear_gaussian_codes_gain_their_information():
    # ½ ∫ g² [C − C(·|z)] dt = I(z; x_a) − I(z; x_b), both sides in closed form
    world = LinearGaussian(torch.tensor([[2.0, 0.3], [0.3, 0.5]]).double())
    code = torch.tensor([[1.0, -2.0]]).double()
    t = torch.linspace(0.1, 0.9, 4_001, dtype=torch.float64)
    gap = world.constant(SDE.tau(t)) - world.constant(SDE.tau(t), code)
    area = float(torch.trapezoid(0.5 * SDE.g2(t) * gap, t))
    expected = world.information(float(SDE.tau(0.1)), float(SDE.tau(0.9)), code)
    assert area == pytest.approx(expected, abs=1e-5)


def test_memory_is_a_block_of_log_weights_whatever_the_number_of_images(monkeypatch):
    # The largest array of a spectrum is (queries, items), and queries are cut to keep it bounded.
    sizes = []
    moments = EmpiricalLaw._moments

    def watched(self, x, tau2):
        sizes.append(len(x) * len(self))
        return moments(self, x, tau2)

    monkeypatch.setattr(EmpiricalLaw, "_moments", watched)
    monkeypatch.setattr("scorerep.worlds.empirical.LOGITS", 2_000)
    for n in (50, 500, 1_500):
        x = torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
        law = EmpiricalLaw(x, torch.arange(n) % 2)
        label_spectrum(law, SDE, [0.3, 0.5], 40, torch.Generator().manual_seed(0))
    assert 1_000 < max(sizes) <= 2_000


def test_bins_have_equal_counts_and_follow_the_attribute():
    labels = bins_of(np.arange(100)[::-1] ** 2, 5)
    assert labels.bincount().tolist() == [20] * 5
    assert labels[0] == 4 and labels[-1] == 0
    assert entropy(labels) == pytest.approx(math.log(5))


def test_bad_input_is_named():
    law = labelled_quartet()
    with pytest.raises(ValueError, match="increasing noise levels"):
        label_spectrum(law, SDE, [0.5, 0.4])
    with pytest.raises(ValueError, match=r"times must lie in \(0, 1\]"):
        label_spectrum(law, SDE, [0.0, 0.4])
    with pytest.raises(ValueError, match="labels of 2 or more classes"):
        label_spectrum(EmpiricalLaw(torch.randn(5, 2)), SDE, [0.1, 0.4])
    with pytest.raises(ValueError, match="labels of 2 or more classes"):
        label_spectrum(EmpiricalLaw(torch.randn(5, 2), torch.zeros(5).long()), SDE, [0.1, 0.4])
    with pytest.raises(ValueError, match="draws must be at least 8"):
        label_spectrum(law, SDE, [0.1, 0.4], draws=4)
    with pytest.raises(ValueError, match="draws must be at least 2"):
        code_spectrum(Exact(law), law, SDE, [0.1, 0.4], draws=1)
    with pytest.raises(ValueError, match="times must be increasing"):
        code_spectrum(Exact(law), law, SDE, [0.4, 0.1])
    with pytest.raises(ValueError, match="must be finite"):
        bins_of([1.0, math.nan])
    with pytest.raises(ValueError, match="too few distinct values"):
        bins_of([1.0, 1.0, 1.0, 2.0], 4)


def test_models_of_other_data_or_of_another_sde_are_refused():
    law = EmpiricalLaw(torch.zeros(4, 1, 8, 8), torch.tensor([0, 0, 1, 1]))
    digits, photographs = (
        ScoreModel(ModelConfig(image_shape=shape, channels=(8, 8), blocks=1, latent=latent))
        for shape, latent in (((1, 8, 8), 2), ((3, 8, 8), 0))
    )
    with pytest.raises(ValueError, match=r"model is of data of shape \(3, 8, 8\)"):
        code_spectrum(photographs, law, SDE, [0.1, 0.4])
    with pytest.raises(ValueError, match="without is of data of shape"):
        code_spectrum(digits, law, SDE, [0.1, 0.4], without=photographs)
    with pytest.raises(ValueError, match="model was trained with VESDE.*sde is VPSDE"):
        code_spectrum(digits, law, VPSDE(), [0.1, 0.4])
    assert code_spectrum(digits, law, SDE, [0.4, 0.6], draws=4).value.shape == (2,)
