"""Information, noise level by noise level: ½ g²(t) [C(t) − C(t|z)] in nats per unit of t.

For z – x_0 – x_t Markov, E‖x_0‖² finite and any linear SDE its integral over t is exact (I-MMSE:
Guo, Shamai and Verdú, 2005; for diffusion models Kong, Brekelmans and Ver Steeg, 2023; Franzese et
al., 2024):

    ½ ∫_a^b g²(t) [C(t) − C(t|z)] dt = I(z; x_a) − I(z; x_b)

so that a *spectrum* says at which noise levels what z holds is hidden in x_t and would be won back.
Per unit of log signal-to-noise ratio it is the same for VE, VP and sub-VP.
For labels C(t) − C(t|y) = E ‖∇ log p_t(y|x_t)‖² is the energy of classifier guidance, which has far
less variance than a difference of two errors.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from torch import Generator

from scorerep.codes.mutual import estimate  # noqa: F401, asked for here
from scorerep.codes.spectrum import Spectrum, trapezoid_weights
from scorerep.sde import LinearSDE, need_linear
from scorerep.types import Codes, Data, Labels, checks
from scorerep.types.devices import normal, place_of
from scorerep.worlds.law import Estimate, ExactLaw

PILOT = 0.25  # share of the draws that find out where the others are needed
REST = (0.4, 1.0)  # parts of the others after which their place is thought over


def label_spectrum(
    law: ExactLaw,
    sde: LinearSDE,
    times: Sequence[float],
    draws: int = 200,
    generator: Generator | None = None,
) -> Spectrum:
    """What the labels of an exact law are worth at each noise level, by the guidance energy.

    Args:
        law: labelled; a mixture, or the empirical law of a data set.
        times: increasing noise levels t in (0, 1].
        draws: of x_t, on average a level. A quarter of them are spread evenly; the others go
            where weight times standard deviation is largest (Neyman's allocation).

    The integral is I(y; x_a) − I(y; x_b) for the first and last level: H(y) − E H(y|x_0) for a grid
    from where x_t shows the class to where it hides it. With few draws it is too low, since the
    draws that say where to draw are kept: by about 1 % at 60 draws on a mixture; on MNIST, whose
    energies have heavy tails, by 6 to 7 % at 40 draws and 1.5 % at 200 (two bins of the stroke
    width; 1,000 and 60,000 images alike at 40). Take 200 or more. The standard error knows nothing
    of that. Levels where the energy comes from rare draws may show 0 with an error of 0.

    Raises:
        ValueError: no labels or one class only; times not increasing or not in (0, 1]; an SDE whose
            kernel is not known; fewer than 8 draws.
    """
    weights = trapezoid_weights(times)
    level_of, rate = _levels(sde, times)
    draws = checks.whole("draws", draws, 8)
    count, total, squares = (np.zeros(len(times)) for _ in range(3))

    def add(level: int, n: int):
        energy = law.guidance_energy(float(level_of[level]), n, generator)
        value, error = (rate[level] * part for part in energy)
        count[level] += n
        total[level] += n * value
        squares[level] += n * value**2 + n * (n - 1) * error**2

    def spread() -> np.ndarray:
        return np.sqrt(np.maximum(squares - total**2 / count, 0) / (count - 1))

    for level in range(len(times)):
        add(level, max(8, int(PILOT * draws)))
    for share_of_rest in REST:
        # No level is believed to be free of variance on the word of a few draws.
        share = weights * np.maximum(spread(), 0.02 * spread().max())
        here = draws * len(times) * (PILOT + (1 - PILOT) * share_of_rest)
        wanted = here * share / share.sum() - count
        left = max(here - count.sum(), 0)
        for level in np.flatnonzero(wanted >= 2) if left else ():
            add(level, int(np.ceil(wanted[level] * min(1, left / wanted[wanted >= 2].sum()))) + 1)
    return Spectrum(np.asarray(times, dtype=float), total / count, spread() / np.sqrt(count))


@torch.no_grad()
def code_spectrum(
    model,
    law: ExactLaw,
    sde: LinearSDE,
    times: Sequence[float],
    draws: int = 200,
    generator: Generator | None = None,
    code: Callable[[Data, Labels | None], Codes | Labels | None] | None = None,
    without=None,
) -> Spectrum:
    """What a trained model's code is worth to it at each noise level, on an exact law.

    ½ g² (C(t) − α² E‖x_0 − D(x_t, t, z)‖²/τ⁴) with x_0 and z of the law's own items: the exact
    constant less the model's own loss. Since no denoiser beats E[x_0 | x_t, z], this is a *lower*
    bound of the code's spectrum at every level, and negative where the model is worse than the
    law's best denoiser without any code.

    Args:
        model: has ``denoise(x_t, t, z)`` and ``encode(x_0)``, which meet the law's draws on the
            model's device and in its precision.
        times: increasing noise levels t in (0, 1], or one.
        draws: of x_0 and x_t at each level; both estimates see the same.
        code: z of x_0 and its label instead of ``model.encode``, e.g. the label.
        without: a model without a code, to take the place of the law's best denoiser. A plain
            difference of two losses bounds nothing, but held-out images will do for it.

    Raises:
        ValueError: a model of other data (shape of the images) or of another SDE than the law and
            ``sde``; times or draws as in ``label_spectrum``.
    """
    level_of, rate = _levels(sde, times)
    draws = checks.whole("draws", draws, 2)
    for name, other in (("model", model), ("without", without)):
        _check_model(name, other, law, sde)
    code = code or (lambda x_0, y: model.encode(x_0))
    means, errors = [], []
    for t, level, factor in zip(times, level_of, rate, strict=True):
        t, level = float(t), float(level)
        x_0, y = law.sample(draws, generator)
        noise = normal(x_0.shape, x_0, generator)
        x_t = sde.perturb(x_0, t, noise)
        if without is None:
            best = law.posterior_mean(x_0 + level * noise, level)
        else:
            best = without.denoise(x_t.to(*place_of(without, x_t)), t).to(x_0)
        place = place_of(model, x_0)
        y = y if y is None else y.to(place.device)
        learned = model.denoise(x_t.to(*place), t, code(x_0.to(*place), y)).to(x_0)
        # Exact over x_0 given x_t for neither: the draw of x_0 is common to both, and cancels.
        gain = (best - x_0).square() - (learned - x_0).square()
        value = Estimate.of(factor / level**4 * gain.flatten(1).sum(1).double())
        means.append(value.value)
        errors.append(value.standard_error)
    return Spectrum(np.asarray(times, dtype=float), np.array(means), np.array(errors))


def _levels(sde: LinearSDE, times: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """τ/α, and ½ g²/α², the nats per unit of t of a unit of the law's C(τ/α)."""
    t = torch.as_tensor(np.asarray(times, dtype=float))
    if t.ndim != 1 or len(t) < 1 or not bool((t.diff() > 0).all()):
        raise ValueError("times must be increasing noise levels")
    if not 0 < float(t[0]) or float(t[-1]) > 1:
        raise ValueError(f"times must lie in (0, 1], got {float(t[0])} to {float(t[-1])}")
    rate = 0.5 * need_linear(sde).g2(t) / sde.alpha(t) ** 2
    return sde.level(t).numpy(), rate.numpy()


def _check_model(name: str, model, law: ExactLaw, sde: LinearSDE):
    shape = getattr(getattr(model, "config", None), "image_shape", law.shape)
    if tuple(shape) != tuple(law.shape):
        raise ValueError(
            f"{name} is of data of shape {tuple(shape)}, the law of shape {tuple(law.shape)}"
        )
    if getattr(model, "sde", sde) != sde:
        raise ValueError(f"{name} was trained with {model.sde}, sde is {sde}")


def bins_of(attribute: ArrayLike, bins: int = 10) -> torch.Tensor:
    """Labels 0 … bins − 1 of equal counts, of a real attribute such as the stroke width.

    The information of the bins is a lower bound of the attribute's. ``ValueError`` if there are
    NaNs or too few distinct values.
    """
    values, bins = np.asarray(attribute, dtype=float), checks.whole("bins", bins, 1)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"attribute must be (images,) and not empty, got {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("attribute must be finite: leave out the images where it is NaN")
    labels = pd.qcut(values, bins, labels=False, duplicates="drop")
    if len(np.unique(labels)) != bins:
        raise ValueError(f"attribute has too few distinct values for {bins} bins")
    return torch.as_tensor(np.ascontiguousarray(labels)).long()


def entropy(labels: torch.Tensor) -> float:
    """H(y) of the labels' frequencies, in nats."""
    if labels.ndim != 1 or not len(labels):
        raise ValueError(f"labels must be (images,) and not empty, got {tuple(labels.shape)}")
    p = checks.labels("labels", labels.cpu(), labels).unique(return_counts=True)[1].double()
    p = p / p.sum()
    return float(-(p * p.clamp(min=1e-300).log()).sum())
