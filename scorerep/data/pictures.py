"""One picture file as bytes of one size: what Pillow reads, made grey or red, green and blue.

    pixels = picture("cat.jpg", size=(32, 32), channels=3)     # (3, 32, 32), uint8

- It is turned as its camera says (EXIF), and of several frames the first one is taken.
- What is transparent is laid on white.
- Grey of 16 bits is divided by 257, so that 65535 becomes 255: scaled by one factor for all
  pictures, never stretched or clipped.
- Another size is reached by scaling, with antialiasing, until the picture covers it, and cutting
  the middle out: nothing is distorted.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm",
)  # fmt: skip
GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L")  # Pillow's modes of one channel
ORIENTATION, QUARTER_TURNS = 274, (5, 6, 7, 8)  # EXIF's tag, and its values that swap the sides
BAD = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)


class BadPicture(ValueError):
    """A file that is no picture, damaged, or of a kind that is not read; the message says which."""


class Header(NamedTuple):
    """What a picture's file says before its pixels are read."""

    height: int  #: in pixels, as shown
    width: int  #: in pixels, as shown
    grey: bool  #: whether it has no colours


def header(path: str | Path) -> Header:
    """Size, as shown, and colour of the picture at ``path``; ``BadPicture`` if there are none."""
    with _opened(path) as image:
        width, height = image.size
        if image.getexif().get(ORIENTATION) in QUARTER_TURNS:
            width, height = height, width
        return Header(height, width, image.mode in GREY)


def picture(
    path: str | Path, size: tuple[int, int], channels: int
) -> UInt8[np.ndarray, "channels height width"]:
    """The picture at ``path``; ``BadPicture`` if it cannot be read to its end.

    Args:
        size: (height, width) of the result.
        channels: 1 for grey, 3 for red, green and blue.
    """
    with _opened(path) as image:
        # A large JPEG need not be decoded at its full size.
        image.draft(None, (2 * max(size), 2 * max(size)))
        return pixels(image, size, channels)


def pixels(
    image: Image.Image, size: tuple[int, int] | None, channels: int
) -> UInt8[np.ndarray, "channels height width"]:
    """The Pillow ``image`` as bytes, of ``size`` (height, width), or its own, and ``channels``."""
    image = in_eight_bits(ImageOps.exif_transpose(image))
    image = image.convert("L" if channels == 1 else "RGB")
    if size is not None and image.size != tuple(size)[::-1]:
        image = ImageOps.fit(image, tuple(size)[::-1], Image.Resampling.BICUBIC)
    values = np.asarray(image)
    return values[None] if channels == 1 else np.ascontiguousarray(values.transpose(2, 0, 1))


def in_eight_bits(image: Image.Image) -> Image.Image:
    """The Pillow ``image`` as grey or RGB of 8 bits, on white where it is transparent."""
    if image.mode in ("I", "I;16", "I;16B", "I;16L"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("its grey has more than 16 bits: save it with 8 or 16")
        return Image.fromarray(np.rint(values / 257).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its pixels are floats: save it with 8 or 16 bits")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("L" if image.mode in GREY else "RGB")


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    """The picture at ``path``, open; whatever goes wrong within becomes ``BadPicture``."""
    try:
        with warnings.catch_warnings():  # of odd metadata, and of size, which has a limit too
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                yield image
    except BAD as error:
        reason = str(error).replace(f" {str(path)!r}", "") or type(error).__name__
        raise BadPicture(f"{path}: {reason}") from None
