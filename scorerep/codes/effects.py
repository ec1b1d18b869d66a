"""What a code does: grids of samples (Figure 2), denoising (10), what it leaves open (11).

Figure 10 denoises x_t with the code of its own image and with another's, of another class or of
the same one. In numbers: the error
of the one-step estimate E[x_0 | x_t, z] with the own code, with another's, and with none. Figure 11
draws several samples of one code: their spread about their mean is what the code leaves open.
"""

from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Bool, Float
from scipy.stats import binomtest
from torch import Generator, Tensor

from scorerep import sampling
from scorerep.codes.scores import bootstrap_interval
from scorerep.data.images import ImageData
from scorerep.model import ScoreModel
from scorerep.types import Codes, Images, Labels, Times, checks
from scorerep.types.devices import normal, permutation, place_of

Sampler = Literal[
    "heun", "stochastic_heun", "probability_flow", "euler_maruyama", "predictor_corrector"
]


class Pairs(NamedTuple):
    """Images x_0 and, for each, another one: of a different class, or of the same one."""

    x_0: Images  #: (n, channel, height, width)
    other: Images  #: their partners, of the same shape
    labels: Labels  #: (n,), of x_0
    other_labels: Labels  #: (n,), of the partners


def pairs_of_classes(
    data: ImageData, n: int, generator: Generator | None = None, same: bool = False
) -> Pairs:
    """n images and n partners of other classes, or of the ``same``; no image is drawn twice.

    With one seed the n images are the same for both kinds of partners. ``ValueError``: fewer than
    2 n images, one class only unless ``same``, or too few images of a class.
    """
    n, labels = checks.whole("n", n, 1), data.labels.cpu()
    if len(data) < 2 * n or (not same and len(labels.unique()) < 2):
        kinds = "" if same else " of at least two classes"
        raise ValueError(f"{n} pairs need {2 * n} images{kinds} in {data.name}")
    order = permutation(len(data), generator)
    first, rest = order[:n], order[n:]
    partners = []
    taken = torch.zeros(len(rest), dtype=torch.bool)
    for index in first.tolist():
        free = (~taken & ((labels[rest] == labels[index]) == same)).nonzero()[:, 0]
        if not len(free):
            kind = "the same" if same else "another"
            raise ValueError(f"no image of {kind} class is left in {data.name} for all {n} pairs")
        taken[free[0]] = True
        partners.append(int(rest[free[0]]))
    chosen = (first.tolist(), partners)
    return Pairs(*(data.batch(c) for c in chosen), *(data.labels[c] for c in chosen))


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

    All estimates of a pair see the same x_t. The errors are on the device of the pairs.

    Returns:
        A table with the errors "own" and "other" (z of the image and of its partner), "swapped"
        (with the partner's code, measured against the *partner*) and "none" (of ``without``, a
        model without a code, if given).
    """
    batch, t = checks.whole("batch", batch, 1), _level(t)
    checks.floating("pairs.x_0", pairs.x_0)
    noise, place = normal(pairs.x_0.shape, pairs.x_0, generator), place_of(model, pairs.x_0)
    parts: dict[str, list[Tensor]] = {}
    for i in range(0, max(len(noise), 1), batch):
        x_0, other, e = (a[i : i + batch].to(*place) for a in (pairs.x_0, pairs.other, noise))
        x_t = model.sde.perturb(x_0, t, e)
        own, swapped = (model.denoise(x_t, t, model.encode(x)) for x in (x_0, other))
        errors = {"own": own - x_0, "other": swapped - x_0, "swapped": swapped - other}
        if without is not None:
            errors["none"] = without.denoise(x_t, t) - x_0
        for name, error in errors.items():
            parts.setdefault(name, []).append(error.square().flatten(1).mean(1).to(pairs.x_0))
    return {name: torch.cat(errors) for name, errors in parts.items()}


def share_closer(errors: dict[str, Times]) -> tuple[float, float, float]:
    """Share of pairs whose own code comes closer to x_0 than the partner's; 95 % Wilson bounds."""
    hits = errors["own"] < errors["other"]
    if not len(hits):
        raise ValueError("errors must be of at least one pair")
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
    """``samples`` images of each code, each from a noise of its own (Heun, probability flow).

    They are computed where the model is, in its precision, and come back as z is.
    """
    samples, batch = checks.whole("samples", samples, 1), checks.whole("batch", batch, 1)
    place, shape = place_of(model, z), model.config.image_shape
    checks.floating("z", z, (model.config.latent,))
    repeated = z.to(*place).repeat_interleave(samples, 0)
    noise = _prior(model, len(repeated), repeated, generator)
    images = [
        sampling.heun(sampling.condition(model, c), model.sde, x, steps=steps).to(z)
        for c, x in zip(repeated.split(batch), noise.split(batch), strict=True)
    ]
    return torch.cat(images).view(len(z), samples, *shape)


