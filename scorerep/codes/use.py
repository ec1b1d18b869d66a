"""What a code can be used for: images rebuilt from code and noise, blends, edits, fresh images.

Of an image x_0 a score model with a code makes two parts: z = E(x_0), and the noise x_1 to which
the probability flow *given z* carries it. From both the flow brings x_0 back. For a perfect score
x_1 is N(0, τ²(1) I) whatever z is: it holds what z leaves open, and nothing of z.

    z, x_1 = model.encode(x_0), noise_of(model, x_0)
    decode(model, z, x_1)                              # x_0 again
    decode(model, z, x_1.roll(1, 0))                   # the own code, another's noise
    line = direction(train_codes, slant)               # from scores of training images
    decode(model, line.moved(z, 10.0), x_1)            # more slanted by ten degrees, if it holds
    generate(model, mixture_prior(train_codes), 16)    # no image at all

Source: Preechakul et al. (2022), Diffusion Autoencoders, Sections 3 to 5, for a code beside DDIM.
"""

from typing import NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Generator, Tensor

from scorerep import sampling
from scorerep.codes.scores import linear_fit
from scorerep.model import ScoreModel
from scorerep.sampling.inversion import STEPS
from scorerep.types import Codes, Data, checks
from scorerep.types.devices import normal, place_of


class CodePrior(Protocol):
    """A law of codes, such as those of ``scorerep.codes.prior``."""

    def sample(self, n: int, generator: Generator | None = None) -> Codes:
        """n codes, on the CPU."""


def noise_of(
    model: ScoreModel, x_0: Data, z: Codes | None = None, steps: int = STEPS, batch: int = 128
) -> Data:
    """x_1, to which the flow given z carries each image; like x_0.

    Args:
        z: None for the images' own codes; a model without a code takes none.
    """
    if z is None and model.config.latent:
        z = _own_codes(model, x_0, batch)
    return _flow(sampling.invert, model, "x_0", x_0, z, steps, batch)


def decode(
    model: ScoreModel, z: Codes | None, x_1: Data, steps: int = STEPS, batch: int = 128
) -> Data:
    """The image of a code and a noise x_1, like x_1; the way back of ``noise_of``."""
    return _flow(sampling.restore, model, "x_1", x_1, z, steps, batch)


def reconstruct(
    model: ScoreModel,
    x_0: Data,
    z: Codes | None = None,
    x_1: Data | None = None,
    steps: int = STEPS,
    batch: int = 128,
) -> Data:
    """Images from their codes and their noises: x_0 → x_1, then back; like x_0.

    Args:
        z: other codes for the way back; None for the own. The way there is always with the own.
        x_1: another noise; None for the own, which costs the way there.
    """
    if model.config.latent:
        own = _own_codes(model, x_0, batch)
        x_1 = noise_of(model, x_0, own, steps, batch) if x_1 is None else x_1
        return decode(model, own if z is None else z, x_1, steps, batch)
    x_1 = noise_of(model, x_0, None, steps, batch) if x_1 is None else x_1
    return decode(model, z, x_1, steps, batch)


def on_sphere(first: Data, second: Data, weight: float) -> Data:
    """Each pair's great circle at ``weight``: 0 is ``first``, 1 ``second``; norms in between.

    Between two draws of the prior a straight line passes through points with less noise than any
    draw has; on the sphere the norm of equally long ends is kept. Opposite ends are refused.
    """
    weight = checks.number("weight", weight)
    checks.floating("first", first)
    if checks.floating("second", second).shape != first.shape:
        raise ValueError(
            f"second must have the shape of first, {tuple(first.shape)}, got {tuple(second.shape)}"
        )
    a, b = (v.flatten(1).double() if v.device.type != "mps" else v.flatten(1).float()
            for v in (first, second))  # fmt: skip
    norms = [v.norm(dim=1, keepdim=True).clamp(min=1e-30) for v in (a, b)]
    cosine = (a / norms[0] * (b / norms[1])).sum(1, keepdim=True).clamp(-1, 1)
    if bool((cosine < -1 + 1e-9).any()):
        raise ValueError("second must not be opposite to first: every great circle joins them")
    angle = torch.arccos(cosine)
    near = angle < 1e-4  # where sines vanish the circle is a line
    sine = torch.where(near, 1.0, torch.sin(angle))
    shares = [
        torch.where(near, flat, torch.sin(flat * angle) / sine) for flat in (1 - weight, weight)
    ]
    length = (1 - weight) * norms[0] + weight * norms[1]
    point = length * (shares[0] * a / norms[0] + shares[1] * b / norms[1])
    return point.view_as(first).to(first)


