"""Pictures that move: their data say what the arrays say, and what does not fit is refused."""

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_output
from PIL import Image

from book.tools import chapters, moving, moving_codes, references
from book.tools.sphinx import moving as on_page

CHAPTERS = [
    "diffusion", "denoising", "conditional", "linear_gaussian", "one_page", "mnist", "steering",
    "cifar", "levels", "knows", "information", "burden", "guidance", "baselines", "time_codes",
    "scale", "using_codes", "features", "own_data", "mutual_information",
]  # fmt: skip
T = moving.slider("t", "noise level t", [0.2, 0.5, 0.8], start=1)
WORDS = moving.choice("told", "the score is told", ["nothing", "the label"])


@pytest.fixture
def shown(monkeypatch):
    """``moving.show``, whose outputs are in the list that it returns."""
    outputs = []
    show = lambda data, **options: outputs.append(data)  # noqa: E731
    monkeypatch.setattr("IPython.display.display", show)
    return outputs


def data_of(html: str) -> dict:
    return json.loads(on_page.DATA.search(html)[1])


def plane(**options) -> moving.Panel:
    return moving.Panel("a", "b", x=(-2, 2), y=(0, 10), **options)


def test_points_come_back_within_a_hundredth_of_a_hundredth_of_the_axes(shown):
    random = np.random.default_rng(0)
    xy = random.uniform([-2, 0], [2, 10], size=(3, 40, 2))
    panel = plane()
    panel.points(xy, by="t", colours={"class": random.integers(0, 3, 40)})
    moving.show([panel], [T], lambda t: f"frame {t}")
    (mark,) = data_of(shown[0]["text/html"])["panels"][0]["marks"]
    whole = np.frombuffer(base64.b64decode(mark["data"]), "<u2").reshape(3, 40, 2)
    back = (3.0 * whole / 65535 - 1) * [4, 10] + [-2, 0]
    assert np.allclose(back, xy, atol=1e-3)


def test_frames_are_in_the_order_of_the_controls_and_each_has_its_sentence(shown):
    height = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, np.nan]])
    panel = plane()
    panel.line([0, 1], height[..., None] * [1, 1], by="t told")
    moving.show([panel], [T, WORDS], lambda t, told: f"height {height[t, told]:.0f}, {-t}")
    data = data_of(shown[0]["text/html"])
    frames = data["panels"][0]["marks"][0]["frames"]
    assert [frame[1] for frame in frames] == [1, 2, 3, 4, 5, None]
    assert data["said"]["texts"][2:4] == ["height 3, −1", "height 4, −1"]
    assert [c["texts"] for c in data["controls"]] == [
        ["0.20", "0.50", "0.80"],
        ["nothing", "the label"],
    ]


def test_sheet_holds_every_image_at_its_place(shown, tmp_path):
    images = np.linspace(-1, 1, 3)[:, None, None, None] * np.ones((3, 1, 8, 6))
    panel = plane(axes=False)
    panel.images(images, by="t")
    moving.show([panel], [T])
    (mark,) = data_of(shown[0]["text/html"])["panels"][0]["marks"]
    (tmp_path / "sheet.webp").write_bytes(base64.b64decode(mark["sheet"].partition(",")[2]))
    sheet = np.asarray(Image.open(tmp_path / "sheet.webp"))
    for frame, grey in enumerate((0, 128, 255)):
        row, column = divmod(frame, mark["columns"])
        place = sheet[8 * row : 8 * row + 8, 6 * column : 6 * column + 6]
        assert abs(place.astype(int) - grey).max() <= 1


def test_plane_of_codes_shows_the_image_of_the_code(shown):
    z_1, z_2 = np.meshgrid([-1.0, 0.0, 1.0], [2.0, 1.0, 0.0])  # rows from the top
    z = np.stack([z_1.ravel(), z_2.ravel()], 1)
    images = np.arange(9)[:, None, None, None] / 4.5 - 1 + np.zeros((9, 1, 4, 4))
    said = [f"z = ({a:g}, {b:g})" for a, b in z]
    cloud = np.random.default_rng(0).normal(size=(50, 2))
    moving_codes.show_code_plane(images, z, cloud, {"class": np.zeros(50, int)}, said)
    data = data_of(shown[0]["text/html"])
    wanted = [f"z = ({a:g}, {b:g})" for a in (-1, 0, 1) for b in (0, 1, 2)]
    assert data["said"]["texts"] == wanted
    assert [c["texts"] for c in data["controls"]] == [
        ["−1.00", "0.00", "1.00"],
        ["0.00", "1.00", "2.00"],
    ]


