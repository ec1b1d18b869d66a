"""The README's gallery and badges: ``make gallery`` writes them, from the executed chapters.

    python book/tools/readme_gallery.py

The rows of gallery.yml that say ``readme: true`` become small pictures in ``book/gallery/`` and a
table between two markers of README.md, each with its sentence. Between two others stand the
badges: those of the workflows by relative addresses, which GitHub resolves in any fork, and that of
Colab once the repository's address is known. Like the notebooks, all this is committed and
never edited.
"""

import io
import re
import sys

import yaml
from PIL import Image

from book.tools import chapters, notebooks
from book.tools.sphinx.figure_lists import Figure, figures

README = chapters.ROOT / "README.md"
FOLDER = chapters.ROOT / "book" / "gallery"
MARKERS = "<!-- {} -->", "<!-- end of {} -->"
STATIC = "https://img.shields.io/badge"
WIDTH, COLOURS = 640, 128  # pixels, and of a palette: small files
LIMIT = 200_000  # bytes in all


def rows() -> list[dict]:
    """The rows of gallery.yml that the README shows."""
    listed = yaml.safe_load((chapters.ROOT / "book" / "gallery.yml").read_text("utf-8"))
    return [row for row in listed if row.get("readme")]


def small(png: bytes) -> bytes:
    """The picture on white, at the README's width, with few colours."""
    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    ground = Image.new("RGBA", picture.size, "white")
    flat = Image.alpha_composite(ground, picture).convert("RGB")
    flat = flat.resize((WIDTH, round(WIDTH * flat.height / flat.width)), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    flat.quantize(COLOURS, Image.Quantize.MAXCOVERAGE).save(file, "PNG", optimize=True)
    return file.getvalue()


def table(known: dict[str, Figure]) -> str:
    """Two pictures a row, as HTML that GitHub shows."""
    cells = [
        f'<td width="50%" valign="top"><a href="book/{known[row["figure"]].page}.md">'
        f'<img src="book/gallery/{row["figure"]}.png" alt="{known[row["figure"]].alt}"></a><br>'
        f"{row['sentence']}</td>"
        for row in rows()
    ]
    lines = [f"<tr>\n{''.join(f'{c}{chr(10)}' for c in cells[i : i + 2])}</tr>"
             for i in range(0, len(cells), 2)]  # fmt: skip
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def badges(address: str) -> str:
    """A line of badges, each a link; what needs the repository's address only where it is known."""
    found = [
        f"[![{title}](../../actions/workflows/{name}.yml/badge.svg)]"
        f"(../../actions/workflows/{name}.yml)"
        for name, title in (("check", "lint and tests"), ("book", "book"), ("weekly", "Colab"))
    ]
    found.append(f"[![Python 3.11 to 3.14]({STATIC}/python-3.11_to_3.14-0173b2)](pyproject.toml)")
    found.append(f"[![MIT licence]({STATIC}/licence-MIT-0173b2)](LICENSE)")
    if address.startswith(notebooks.GITHUB):
        branch = notebooks.configured().get("branch", "main")
        name = address.removeprefix(notebooks.GITHUB)
        page = f"{notebooks.COLAB}/{name}/blob/{branch}/book/notebooks/intro.ipynb"
        picture = f"{notebooks.COLAB.removesuffix('/github')}/assets/colab-badge.svg"
        found.append(f"[![Open in Colab]({picture})]({page})")
    return "\n".join(found)


def between(name: str) -> re.Pattern:
    """What stands between two markers of the README, as the group 1."""
    start, end = (re.escape(marker.format(name)) for marker in MARKERS)
    return re.compile(f"(?<={start}\n)(.*?)(?=\n{end})", re.DOTALL)


def write():
    """Write pictures, table and badges; ``ChapterError`` if a figure's chapter has not been run."""
    known = figures()
    if missing := [row["figure"] for row in rows() if row["figure"] not in known]:
        raise chapters.ChapterError(f"not drawn as their chapters stand: {', '.join(missing)}")
    pictures = {f"{row['figure']}.png": small(known[row["figure"]].png) for row in rows()}
    if (size := sum(map(len, pictures.values()))) > LIMIT:
        raise chapters.ChapterError(f"the README's pictures have {size} bytes, more than {LIMIT}")
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.png"):
        old.unlink()
    for name, content in pictures.items():
        (FOLDER / name).write_bytes(content)
    text = README.read_text("utf-8")
    for name, content in (("gallery", table(known)), ("badges", badges(notebooks.address()))):
        text = between(name).sub(lambda _, content=content: content, text)
    README.write_text(text, "utf-8")
    print(f"{len(pictures)} pictures, {size / 1000:.0f} kB in all")


if __name__ == "__main__":
    try:
        write()
    except chapters.ChapterError as error:
        sys.exit(str(error))
