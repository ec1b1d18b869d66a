"""What a code does: grids of samples (Figure 2), denoising (10), what it leaves open (11).

Figure 10 denoises x_t with the code of its own image and with another's. In numbers: the error
of the one-step estimate E[x_0 | x_t, z] with the own code, with another's, and with none. Figure 11
draws several samples of one code: their spread about their mean is what the code leaves open.
"""

from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import binomtest
from torch import Generator, Tensor

from scorerep import sampling
from scorerep.codes.scores import bootstrap_interval
from scorerep.data.images import ImageData
from scorerep.model import ScoreModel
from scorerep.types import Codes, Images, Labels, Times

Sampler = Literal[
    "heun", "stochastic_heun", "probability_flow", "euler_maruyama", "predictor_corrector"
]


class Pairs(NamedTuple):
    """Images x_0 and, for each, another one of a different class."""

    x_0: Images
    other: Images
    labels: Labels
    other_labels: Labels


def pairs_of_classes(data: ImageData, n: int, generator: Generator | None = None) -> Pairs:
    """n images and n partners of other classes, both drawn without replacement.

    ``ValueError``: fewer than 2 n images, or one class only.
    """
    if len(data) < 2 * n or len(data.labels.unique()) < 2:
        raise ValueError(f"{n} pairs need {2 * n} images of at least two classes in {data.name}")
    order = torch.randperm(len(data), generator=generator)
    first, rest = order[:n], order[n:]
    partners = []
    taken = torch.zeros(len(rest), dtype=torch.bool)
    for index in first.tolist():
        free = (~taken & (data.labels[rest] != data.labels[index])).nonzero()[:, 0]
        if not len(free):
            raise ValueError(f"no image of another class is left in {data.name} for all {n} pairs")
        taken[free[0]] = True
        partners.append(int(rest[free[0]]))
    return Pairs(data.batch(first), data.batch(partners), data.labels[first], data.labels[partners])


@torch.no_grad()
def one_step_errors(
    model: ScoreModel,
    pairs: Pairs,
    t: float,
    generator: Generator | None = None,
    without: ScoreModel | None = None,
    batch: int = 250,
) -> dict[str, Times]:
    """Squared distances, mean over pixels, of E[x_0 | x_t, z] from x_0 at noise level t.

    All estimates of a pair see the same x_t.

    Returns:
        A table with the errors "own" and "other" (z of the image and of its partner), "swapped"
        (with the partner's code, measured against the *partner*) and "none" (of ``without``, a
        model without a code, if given).
    """
    noise = torch.randn(pairs.x_0.shape, generator=generator)
    parts: dict[str, list[Tensor]] = {}
    for i in range(0, len(noise), batch):
        x_0, other, e = (a[i : i + batch] for a in (pairs.x_0, pairs.other, noise))
        times = torch.full((len(x_0),), float(t))
        x_t = model.sde.perturb(x_0, times, e)
        own, swapped = (model.denoise(x_t, t, model.encode(x)) for x in (x_0, other))
        errors = {"own": own - x_0, "other": swapped - x_0, "swapped": swapped - other}
        if without is not None:
            errors["none"] = without.denoise(x_t, t) - x_0
        for name, error in errors.items():
            parts.setdefault(name, []).append(error.square().flatten(1).mean(1))
    return {name: torch.cat(errors) for name, errors in parts.items()}


def share_closer(errors: dict[str, Times]) -> tuple[float, float, float]:
    """Share of pairs whose own code comes closer to x_0 than the partner's; 95 % Wilson bounds."""
    hits = errors["own"] < errors["other"]
    interval = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    return float(hits.float().mean()), float(interval.low), float(interval.high)


def samples_of_codes(
    model: ScoreModel,
    z: Codes,
    samples: int,
    steps: int = 14,
    generator: Generator | None = None,
    batch: int = 128,
) -> Float[Tensor, "codes samples channel height width"]:
    """``samples`` images of each code, each from a noise of its own (Heun, probability flow)."""
    repeated = z.repeat_interleave(samples, 0)
    noise = model.sde.prior_sample(
        len(repeated), *model.config.image_shape, generator=generator, device=z.device
    )
    with torch.no_grad():
        images = [
            sampling.heun(sampling.condition(model, c), model.sde, x, steps=steps)
            for c, x in zip(repeated.split(batch), noise.split(batch), strict=True)
        ]
    return torch.cat(images).unflatten(0, (len(z), samples))


def spreads(
    images: Float[Tensor, "codes samples channel height width"],
) -> Float[Tensor, " codes"]:
    """Variance over the samples of each code, mean over pixels; in squared units of the images.

    ``ValueError`` for another shape or fewer than two samples of a code.
    """
    if images.ndim != 5 or images.shape[1] < 2:
        raise ValueError(
            "images must be (codes, samples, channel, height, width) with at least 2 samples, "
            f"got {tuple(images.shape)}"
        )
    return images.var(1).flatten(1).mean(1)


def diversity(
    images: Float[Tensor, "codes samples channel height width"], seed: int = 0
) -> tuple[float, float, float]:
    """The mean of ``spreads`` over the codes, and the ends of its 95 % bootstrap interval."""
    spread = spreads(images)
    return float(spread.mean()), *bootstrap_interval(np.asarray(spread), seed=seed)


def sample_grid(
    model: ScoreModel,
    low: float | Tensor,
    high: float | Tensor,
    side: int = 8,
    sampler: Sampler = "heun",
    steps: int = 14,
    seed: int = 0,
    progress: bool = False,
) -> tuple[Images, Codes]:
    """Images on a grid over the first two code coordinates, all from one noise; and the codes.

    What changes across the grid is then the code's doing. ``low`` and ``high`` are the grid's
    corners: numbers, or one each coordinate ``(2,)``. ``ValueError`` for a code of one number.
    """
    if model.config.latent < 2:
        raise ValueError("a grid of codes needs a model with latent of at least 2")
    where = next(model.parameters()).device
    z = torch.zeros(side * side, model.config.latent, device=where)
    low, high = (torch.as_tensor(corner).to(z) for corner in (low, high))
    z[:, :2] = low + (high - low) * code_grid(0, 1, side).to(z)
    generator = torch.Generator(where).manual_seed(seed)
    noise = model.sde.prior_sample(1, *model.config.image_shape, generator=generator, device=where)
    run = getattr(sampling, sampler)
    x_0 = run(
        sampling.condition(model, z), model.sde, noise.expand(side * side, -1, -1, -1),
        steps=steps, generator=generator, progress=progress,
    )  # fmt: skip
    return x_0, z


def code_grid(low: float, high: float, n: int) -> Codes:
    """The n × n mesh of two-dimensional codes, ``(n·n, 2)``, in the order of ``image_grid``.

    Row by row from the top: z_1 grows to the right, z_2 upward, as in a plot.
    """
    if n < 1 or not low <= high:
        raise ValueError(f"code_grid needs n >= 1 and low <= high, got {n}, {low}, {high}")
    values = torch.linspace(low, high, n)
    z_2, z_1 = torch.meshgrid(values.flip(0), values, indexing="ij")
    return torch.stack([z_1.flatten(), z_2.flatten()], 1)