def spreads(images: Float[Tensor, "codes samples *shape"]) -> Float[Tensor, " codes"]:
    """Variance over the samples of each code, mean over pixels; in squared units of the images.

    ``ValueError`` for another shape or fewer than two samples of a code.
    """
    checks.floating("images", images)
    if images.ndim < 3 or images.shape[1] < 2:
        raise ValueError(
            "images must be (codes, samples, ...) with at least 2 samples of each code, "
            f"got {tuple(images.shape)}"
        )
    return images.var(1).flatten(1).mean(1)


def diversity(
    images: Float[Tensor, "codes samples *shape"], seed: int = 0
) -> tuple[float, float, float]:
    """Mean of ``spreads`` of ``images`` over the codes, and ends of its 95 % bootstrap interval."""
    spread = spreads(images)
    if len(spread) < 2:
        raise ValueError(f"images must be of at least 2 codes for an interval, got {len(spread)}")
    return float(spread.mean()), *bootstrap_interval(spread, seed=seed)


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
    """Images on a grid, ``side`` a side, of the first two coordinates of the code; and the codes.

    All from one noise: what changes across the grid is the code's doing. ``low`` and ``high`` are
    the grid's corners: numbers, or one each coordinate ``(2,)``. A seed is one picture on every
    device.
    ``ValueError`` for a code of one number.
    """
    if model.config.latent < 2:
        raise ValueError("model must have a latent of at least 2 for a grid of codes")
    if sampler not in get_args(Sampler):
        known = ", ".join(get_args(Sampler))
        raise ValueError(f"sampler must be one of {known}, got {sampler!r}")
    z = torch.zeros(checks.whole("side", side, 1) ** 2, model.config.latent)
    low, high = (_corner(name, value) for name, value in (("low", low), ("high", high)))
    z[:, :2] = low + (high - low) * code_grid(0, 1, side)
    generator = Generator().manual_seed(checks.whole("seed", seed, 0, 2**63 - 1))
    z = z.to(*place_of(model, z))
    noise = _prior(model, 1, z, generator).expand(len(z), *model.config.image_shape)
    x_0 = getattr(sampling, sampler)(
        sampling.condition(model, z), model.sde, noise,
        steps=steps, generator=generator, progress=progress,
    )  # fmt: skip
    return x_0, z


def code_grid(low: float, high: float, n: int) -> Codes:
    """The n × n mesh of codes ``low`` to ``high``, ``(n·n, 2)``, in the order of ``image_grid``.

    Row by row from the top: z_1 grows to the right, z_2 upward, as in a plot.
    """
    n, low, high = checks.whole("n", n, 1), checks.number("low", low), checks.number("high", high)
    if low > high:
        raise ValueError(f"low must not be larger than high, got {low} and {high}")
    values = torch.linspace(low, high, n)
    z_2, z_1 = torch.meshgrid(values.flip(0), values, indexing="ij")
    return torch.stack([z_1.flatten(), z_2.flatten()], 1)


def occupied(grid: Codes, codes: Codes) -> Bool[Tensor, " nodes"]:
    """Which nodes of a square grid of codes ``(side², 2)`` have one of ``codes`` in their cell.

    A cell reaches half a spacing to each side. A sample in an empty cell is of a code that none of
    the images has. ``ValueError`` for codes of another length than 2.
    """
    for name, value in (("grid", grid), ("codes", codes)):
        checks.floating(name, value, (2,))
    side = checks.whole("the side of grid", round(len(grid) ** 0.5), 2)
    half = (grid.amax(0) - grid.amin(0)) / (side - 1) / 2
    return ((codes[:, None] - grid).abs() <= half).all(-1).any(0)


def _prior(model, n: int, like: Tensor, generator: Generator | None) -> Images:
    # Drawn in single precision whatever the model's is: a seed is one noise.
    noise = normal((n, *model.config.image_shape), like.float(), generator).to(like)
    return float(model.sde.tau(1.0)) * noise


def _level(t: float) -> float:
    t = checks.number("t", t, above=0.0)
    if t > 1:
        raise ValueError(f"t must lie in (0, 1], got {t}")
    return t


def _corner(name: str, value: float | Tensor) -> Tensor:
    value = torch.as_tensor(value, dtype=torch.float32, device="cpu")
    if value.shape not in ((), (1,), (2,)) or not bool(value.isfinite().all()):
        raise ValueError(f"{name} must be a finite number or two of them, got {value.tolist()}")
    return value
