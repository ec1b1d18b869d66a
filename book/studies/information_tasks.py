"""Pairs of random vectors whose mutual information is known: tasks after Czyż et al. (2023).

The benchmark's own package needs JAX; its laws are few lines each. Every task here is a base law
(normal, Student, additive noise) and an invertible map of x alone and of y alone, which leaves the
information as it is. Names are the benchmark's.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, gammaln
from scipy.stats import norm

Sample = tuple[np.ndarray, np.ndarray]  # (points, dimension of x), (points, dimension of y)


@dataclass(frozen=True)
class Task:
    """A law of (x, y) that can be drawn from, and its information in nats."""

    name: str
    draw: Callable[[int, np.random.Generator], Sample]
    information: float
    ranks_of: str = ""  # the task whose points have the same ranks: this is an increasing map of it

    def sample(self, points: int, seed: int) -> Sample:
        """So many pairs."""
        return self.draw(points, np.random.default_rng(seed))

    def mapped(
        self, name: str, of_x: Callable, of_y: Callable | None = None, increasing: bool = False
    ) -> "Task":
        """The task of f(x) and g(y): f and g must be invertible; ``increasing`` in each coordinate
        if they are said to be."""

        def draw(points: int, rng: np.random.Generator) -> Sample:
            x, y = self.draw(points, rng)
            return of_x(x), (of_y or of_x)(y)

        return Task(name, draw, self.information, self.name if increasing else "")


def gaussian_information(covariance: np.ndarray, dim_x: int) -> float:
    """½ log det Σ_x det Σ_y / det Σ."""
    blocks = (covariance[:dim_x, :dim_x], covariance[dim_x:, dim_x:], covariance)
    x, y, both = (np.linalg.slogdet(block)[1] for block in blocks)
    return 0.5 * (x + y - both)


def normal(name: str, covariance: np.ndarray, dim_x: int) -> Task:
    """Of joint covariance ``covariance``; x has the first ``dim_x`` coordinates."""
    root = np.linalg.cholesky(covariance)

    def draw(points: int, rng: np.random.Generator) -> Sample:
        rows = rng.normal(size=(points, len(root))) @ root.T
        return rows[:, :dim_x], rows[:, dim_x:]

    return Task(name, draw, gaussian_information(covariance, dim_x))


def bivariate(correlation: float = 0.75) -> Task:
    """Two correlated normal numbers."""
    covariance = np.array([[1, correlation], [correlation, 1]])
    return normal(f"1v1-normal-{correlation}", covariance, 1)


def dense(dim: int, correlation: float = 0.5) -> Task:
    """All pairs of coordinates are correlated alike."""
    covariance = np.full((2 * dim, 2 * dim), correlation) + (1 - correlation) * np.eye(2 * dim)
    return normal(f"multinormal-dense-{dim}-{dim}-{correlation}", covariance, dim)


def sparse(dim: int, correlation: float = 0.8) -> Task:
    """The first two coordinates of x and y are correlated, all others independent."""
    covariance = np.eye(2 * dim)
    for i in range(2):
        covariance[i, dim + i] = covariance[dim + i, i] = correlation
    return normal(f"multinormal-sparse-{dim}-{dim}-2-2.0", covariance, dim)


def student(dim: int, freedom: int) -> Task:
    """Uncorrelated, dependent by a common scale (Arellano-Valle et al., 2013)."""

    def term(k: float) -> float:
        return gammaln(k / 2) - k / 2 * digamma(k / 2)

    both = term(freedom) + term(freedom + 2 * dim) - 2 * term(freedom + dim)

    def draw(points: int, rng: np.random.Generator) -> Sample:
        scale = np.sqrt(freedom / rng.chisquare(freedom, (points, 1)))
        rows = rng.normal(size=(points, 2 * dim)) * scale
        return rows[:, :dim], rows[:, dim:]

    return Task(f"student-identity-{dim}-{dim}-{freedom}", draw, float(both))


def additive(width: float) -> Task:
    """x uniform on [0, 1], y = x plus uniform noise in ±width."""
    information = width - np.log(2 * width) if width <= 0.5 else 0.25 / width

    def draw(points: int, rng: np.random.Generator) -> Sample:
        x = rng.uniform(size=(points, 1))
        return x, x + rng.uniform(-width, width, (points, 1))

    return Task(f"1v1-additive-{width}", draw, float(information))


# Invertible maps


def asinh(x):
    return np.arcsinh(x)


def half_cube(x):
    return x * np.sqrt(np.abs(x))


def wiggly_x(x):
    return x + 0.4 * np.sin(x) + 0.2 * np.sin(1.7 * x + 1) + 0.03 * np.sin(3.3 * x - 2.5)


def wiggly_y(y):
    return y - 0.4 * np.sin(0.4 * y) + 0.17 * np.sin(1.3 * y + 3.5) + 0.02 * np.sin(4.3 * y - 2.5)


def swiss_roll(x):
    """One number in [0, 1] as a point of a curve in the plane."""
    t = 1.5 * np.pi * (1 + 2 * x)
    return np.concatenate([t * np.cos(t), t * np.sin(t)], axis=1) / 21


def spiral(first: int, speed: float = 1 / 3) -> Callable[[np.ndarray], np.ndarray]:
    """Turns coordinates ``first`` and the next by an angle of speed · ‖x‖²."""

    def turned(x: np.ndarray) -> np.ndarray:
        angle = speed * (x**2).sum(1)
        a, b, out = x[:, first], x[:, first + 1], x.copy()
        out[:, first] = np.cos(angle) * a - np.sin(angle) * b
        out[:, first + 1] = np.sin(angle) * a + np.cos(angle) * b
        return out

    return turned


def bimodal(weight: float, low: float, high: float) -> Callable[[np.ndarray], np.ndarray]:
    """A normal number as one of a mixture of two, by their distribution functions."""

    def below(value: float) -> float:
        return weight * norm.cdf(value - low) + (1 - weight) * norm.cdf(value - high)

    grid = np.linspace(low - 9, high + 9, 20_001)

    def mapped(x: np.ndarray) -> np.ndarray:
        return np.interp(norm.cdf(x), below(grid), grid)

    return mapped


def tasks() -> dict[str, Task]:
    """The twenty that were run first, by name; the quick and telling ones first."""
    plain, three, five = bivariate(), sparse(3), sparse(5)
    found = [
        plain,
        five,
        additive(0.1),
        dense(5),
        student(2, 1),
        three.mapped(f"spiral-{three.name}", spiral(0), spiral(1)),
        plain.mapped(f"swissroll_x-normal_cdf-{plain.name}", lambda x: swiss_roll(norm.cdf(x)),
                     norm.cdf),
        sparse(25),
        student(5, 2),
        plain.mapped(f"half_cube-{plain.name}", half_cube, increasing=True),
        dense(25),
        additive(0.75),
        student(1, 1),
        plain.mapped(f"wiggly-{plain.name}", wiggly_x, wiggly_y, increasing=True),
        plain.mapped("1v1-bimodal-0.75", bimodal(0.3, 0, 5), bimodal(0.5, -1, 3),
                     increasing=True),
        dense(2),
        three.mapped(f"normal_cdf-{three.name}", norm.cdf),
        student(3, 2).mapped("asinh-student-identity-3-3-2", asinh),
        five.mapped(f"spiral-{five.name}", spiral(0), spiral(1)),
        dense(50),
    ]  # fmt: skip
    return {task.name: task for task in found}


def other_tasks() -> dict[str, Task]:
    """The benchmark's other twenty, by name; nine are increasing maps of tasks that come before."""
    plain, three, five, many = bivariate(), sparse(3), sparse(5), sparse(25)
    found = [
        sparse(2), three, dense(3), student(2, 2), student(3, 2), student(3, 3), student(5, 3),
        plain.mapped(f"normal_cdf-{plain.name}", norm.cdf, increasing=True),
    ]  # fmt: skip
    for base in (three, five, many):
        uniform = base.mapped(f"normal_cdf-{base.name}", norm.cdf, increasing=True)
        found.append(base.mapped(f"half_cube-{base.name}", half_cube, increasing=True))
        found.append(uniform.mapped(f"spiral-{uniform.name}", spiral(0), spiral(1)))
        if base is not three:
            found.append(uniform)
    found.append(many.mapped(f"spiral-{many.name}", spiral(0), spiral(1)))
    for base in (student(1, 1), student(2, 1), student(5, 2)):
        found.append(base.mapped(f"asinh-{base.name}", asinh, increasing=True))
    return {task.name: task for task in found}
