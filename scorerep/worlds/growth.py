"""How the floor rises with the number of images, and where it is heading.

The law of N images is the mixture of the laws of their quarters, and mmse is concave in the law:
the floor of all is never below the mean floor of the quarters, nor that below the mean floor of
the sixteenths. All three are seen on the same draws, as each noisy image comes from one part, so
that their differences are known far better than the floors themselves.

The law that the images came from has on average a higher floor. Where the second of two rises
is at most two thirds of the first, they are taken for the beginning of a geometric series, as they
are if what is missing falls like a power of N; the ``limit`` is its sum. Elsewhere the images are
told apart one by one, and their floor does not say where that of new images is.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Generator, Tensor

from scorerep.types import Times, checks
from scorerep.types.devices import normal
from scorerep.worlds.empirical import EmpiricalLaw
from scorerep.worlds.floor import MEMORISED
from scorerep.worlds.law import Estimate

PARTS = 16
LEAST = 2 * PARTS  # images
SHRINKS = 2 / 3  # the second rise beside the first, at most, for a limit to be told
SETTLED = 0.01  # a rise that is less, beside the floor itself, is none


def growing(
    images: Tensor, levels: Sequence[float] | Times, draws: int = 200,
    generator: Generator | None = None, scale: float = 1.0,
) -> pd.DataFrame:  # fmt: skip
    """What ``mmse`` finds of all ``images``, of their quarters and their sixteenths; a row a level.

    Columns: those of ``mmse``; quarter and sixteenth, the mean mmse of as many parts; limit, what
    mmse tends to with more images, nan where that cannot be told; and limit_error, its standard
    error, of the draws and of the choice of images.

    Args:
        images: (N, *shape) as ``EmpiricalLaw`` takes them, in random order, 32 or more; up to 15
            at the end are left out, for parts of the same size.
        levels: σ > 0, in the units of the scaled images.
        draws: of x_t at each level, the same for all three; 2 or more, and rounded up to whole
            sixteens.
        scale: what the pixels are multiplied by before training, 1 for [−1, 1], 0.5 for [0, 1].
    """
    if len(images) < LEAST:
        raise ValueError(f"images must be {LEAST} or more, got {len(images)}")
    draws, scale = checks.whole("draws", draws, 2), checks.number("scale", scale, above=0.0)
    size, of_each = len(images) // PARTS, math.ceil(draws / PARTS)
    images = images[: size * PARTS]
    splits = [[EmpiricalLaw(part) for part in images.chunk(count)] for count in (1, 4, PARTS)]
    whole = splits[0][0]
    spectrum = torch.linalg.eigvalsh(whole.covariance()).clamp(min=0)
    where = whole.device if generator is None else generator.device
    pixels, rows = images[0].numel(), []
    for level in torch.as_tensor(levels, dtype=torch.float64).cpu().tolist():
        level = checks.number("levels", level, above=0.0) / scale
        index = torch.randint(size, (PARTS, of_each), generator=generator, device=where)
        index = (index + size * torch.arange(PARTS, device=where)[:, None]).flatten()
        x_0 = whole.item(index.to(whole.device)).double()
        x_t = x_0 + level * normal(x_0.shape, x_0, generator)
        left = torch.stack([  # the draws are in the order of the parts
            torch.cat([
                law.posterior_variance(x, level)
                for law, x in zip(laws, x_t.chunk(len(laws)), strict=True)
            ])
            for laws in splits
        ]).cpu() / pixels  # fmt: skip
        value, error = Estimate.of(left[0])
        linear = float((spectrum * level**2 / (spectrum + level**2)).mean())
        ends = limit_of(left.unflatten(1, (PARTS, of_each)).mean(2), linear)
        found = (value, error, linear, float(spectrum.mean()), *left[1:].mean(1).tolist(), *ends)
        rows.append((level * scale, *(scale**2 * number for number in found)))
    columns = ["sigma", "mmse", "standard_error", "linear", "variance", "quarter", "sixteenth"]
    return pd.DataFrame(rows, columns=[*columns, "limit", "limit_error"])


def limit_of(left: Tensor, linear: float = math.inf) -> tuple[float, float]:
    """Where mmse tends to, and the standard error, if it is ``left`` at N, N/4 and N/16.

    Both are nan where the images are memorised, or unless the second rise is at most two thirds of
    the first by two standard errors, or less than 1 % of the quantity.

    Args:
        left: (3, parts), the mean of the draws from each part of the images.
        linear: what mmse cannot exceed, that of the best linear denoiser.
    """
    value, second, first = left[0], left[0] - left[1], left[1] - left[2]
    if float(value.mean()) < MEMORISED * linear < math.inf or not float(value.mean()) > 0:
        return math.nan, math.nan
    rise, before = max(float(second.mean()), 0.0), float(first.mean())
    sign = Estimate.of(second - SHRINKS * first)
    if rise > SETTLED * float(value.mean()) and sign.value + 2 * sign.standard_error > 0:
        return math.nan, math.nan
    ratio = min(rise / before, SHRINKS) if before > 0 else 0.0
    more = ratio / (1 - ratio)
    # Of value + rise · rise / (before − rise), to first order in the three.
    each = Estimate.of(value + second * (2 * more + more**2) - first * more**2)
    of_images = Estimate.of(left[2])  # which are others in each part
    error = math.hypot(each.standard_error, of_images.standard_error)
    return min(float(value.mean()) + rise * more, linear), error


def limit_at(found: pd.DataFrame, sigma: Sequence[float] | Times) -> pd.Series:
    """``limit`` of ``growing`` at the levels ``sigma``, nan beside a level where it is not known.

    Args:
        found: of ``growing``, its levels increasing.
        sigma: σ > 0, between the levels found.
    """
    at = torch.as_tensor(sigma, dtype=torch.float64).cpu().log().numpy()
    known = np.log(found["sigma"])
    values = np.interp(at, known, found["limit"].fillna(found["mmse"]))
    unknown = np.interp(at, known, found["limit"].isna().astype(float)) > 1e-6
    return pd.Series(np.where(unknown, np.nan, values), name="limit")