@pytest.mark.parametrize(
    ("draw", "controls", "said"),
    [
        (lambda p: p.rule([1, 2], by="t"), [T], r"rule by \('t',\) must have the first axes \[3\]"),
        (lambda p: p.rule([1, 2, 3], by="s"), [T], r"rule moves by \['s'\], which is no control"),
        (lambda p: p.line([0, 1], [1, 2], by="t"), [T], "must have 1 first axes and 2 of its own"),
        (lambda p: p.points(np.zeros((4, 2)), colours={"c": [1, 2]}), [T], "one value a point, 4"),
        (lambda p: p.rule(1.0), [], "controls must be at least one"),
        (lambda p: p.points(np.zeros((3, 60_000, 2)), by="t"), [T], "bytes of data, over 400,000"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(draw, controls, said, shown):
    panel = plane()
    with pytest.raises(ValueError, match=said):
        draw(panel)
        moving.show([panel], controls)
    assert shown == []


def test_start_and_values_of_a_control_are_checked():
    with pytest.raises(ValueError, match="start of the control 't' must be from 0 to 1, got 2"):
        moving.slider("t", "t", [0, 1], start=2)
    with pytest.raises(ValueError, match="values of the control 't' must be at least two"):
        moving.slider("t", "t", [0])


def simple(shown) -> str:
    panel = plane()
    panel.rule([0.0, 1.0, 2.0], by="t")
    moving.show([panel], [T], lambda t: "</script> & so on", label='A "rule"')
    return shown[-1]["text/html"]


def test_in_a_kernel_the_output_brings_its_script_and_on_the_page_it_does_not(shown, monkeypatch):
    monkeypatch.delenv("SCOREREP_PAGE", raising=False)
    alone = simple(shown)
    assert "<style>" in alone and "movingData" in alone and alone.count("</script>") == 2
    monkeypatch.setenv("SCOREREP_PAGE", "1")
    on_site = simple(shown)
    assert "<style>" not in on_site and "movingData" not in on_site
    assert data_of(on_site) == data_of(alone)
    assert base64.b64decode(shown[-1]["image/png"]).startswith(b"\x89PNG")


class Elements(HTMLParser):
    """Attributes of the elements, by class."""

    def __init__(self, text):
        super().__init__()
        self.found = {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found[dict(attributes).get("class")] = dict(attributes)


def test_page_has_its_data_and_still_in_files_and_the_cell_s_words(shown, tmp_path, monkeypatch):
    monkeypatch.setenv("SCOREREP_PAGE", "1")
    html = on_page.with_alt(simple(shown), 'A line that moves, "so".')
    body = on_page.take_out(f"<p>Before.</p>{html}", tmp_path / "moving", "../_static/moving/")
    found = Elements(body).found
    assert found["moving-still"]["alt"] == 'A line that moves, "so".'
    assert found["moving"]["aria-label"] == 'A "rule"'
    files = {file.suffix: file for file in (tmp_path / "moving").iterdir()}
    assert found["moving-still"]["src"] == f"../_static/moving/{files['.webp'].name}"
    place = found["moving-data"]
    assert place["data-src"] == f"../_static/moving/{files['.js'].name}"
    name, data = re.fullmatch(r'movingData\("(\w+)", (.*)\);\n', files[".js"].read_text()).groups()
    assert name == place["data-name"] and json.loads(data) == data_of(html)
    assert len(body) < 1_000 and Image.open(files[".webp"]).size[0] == 1120


def test_references_see_a_picture_and_none_of_its_data(shown):
    simple(shown)
    cell = new_code_cell("show()", outputs=[new_output("display_data", shown[-1])])
    assert references.text_of(cell) == ["[image]"]


@pytest.mark.parametrize("name", CHAPTERS)
def test_chapter_has_a_picture_to_move(name):
    cells = chapters.code_cells(chapters.read(chapters.ROOT / f"book/{name}.md"))
    call = re.compile(r"^(moving\.)?show(_code_plane)?\(", re.MULTILINE)
    calls = [cell for cell in cells if call.search(cell.source)]
    assert calls
    for cell in calls:
        figure = cell.metadata.mystnb
        assert figure.figure.name and figure.figure.caption and figure.image.alt
