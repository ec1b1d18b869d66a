"""The README's gallery: ``make gallery`` writes it from the executed chapters.

    python book/readme_gallery.py

The rows of gallery.yml that say ``readme: true`` become small pictures in ``gallery/`` and a table
between two markers of README.md, each with its sentence. Like the notebooks, both are committed
and never edited.
"""

import io
import re
import sys

import yaml
from _ext.figure_lists import Figure, figures
from PIL import Image

import chapters

README = chapters.ROOT / "README.md"
FOLDER = chapters.ROOT / "gallery"
MARKERS = ("<!-- gallery -->", "<!-- end of gallery -->")
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
        f'<img src="gallery/{row["figure"]}.png" alt="{known[row["figure"]].alt}"></a><br>'
        f"{row['sentence']}</td>"
        for row in rows()
    ]
    lines = [f"<tr>\n{''.join(f'{c}{chr(10)}' for c in cells[i : i + 2])}</tr>"
             for i in range(0, len(cells), 2)]  # fmt: skip
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def write():
    """Write pictures and table; ``ChapterError`` if a figure's chapter has not been run."""
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
    start, end = MARKERS
    text = README.read_text("utf-8")
    between = re.compile(f"{re.escape(start)}.*{re.escape(end)}", re.DOTALL)
    README.write_text(between.sub(lambda _: f"{start}\n{table(known)}\n{end}", text), "utf-8")
    print(f"{len(pictures)} pictures, {size / 1000:.0f} kB in all")


if __name__ == "__main__":
    try:
        write()
    except chapters.ChapterError as error:
        sys.exit(str(error))
