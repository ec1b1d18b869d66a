"""Attributes of drawn shapes whose ink, width and slant are known."""

import math

import numpy as np
import pytest
import torch

from scorerep.codes.attributes import (
    attributes,
    background_colour,
    brightness,
    ink,
    slant,
    stroke_width,
)

SIZE, FINE = 28, 8  # pixels a side, and samples a side of each pixel


def draw(inside):
    """An anti-aliased image, (1, 1, 28, 28), of the points where ``inside(x, y)``; y is upward."""
    c = (torch.arange(SIZE * FINE) + 0.5) / FINE - SIZE / 2
    fine = inside(c[None, :], -c[:, None]).float()
    coarse = fine.reshape(SIZE, FINE, SIZE, FINE).mean((1, 3))
    return (2 * coarse - 1)[None, None]


def bar(width, length=22.0, angle=0.0, shear=0.0):
    """An upright bar, turned by ``angle`` or sheared by ``shear`` degrees to the right."""
    turn, tangent = math.radians(angle), math.tan(math.radians(shear))

    def inside(x, y):
        along = x * math.sin(turn) + y * math.cos(turn)
        across = x * math.cos(turn) - y * math.sin(turn) - tangent * y
        return (along.abs() < length / 2) & (across.abs() < width / 2)

    return draw(inside)


BLANK = -torch.ones(1, 1, SIZE, SIZE)


def test_ink_is_the_inked_share_of_the_image():
    assert float(ink(BLANK)) == 0 and float(ink(-BLANK)) == 1
    assert float(ink(bar(3, 20))) == pytest.approx(3 * 20 / SIZE**2, rel=1e-5)


def test_brightness_averages_pixels_and_channels():
    images = torch.tensor([[-1.0, 0.0, 0.4]])[:, :, None, None].expand(2, 3, 8, 8)
    torch.testing.assert_close(brightness(images), torch.full((2,), -0.2))


def test_background_colour_sees_the_frame_only():
    images = torch.full((2, 3, 32, 32), 0.3)
    images[:, 1] = -0.5
    images[:, :, 2:-2, 2:-2] = 1.0
    expected = torch.tensor([[0.3, -0.5, 0.3]]).expand(2, 3)
    torch.testing.assert_close(background_colour(images), expected, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="border"):
        background_colour(images, border=16)


def pen(width, angle, length=18.0):
    """A straight stroke of a round pen, and its area over the length of its middle line."""
    turn = math.radians(angle)

    def inside(x, y):
        along = x * math.sin(turn) + y * math.cos(turn)
        across = x * math.cos(turn) - y * math.sin(turn)
        beyond = (along.abs() - length / 2).clamp(min=0)
        return beyond**2 + across**2 < width**2 / 4

    return draw(inside), width + math.pi * width**2 / (4 * length)


@pytest.mark.parametrize("width", [1.5, 2, 3, 4])
def test_stroke_width_of_a_pen_is_area_over_length(width):
    drawn = [pen(width, angle) for angle in range(0, 91, 15)]
    measured = stroke_width(torch.cat([image for image, _ in drawn]))
    expected = drawn[0][1]
    assert bool(((measured / expected - 1).abs() < 0.2).all())
    assert float(measured.mean()) == pytest.approx(expected, rel=0.05)


def test_stroke_width_of_a_line_of_single_pixels_is_one():
    image = BLANK.clone()
    image[0, 0, 14, 4:24] = 1
    assert float(stroke_width(image)) == pytest.approx(1, abs=0.15)


def test_stroke_width_of_a_ring_is_its_width():
    for width in (2, 3, 4):
        ring = draw(lambda x, y, w=width: ((x**2 + y**2).sqrt() - 8).abs() < w / 2)
        assert float(stroke_width(ring)) == pytest.approx(width, rel=0.12)


def test_images_are_measured_apart_from_each_other():
    """Skeletons are found side by side in one call: neighbours must not touch."""
    full, thin = torch.ones(1, 1, SIZE, SIZE), bar(2, 28)
    images = torch.cat([full, thin, full, BLANK, thin])
    alone = torch.cat([stroke_width(image[None]) for image in images])
    torch.testing.assert_close(stroke_width(images), alone, equal_nan=True)


@pytest.mark.parametrize("degrees", [-40, -15, 0, 15, 40])
def test_slant_is_the_angle_of_the_shear(degrees):
    assert float(slant(bar(3, 16, shear=degrees))) == pytest.approx(degrees, abs=0.3)


def test_slant_does_not_move_with_the_image():
    image = bar(3, 14, shear=20)
    moved = image.roll((3, -4), (2, 3))
    assert float(slant(moved)) == pytest.approx(float(slant(image)), abs=1e-3)


def test_blank_images_have_no_stroke_and_no_slant():
    faint = torch.full_like(BLANK, -0.9)
    for images in (BLANK, faint):
        assert bool(stroke_width(images).isnan().all()) and bool(slant(images).isnan().all())
    row = BLANK.clone()
    row[0, 0, 10, 5:20] = 1
    assert bool(slant(row).isnan().all()) and bool(stroke_width(row).isfinite().all())


def test_the_table_has_one_row_an_image_and_the_columns_of_its_kind():
    grey = attributes(torch.cat([bar(2), bar(4), BLANK]))
    assert list(grey) == ["ink", "stroke_width", "slant"] and len(grey) == 3
    assert grey.stroke_width[1] > 1.7 * grey.stroke_width[0] and np.isnan(grey.stroke_width[2])
    colour = attributes(torch.zeros(2, 3, 32, 32))
    assert list(colour) == [
        "brightness", "background_red", "background_green", "background_blue",
    ]  # fmt: skip
    assert np.allclose(colour, 0)


def test_images_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="floats"):
        ink(torch.zeros(1, 1, 4, 4, dtype=torch.uint8))
    with pytest.raises(ValueError, match="floats"):
        ink(torch.zeros(4, 4))
    with pytest.raises(ValueError, match="one channel"):
        stroke_width(torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match="1 or 3"):
        attributes(torch.zeros(1, 2, 4, 4))
