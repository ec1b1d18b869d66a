"""What can be said of figures without looking: colours, geometry, and that nothing is shown."""

import itertools
import math

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from skimage.color import deltaE_ciede2000, rgb2lab

from scorerep import plots
from scorerep.codes.effects import code_grid

WHITE, DARK = (1.0, 1.0, 1.0), to_rgb("#121212")
# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
DICHROMACIES = {
    "none": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}  # fmt: skip


@pytest.fixture(autouse=True)
def style(monkeypatch):
    monkeypatch.setattr(plt, "show", lambda *a, **k: pytest.fail("a figure was shown"))
    with matplotlib.rc_context():
        plots.use_style()
        yield
    plt.close("all")


def linear(colour):
    c = np.asarray(to_rgb(colour))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def contrast(first, second):
    """WCAG's ratio of relative luminances."""
    low, high = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (first, second))
    return (high + 0.05) / (low + 0.05)


def seen(colour, matrix):
    c = np.clip(np.asarray(matrix) @ linear(colour), 0, 1)
    return rgb2lab(np.where(c <= 0.0031308, 12.92 * c, 1.055 * c ** (1 / 2.4) - 0.055))


# Colours


def test_text_reads_on_light_and_dark_pages():
    assert contrast(plots.INK, WHITE) >= 4.5 and contrast(plots.INK, DARK) >= 4
    for key in ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"):
        assert plt.rcParams[key] == plots.INK


@pytest.mark.parametrize("vision", DICHROMACIES)
def test_ten_classes_have_ten_colours_for_every_colour_vision(vision):
    lab = [seen(c, DICHROMACIES[vision]) for c in plots.class_palette(10)]
    assert min(deltaE_ciede2000(a, b) for a, b in itertools.combinations(lab, 2)) > 8.5


def test_class_colours_and_the_ends_of_the_scale_show_on_both_pages():
    for colour in plots.class_palette(10):
        assert contrast(colour, WHITE) > 2.5 and contrast(colour, DARK) > 2.5
    ends = plots.CONTINUOUS([0.0, 1.0])[:, :3]
    assert contrast(ends[0], DARK) > 1.5 and contrast(ends[1], WHITE) > 1.4


def test_more_than_ten_classes_still_have_different_colours():
    assert len(set(plots.class_palette(23))) == 23


def test_nothing_is_painted_behind_a_figure(tmp_path):
    fig, ax = plt.subplots()
    ax.plot([0, 1])
    fig.savefig(tmp_path / "figure.png")
    pixels = plt.imread(tmp_path / "figure.png")
    assert pixels.shape[1] == plots.WIDTH * 160
    assert pixels[0, 0, 3] == 0 and 0 < (pixels[..., 3] > 0).mean() < 0.1


# Scatter plots


def test_scatter_colours_each_code_by_its_class():
    rng = np.random.default_rng(0)
    codes, labels = torch.tensor(rng.normal(size=(200, 2))), torch.tensor(np.arange(200) % 3)
    ax = plots.scatter_codes(codes, labels, classes=["cat", "dog", "frog"], label="animal")
    dots = ax.collections[0]
    colour_of = dict(zip(map(tuple, dots.get_offsets().tolist()), dots.get_facecolors()))
    palette = plots.class_palette(3)
    for code, label in zip(codes.tolist(), labels.tolist()):
        np.testing.assert_allclose(colour_of[tuple(code)][:3], palette[label])
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["cat", "dog", "frog"]
    assert not ax.texts  # such names would cover each other and the dots
    assert ax.get_legend().get_title().get_text() == "animal"


def test_names_in_the_plot_read_and_do_not_cover_each_other():
    codes = torch.zeros(100, 2) + 1e-3 * torch.arange(100)[:, None]
    ax = plots.scatter_codes(codes, torch.arange(100) % 10, classes=list("0123456789"))
    places = ax.transAxes.inverted().transform(
        ax.transData.transform([text.get_position() for text in ax.texts])
    )
    assert min(math.dist(a, b) for a, b in itertools.combinations(places, 2)) > 0.05
    for text in ax.texts:
        assert contrast("white", text.get_bbox_patch().get_facecolor()) >= 4.5


def test_a_continuous_scatter_has_a_labelled_bar_and_leaves_nan_out():
    values = np.linspace(0, 1, 100)
    values[7] = np.nan
    codes = np.random.default_rng(0).normal(size=(100, 2))
    ax = plots.scatter_codes(codes, values, kind="continuous", label="stroke width")
    assert len(ax.collections[0].get_offsets()) == 99
    bar = ax.figure.axes[1]
    assert bar.get_ylabel() == "stroke width" and bar.get_ylim()[1] < 1


def test_scatter_draws_into_the_axes_it_is_given():
    _, axes = plt.subplots(1, 2)
    assert plots.scatter_codes(np.eye(2), [0, 1], ax=axes[1]) is axes[1]
    assert not axes[0].collections


# Grids of images


def test_code_grid_runs_as_a_plot_does():
    grid = code_grid(-1, 1, 3)
    assert grid.tolist() == [
        [-1, 1], [0, 1], [1, 1],
        [-1, 0], [0, 0], [1, 0],
        [-1, -1], [0, -1], [1, -1],
    ]  # fmt: skip


