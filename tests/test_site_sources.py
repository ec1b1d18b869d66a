"""What the site is made of is complete: modules, figures, pages."""

import re

import yaml

import chapters
import readme_gallery

BOOK = chapters.ROOT / "book"


def test_every_module_has_its_place_in_the_api_pages():
    modules = {
        file.stem
        for file in (chapters.ROOT / "scorerep").glob("*.py")
        if not file.stem.startswith("__") and file.stem != "types"
    }
    pages = [path for path in chapters.pages() if path.stem.startswith("api")]
    documented = [
        name
        for path in pages
        for name in re.findall(r"automodule:: scorerep\.(\w+)", path.read_text("utf-8"))
    ]
    assert sorted(documented) == sorted(modules)
    listed = re.findall(r"\{py:mod\}`~scorerep\.(\w+)`", (BOOK / "api.md").read_text("utf-8"))
    assert sorted(listed) == sorted(modules)


def test_array_types_are_all_in_their_table():
    source = (chapters.ROOT / "scorerep" / "types.py").read_text("utf-8")
    names = re.findall(r"^(\w+) = ", source, re.MULTILINE)
    table = (BOOK / "api.md").read_text("utf-8")
    assert [name for name in names if f"| {name} |" not in table] == []


def labels() -> set[str]:
    """Labels of figures in all chapters, those not yet in the table of contents too."""
    text = "".join(path.read_text("utf-8") for path in BOOK.glob("*.md"))
    return set(re.findall(r"^    name: (fig-[\w-]+)$", text, re.MULTILINE))


def test_index_covers_the_paper_s_eleven_figures_with_labels_that_exist():
    rows = yaml.safe_load((BOOK / "paper_figures.yml").read_text("utf-8"))
    numbers = {int(n) for row in rows for n in re.findall(r"\d+", row["paper"])}
    assert numbers == set(range(1, 12))
    assert {label for row in rows for label in row["here"]} <= labels()


def test_gallery_shows_figures_that_exist():
    rows = yaml.safe_load((BOOK / "gallery.yml").read_text("utf-8"))
    assert {row["figure"] for row in rows} <= labels()
    assert all(row["sentence"].strip().endswith((".", "?")) for row in rows)


def test_readme_has_the_gallery_that_the_command_writes():
    text = readme_gallery.README.read_text("utf-8")
    shown = text.split(readme_gallery.MARKERS[0])[1].split(readme_gallery.MARKERS[1])[0]
    rows = readme_gallery.rows()
    files = {f"{row['figure']}.png" for row in rows}
    assert set(re.findall(r'src="gallery/([^"]+)"', shown)) == files
    assert {file.name for file in readme_gallery.FOLDER.iterdir()} == files
    assert [row["figure"] for row in rows if row["sentence"] not in shown] == []
    assert sum(f.stat().st_size for f in readme_gallery.FOLDER.iterdir()) <= readme_gallery.LIMIT
    linked = re.findall(r'href="([^"]+)"', shown)
    assert linked and all((chapters.ROOT / file).exists() for file in linked)


def test_no_page_of_the_book_waits_for_its_words():
    waiting = [path.name for path in chapters.pages() if "@@" in path.read_text("utf-8")]
    assert waiting == []
