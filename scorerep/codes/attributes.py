"""Physical attributes of images: what a code may hold besides the class.

Images are floats in [−1, 1]; intensity is (x + 1)/2, so that −1 is no ink and 1 is full
ink. A function of one attribute returns one number an image, shape ``(batch,)``, and
``background_colour`` one number a channel. The stroke width and the slant are NaN where no pixel
reaches half intensity.
"""

import math

import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float
from skimage.morphology import skeletonize
from torch import Tensor

from scorerep.types import Images, checks
from scorerep.types.devices import single_at_least

PerImage = Float[Tensor, "batch"]
ENLARGED = 3  # times, before the skeleton is found
CHUNK = 1_000  # images whose skeletons are found together
# Lengths of a straight and of a diagonal step of a digital line, unbiased over all directions
# where 1 and √2 are 5 % too long: Dorst and Smeulders (1987), "Length estimators for digitized
# contours".
STRAIGHT, DIAGONAL = 0.948, 1.343


def attributes(images: Images) -> pd.DataFrame:
    """The attributes that make sense for these images, one row an image.

    One channel: ink, stroke_width, slant. Three channels: brightness, background_red,
    background_green, background_blue. Ten thousand MNIST images take a few seconds.
    """
    _check(images)
    if images.shape[1] == 1:
        columns = {
            "ink": ink(images), "stroke_width": stroke_width(images), "slant": slant(images),
        }  # fmt: skip
    elif images.shape[1] == 3:
        background = background_colour(images)
        columns = {"brightness": brightness(images)}
        for channel, colour in enumerate(("red", "green", "blue")):
            columns[f"background_{colour}"] = background[:, channel]
    else:
        raise ValueError(f"images must have 1 or 3 channels, got {images.shape[1]}")
    return pd.DataFrame(
        {
            name: values.cpu().to(single_at_least(values.dtype)).numpy()
            for name, values in columns.items()
        }
    )


def scorable_attributes(train: Images, test: Images) -> tuple[pd.DataFrame, pd.DataFrame]:
    """``attributes`` of ``train`` and ``test`` images, without those that say nothing of them.

    An attribute is left out that fewer than two images of a split have, or that is the same for
    all: the stroke width of photographs without a dark stroke, say.
    """
    tables = [attributes(images) for images in (train, test)]
    kept = [
        name for name in tables[0] if all(table[name].nunique(dropna=True) > 1 for table in tables)
    ]
    return tables[0][kept], tables[1][kept]


def ink(images: Images) -> PerImage:
    """Mean intensity, in [0, 1]."""
    return (brightness(images) + 1) / 2


def brightness(images: Images) -> PerImage:
    """Mean over pixels and channels, in [−1, 1]."""
    _check(images)
    return images.flatten(1).to(single_at_least(images.dtype)).mean(1).to(images)


def background_colour(images: Images, border: int = 2) -> Float[Tensor, "batch channel"]:
    """Mean colour of the frame ``border`` pixels wide, one value a channel, in [−1, 1]."""
    _check(images)
    height, width = images.shape[2:]
    border = checks.whole("border", border, 0)
    if not 0 < 2 * border < min(height, width):
        raise ValueError(f"border must be positive and less than half of the image, got {border}")
    whole = images.to(single_at_least(images.dtype))
    inside = whole[:, :, border:-border, border:-border]
    pixels = height * width - inside.shape[2] * inside.shape[3]
    return ((whole.sum((2, 3)) - inside.sum((2, 3))) / pixels).to(images)


def stroke_width(images: Images) -> PerImage:
    """Area over skeleton length, in pixels of the image; one channel.

    The image is enlarged three times (bilinear), pixels of at least half intensity are the
    stroke, and scikit-image thins it to its skeleton. For straight strokes of 1.5 to 4
    pixels it is within 20 % in any one direction, 5 % on average over directions. A skeleton
    stops half a width before the stroke does, so dots and short strokes come out too wide. Twice
    the mean distance of the skeleton to the edge, Morpho-MNIST's thickness (Castro et al., 2019),
    is as exact for such strokes; the book's tables were made with this one.
    """
    intensity = _intensity(images).clamp(0, 1)[:, None]
    # At the original size a stroke of two pixels has a ragged skeleton.
    large = F.interpolate(intensity, scale_factor=ENLARGED, mode="bilinear", align_corners=False)
    stroke = F.pad(large[:, 0], (1, 1, 1, 1)) >= 0.5
    widths = [_area_over_length(part) for part in stroke.split(CHUNK)]
    return torch.cat(widths).to(images) / ENLARGED


def slant(images: Images) -> PerImage:
    """Shear of the ink in degrees: 0 upright, positive when the top leans to the right.

    With second central moments μ of the intensity and y upward, a vertical stroke sheared
    by x → x + y tan θ has tan θ = μ_xy/μ_yy. One channel. NaN for ink in a single row.
    """
    intensity = _intensity(images).clamp(0, 1)
    height, width = intensity.shape[1:]
    x = torch.arange(width).to(intensity)
    y = -torch.arange(height).to(intensity)[:, None]
    mass = intensity.sum((1, 2), keepdim=True)
    x = x - (intensity * x).sum((1, 2), keepdim=True) / mass
    y = y - (intensity * y).sum((1, 2), keepdim=True) / mass
    mu_xy, mu_yy = (intensity * x * y).sum((1, 2)), (intensity * y * y).sum((1, 2))
    exists = (intensity.amax((1, 2)) >= 0.5) & (mu_yy > 1e-6 * mass[:, 0, 0])
    degrees = torch.atan(mu_xy / mu_yy) * (180 / math.pi)
    return torch.where(exists, degrees, math.nan).to(images)


def _area_over_length(stroke: Tensor) -> Tensor:
    """Of boolean (n, height, width) with an empty frame; in pixels."""
    n, height, width = stroke.shape
    if not n:
        return torch.zeros(0)
    # One call for all: side by side, the empty frames keep the images apart.
    strip = skeletonize(stroke.transpose(0, 1).reshape(height, n * width).cpu().numpy())
    s = torch.from_numpy(strip).reshape(height, n, width).transpose(0, 1)
    straight = (s[:, :, 1:] & s[:, :, :-1]).sum((1, 2)) + (s[:, 1:] & s[:, :-1]).sum((1, 2))
    # A diagonal step is one that has no way round over a common neighbour.
    falling = s[:, 1:, 1:] & s[:, :-1, :-1] & ~s[:, 1:, :-1] & ~s[:, :-1, 1:]
    rising = s[:, 1:, :-1] & s[:, :-1, 1:] & ~s[:, 1:, 1:] & ~s[:, :-1, :-1]
    diagonal = falling.sum((1, 2)) + rising.sum((1, 2))
    length = STRAIGHT * straight + DIAGONAL * diagonal + 1  # n pixels in a row have n − 1 steps
    area = stroke.sum((1, 2)).cpu()
    return torch.where(area > 0, area / length, math.nan)


def _intensity(images: Images) -> Float[Tensor, "batch height width"]:
    _check(images)
    if images.shape[1] != 1:
        raise ValueError(f"images must have one channel, got {images.shape[1]}")
    return (images[:, 0].to(single_at_least(images.dtype)) + 1) / 2


def _check(images: Images):
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(
            "images must be floats in [−1, 1] of shape (batch, channel, height, width), got "
            f"{images.dtype} {tuple(images.shape)}"
        )
    checks.floating("images", images)