def test_image_grid_places_images_row_by_row_with_clear_gaps():
    values = torch.linspace(-1, 1, 6)
    images = values[:, None, None, None].expand(6, 1, 4, 5)
    ax = plots.image_grid(images, 2, 3, gap=2)
    shown = np.asarray(ax.images[0].get_array())
    assert shown.shape == (2 * 4 + 2, 3 * 5 + 2 * 2, 4)
    for k in range(6):
        top, left = 6 * (k // 3), 7 * (k % 3)
        tile = shown[top : top + 4, left : left + 5]
        np.testing.assert_allclose(tile[..., :3], (float(values[k]) + 1) / 2, atol=1e-6)
        assert (tile[..., 3] == 1).all()
    assert (shown[4:6, :, 3] == 0).all() and (shown[:, 5:7, 3] == 0).all()


def test_image_grid_keeps_rgb_and_clips():
    image = torch.tensor([-1.0, 0.0, 7.0])[None, :, None, None].expand(1, 3, 2, 2)
    shown = np.asarray(plots.image_grid(image, 1, 1).images[0].get_array())
    np.testing.assert_allclose(shown[0, 0], [0, 0.5, 1, 1])


def test_image_grid_carries_the_values_of_its_codes():
    n = 10
    ax = plots.image_grid(torch.zeros(n * n, 1, 4, 4), n, n, codes=code_grid(-2, 2, n))
    across = [(x.get_position()[0], x.get_text()) for x in ax.get_xticklabels()]
    down = [(y.get_position()[1], y.get_text()) for y in ax.get_yticklabels()]
    assert across[0] == (1.5, "−2") and across[-1] == (9 * 5 + 1.5, "2")
    assert down[0] == (1.5, "2") and down[-1] == (9 * 5 + 1.5, "−2")
    labelled = plots.image_grid(torch.zeros(2, 1, 4, 4), 1, 2, column_labels=["a", "b"])
    assert [x.get_text() for x in labelled.get_xticklabels()] == ["a", "b"]
    assert list(labelled.get_yticks()) == []


# Curves and fields


def test_the_band_of_several_runs_is_their_standard_deviation():
    x, runs = np.arange(4.0), np.array([[0.0, 1, 2, 3], [2.0, 3, 4, 5], [4.0, 5, 6, 7]])
    ax = plots.plot_curve(x, runs, label="runs")
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [2, 3, 4, 5])
    band = ax.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (0, 7)
    plots.plot_curve(torch.tensor(x), torch.tensor(runs[0]), error=np.full(4, 0.5), ax=ax)
    band = ax.collections[1].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (-0.5, 3.5)
    assert not plots.plot_curve(x, x).collections


def test_arrows_start_at_the_points_and_stream_lines_follow_the_field():
    points = code_grid(-1, 1, 11)
    field = torch.stack([-points[:, 1], points[:, 0]], 1)
    _, (left, right) = plt.subplots(1, 2)
    plots.vector_field(left, points, field)
    arrows = left.collections[0]
    np.testing.assert_allclose(arrows.get_offsets(), points, atol=1e-6)
    np.testing.assert_allclose(np.c_[arrows.U, arrows.V], field, atol=1e-6)
    order = torch.randperm(121, generator=torch.Generator().manual_seed(0))
    plots.vector_field(right, points[order], field[order], "stream")
    lines = [np.asarray(line) for line in right.collections[0].get_segments()]
    assert len(lines) > 20
    for line in lines:  # of a rotation they are circles
        radius = np.linalg.norm(line, axis=1)
        assert np.ptp(radius) < 0.02


def test_the_heat_is_opaque_at_the_mode_and_clear_far_away():
    _, ax = plt.subplots()

    def log_prob(x):
        return -8 * (x - torch.tensor([1.0, -0.5])).square().sum(1)

    image = plots.density_heat(ax, log_prob, (-2, 2, -1, 1), n=80)
    alpha = np.asarray(image.get_array())[..., 3]
    row, column = np.unravel_index(alpha.argmax(), alpha.shape)
    assert (column + 0.5) / 80 * 4 - 2 == pytest.approx(1, abs=0.03)
    assert (row + 0.5) / 80 * 2 - 1 == pytest.approx(-0.5, abs=0.02)
    assert alpha.max() > 0.8 and alpha[-1, 0] < 1e-3


def test_bad_input_is_named():
    _, ax = plt.subplots()
    points = code_grid(-1, 1, 3)
    cases = [
        (lambda: plots.scatter_codes(np.zeros((5, 3)), np.zeros(5)), "codes must be"),
        (lambda: plots.scatter_codes(np.zeros((5, 2)), np.zeros(4)), "codes must be"),
        (lambda: plots.scatter_codes(np.zeros((5, 2)), np.zeros(5), kind="x"), "kind must"),
        (lambda: code_grid(1, -1, 3), "low must not be larger than high"),
        (lambda: plots.image_grid(torch.zeros(5, 1, 4, 4), 2, 3), "images must be"),
        (lambda: plots.image_grid(torch.zeros(6, 2, 4, 4), 2, 3), "images must be"),
        (lambda: plots.plot_curve([1, 2, 3], [1, 2]), "one value for each x"),
        (lambda: plots.plot_curve([1, 2], [1, 2], error=[1]), "one value for each x"),
        (lambda: plots.vector_field(ax, points, points[:4]), "points and vectors"),
        (lambda: plots.vector_field(ax, points, points, "x"), "kind must"),
        (lambda: plots.vector_field(ax, points[:-1], points[:-1], "stream"), "rectangular"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
