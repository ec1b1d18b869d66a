"""Information spectra: the integral is the information, for labels of exact laws and of data."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris

from scorerep.empirical import EmpiricalLaw
from scorerep.information import (
    Spectrum,
    bins_of,
    code_spectrum,
    entropy,
    label_spectrum,
    trapezoid_weights,
)
from scorerep.mixture import GaussianMixture, labelled_quartet
from scorerep.sde import VESDE

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
    with pytest.raises(ValueError, match="must be finite"):
        bins_of([1.0, math.nan])
    with pytest.raises(ValueError, match="too few distinct values"):
        bins_of([1.0, 1.0, 1.0, 2.0], 4)
