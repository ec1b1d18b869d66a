"""CKNNA equals its definition, and does not see what it must not see."""

import numpy as np
import pytest
import torch

from scorerep.codes.alignment import cknna


def of(n: int = 40, d: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def by_hand(a: np.ndarray, b: np.ndarray, k: int) -> float:
    """Sums over pairs, as Huh et al. (2024) write them."""

    def units(x):
        x = x - x.mean(0)
        return [row / np.sqrt((row**2).sum()) for row in x]

    def neighbours(x, i):
        order = sorted((j for j in range(len(x)) if j != i), key=lambda j: -float(x[i] @ x[j]))
        return set(order[:k])

    def align(x, y):
        total = 0.0
        for i in range(len(x)):
            mean_x = np.mean([x[i] @ x[j] for j in range(len(x))])
            mean_y = np.mean([y[i] @ y[j] for j in range(len(y))])
            for j in neighbours(x, i) & neighbours(y, i):
                total += (x[i] @ x[j] - mean_x) * (y[i] @ y[j] - mean_y)
        return total

    x, y = units(a), units(b)
    return align(x, y) / np.sqrt(align(x, x) * align(y, y))


@pytest.mark.parametrize("k", [1, 4, 39])
def test_value_is_that_of_the_definition(k):
    a = of()
    b = np.c_[a[:, :2] + 0.5 * of(seed=1)[:, :2], of(seed=2)[:, :1]]
    assert cknna(a, b, k) == pytest.approx(by_hand(a, b, k), abs=1e-9)
    assert cknna(b, a, k) == pytest.approx(cknna(a, b, k), abs=1e-12)


def test_shifts_rotations_and_a_factor_change_nothing_and_stretching_does():
    a, b = of(200), of(200) + 0.5 * of(200, seed=1)
    turn, _ = np.linalg.qr(of(5, 5, seed=3))
    expected = cknna(a, b)
    assert cknna(7 * a @ turn + 3, b) == pytest.approx(expected, abs=1e-9)
    assert cknna(a, 0.1 * b @ turn.T - 1) == pytest.approx(expected, abs=1e-9)
    assert cknna(a, a @ turn) == pytest.approx(1, abs=1e-9)
    assert abs(cknna(a * np.array([20, 1, 1, 1, 1]), b) - expected) > 0.05
    order = np.random.default_rng(0).permutation(200)
    assert cknna(a[order], b[order]) == pytest.approx(expected, abs=1e-9)


def test_features_of_nothing_in_common_have_the_value_of_chance():
    values = [cknna(of(400, 8, seed), of(400, 8, seed + 100), k=20) for seed in range(4)]
    assert np.mean(values) == pytest.approx(20 / 399, abs=0.015)
    near = of(400, 8)
    noisy = [cknna(near, near + noise * of(400, 8, 1)) for noise in (0.1, 0.5, 2)]
    assert noisy[0] > 0.75 > noisy[1] > noisy[2] > 0.03


@pytest.mark.parametrize(
    ("a", "b", "k", "said"),
    [
        (of(5), of(6), 2, "b must be of the 5 images of a, got 6"),
        (of(5), of(5), 5, r"k must lie in 1..4, got 5"),
        (of(5)[:, 0], of(5), 2, r"a must be \(images, features\)"),
        (of(5), np.full((5, 2), np.nan), 2, "b must be finite"),
        (of(2), of(2), 1, "at least 3 images"),
    ],
)
def test_what_cannot_be_compared_is_refused(a, b, k, said):
    with pytest.raises(ValueError, match=said):
        cknna(a, b, k)


def test_features_that_do_not_vary_align_with_nothing():
    assert cknna(np.ones((10, 3)), of(10), 3) == 0
    assert cknna(torch.tensor(of(10)).half(), of(10), 3) == pytest.approx(1, abs=1e-2)