def interpolate(
    model: ScoreModel,
    first: Data,
    second: Data,
    weights: ArrayLike = (0.0, 0.25, 0.5, 0.75, 1.0),
    steps: int = STEPS,
    batch: int = 128,
) -> Float[Tensor, "weights batch *shape"]:
    """From each image of ``first`` to its partner: codes on a line, noises on the sphere.

    Args:
        weights: 0 is ``first`` rebuilt, 1 is ``second``.
    """
    if not model.config.latent:
        raise ValueError("model must have a code to interpolate: its config has latent=0")
    if first.shape != second.shape:
        raise ValueError(
            f"second must have the shape of first, {tuple(first.shape)}, got {tuple(second.shape)}"
        )
    codes = [_own_codes(model, x, batch) for x in (first, second)]
    noises = [noise_of(model, x, z, steps, batch) for x, z in zip((first, second), codes)]
    images = [
        decode(model, torch.lerp(*codes, weight), on_sphere(*noises, weight), steps, batch)
        for weight in (checks.number("weights", w) for w in np.asarray(weights).reshape(-1))
    ]
    return torch.stack(images) if images else first.new_zeros(0, *first.shape)


class Direction(NamedTuple):
    """A linear fit of an attribute by a code, and the way to change it."""

    slope: Float[Tensor, " latent"]  #: of attribute ≈ slope · z + intercept
    intercept: float  #: in units of the attribute
    vector: Float[Tensor, " latent"]  #: along it the fit rises by one unit of the attribute
    r2: float  #: of the fit, at most 1, on the codes it was made from

    def fitted(self, z: Codes) -> Float[Tensor, " batch"]:
        """The attribute that the fit reads from each code."""
        return z @ self.slope.to(z) + self.intercept

    def moved(self, z: Codes, by: float | Tensor) -> Codes:
        """Codes whose fitted attribute is larger ``by`` so much; one amount, or one each."""
        checks.floating("z", z, tuple(self.vector.shape))
        by = checks.one_or_each("by", by, z, z.dtype)
        return z + by[:, None] * self.vector.to(z)


def direction(codes: ArrayLike, attribute: ArrayLike) -> Direction:
    """How to move a code so that an attribute changes: from a least-squares fit.

    Of all moves that change the fitted attribute by one, the likeliest under a Gaussian of the
    codes, Σw/(wᵀΣw) with the fit's slope w and the codes' covariance Σ: coordinates that vary
    little move little. Images whose attribute is NaN are left out.

    ``ValueError``: fewer than two codes, or an attribute that no linear function of them follows.
    """
    z, slope, intercept, r2 = linear_fit(codes, attribute)
    covariance = np.atleast_2d(np.cov(z, rowvar=False))
    along = covariance @ slope
    explained = float(slope @ along)  # variance of the fitted attribute
    if not explained > 0:
        raise ValueError("attribute must vary with the codes: its linear fit is constant")
    as_tensor = [torch.from_numpy(v).float() for v in (slope, along / explained)]
    return Direction(as_tensor[0], intercept, as_tensor[1], r2)


def generate(
    model: ScoreModel,
    prior: CodePrior,
    n: int,
    steps: int = 9,
    generator: Generator | None = None,
    batch: int = 128,
) -> Data:
    """n images of codes that ``prior`` draws, each from a noise of its own; float32, on the CPU.

    The sampler is stochastic Heun, whose samples are nearer to digits than Heun's from more
    evaluations, for all five models drawn by both (results/quality.csv).
    """
    n, batch = checks.whole("n", n, 0), checks.whole("batch", batch, 1)
    if not model.config.latent:
        raise ValueError("model must have a code to draw: its config has latent=0")
    z = prior.sample(n, generator)
    checks.floating("codes of prior", z, (model.config.latent,))
    shape, place = tuple(model.config.image_shape), place_of(model, z)
    x_1 = float(model.sde.tau(1.0)) * normal((n, *shape), z.float(), generator)
    images = [torch.zeros(0, *shape)]
    for code, x in zip(z.split(batch), x_1.split(batch)):
        score = sampling.condition(model, code.to(*place))
        x_0 = sampling.stochastic_heun(score, model.sde, x.to(*place), 1.0, steps, generator)
        images.append(x_0.float().cpu())
    return torch.cat(images)


@torch.no_grad()
def _own_codes(model: ScoreModel, x_0: Data, batch: int) -> Codes:
    checks.floating("x_0", x_0, tuple(model.config.image_shape))
    place, batch = place_of(model, x_0), checks.whole("batch", batch, 1)
    return torch.cat([model.encode(x.to(*place)).to(x_0) for x in x_0.split(batch)])


def _flow(method, model: ScoreModel, name: str, x: Data, z, steps: int, batch: int) -> Data:
    checks.floating(name, x, tuple(model.config.image_shape))
    batch, place = checks.whole("batch", batch, 1), place_of(model, x)
    if z is not None and len(z) != len(x):
        raise ValueError(f"z must have one code for each of {len(x)} images, got {len(z)}")
    codes = [None] * -(-len(x) // batch) if z is None else z.split(batch)
    if not len(x):
        return x.clone()
    parts = [
        method(
            sampling.condition(model, None if c is None else c.to(*place)),
            model.sde,
            part.to(*place),
            steps=steps,
        ).to(x)
        for part, c in zip(x.split(batch), codes, strict=True)
    ]
    return torch.cat(parts)
