"""The front page's map is made from what the chapters say of themselves."""

import xml.etree.ElementTree as ET

import pytest

from book.tools import chapter_map, chapters, contents


def test_every_chapter_is_on_the_map_with_a_link_and_its_minutes():
    assert "```{chapter-map}" in chapters.pages()[0].read_text("utf-8")
    names = [path.stem for part in contents.parts().values() for path in part]
    drawing = ET.fromstring(chapter_map.drawing())
    links = {a.get("href"): [t.text for t in a.iter("text")] for a in drawing.iter("a")}
    assert set(links) == {f"{name}.html" for name in names}
    for name, time in chapter_map.minutes().items():
        assert links[f"{name}.html"] == [name.replace("_", " "), f"{time} minutes"]
        assert f"| {{doc}}`{name}` | {time} |" in chapter_map.table()


def test_boxes_of_the_map_do_not_overlap_and_lie_inside_it():
    svg = next(ET.fromstring(chapter_map.drawing()).iter("svg"))
    *_, width, height = map(float, svg.get("viewBox").split())
    boxes = [[float(r.get(k)) for k in ("x", "y", "width", "height")] for r in svg.iter("rect")]
    for k, (x, y, w, h) in enumerate(boxes):
        assert 0 <= x and x + w <= width and 0 <= y and y + h <= height
        for u, v, *_ in boxes[:k]:
            assert abs(u - x) >= w or abs(v - y) >= h


def test_lines_lead_down_and_give_back_all_needs():
    depth = {name: k for k, layer in enumerate(chapter_map.layers()) for name in layer}
    edges = chapter_map.edges()
    assert all(depth[need] < depth[name] for need, name in edges)

    def before(name):
        above = {need for need, other in edges if other == name}
        return above | {n for need in above for n in before(need)}

    for name, wanted in chapter_map.needs().items():
        assert set(wanted) <= before(name)


def test_chapter_without_its_needs_or_with_a_later_one_is_named(tmp_path, monkeypatch):
    for name, text in (
        ("one", "**What you need.** Sums. Reading time: about 5 minutes.\n"),
        ("two", "**What you need.** {doc}`one`, and\n{doc}`three`. Reading time: 7 minutes.\n"),
        ("three", "Nothing is said.\n"),
    ):
        (tmp_path / f"{name}.md").write_text(f"# {name}\n\n{text}")
    paths = [tmp_path / f"{name}.md" for name in ("one", "two", "three")]
    monkeypatch.setattr(contents, "parts", lambda: {"Chapters": paths[:2]})
    assert chapter_map.minutes() == {"one": 5, "two": 7}
    with pytest.raises(chapters.ChapterError, match="two.md needs what is no earlier chapter"):
        chapter_map.needs()
    monkeypatch.setattr(contents, "parts", lambda: {"Chapters": paths})
    with pytest.raises(chapters.ChapterError, match="three.md has no paragraph"):
        chapter_map.minutes()
