"""The front page's map: which chapters a chapter needs, and how long it takes to read.

Both stand in the chapters themselves, in the paragraph **What you need.** before and after
"Reading time:", so that the map is always in step with them.
"""

import re
from functools import cache
from pathlib import Path

from book.tools import chapters, contents

NEED = re.compile(
    r"^\*\*What you need\.\*\*\s+(.+?)Reading time:\D*(\d+)", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"\{doc\}`(\w+)`")
WIDTH, HEIGHT, GAP, STEP = 134, 38, 8, 66  # of a box, between boxes, from layer to layer


@cache
def _need(path: Path) -> tuple[tuple[str, ...], int]:
    found = NEED.search(path.read_text("utf-8"))
    if not found:
        raise chapters.ChapterError(
            f"{path.name} has no paragraph **What you need.** with 'Reading time: about N minutes'"
        )
    return tuple(dict.fromkeys(LINK.findall(found[1]))), int(found[2])


def needs() -> dict[str, tuple[str, ...]]:
    """Chapter → the chapters that it needs; ``ChapterError`` for one that comes later."""
    pages = [path for part in contents.parts().values() for path in part]
    found: dict[str, tuple[str, ...]] = {}
    for path in pages:
        wanted, _ = _need(path)
        if late := [name for name in wanted if name not in found]:
            raise chapters.ChapterError(f"{path.name} needs what is no earlier chapter: {late}")
        found[path.stem] = wanted
    return found


def minutes() -> dict[str, int]:
    """Chapter → minutes of reading, without the exercises."""
    return {p.stem: _need(p)[1] for part in contents.parts().values() for p in part}


def table() -> str:
    """The map as a Markdown table."""
    lines = ["| chapter | minutes | needs |", "| --- | --- | --- |"]
    time = minutes()
    for name, wanted in needs().items():
        links = ", ".join(f"{{doc}}`{other}`" for other in wanted)
        lines.append(f"| {{doc}}`{name}` | {time[name]} | {links} |")
    return "\n".join(lines)


def layers() -> list[list[str]]:
    """Chapters by the longest way to them; in a layer, below what they need."""
    wanted, depth, place = needs(), {}, {}
    for name, others in wanted.items():
        depth[name] = 1 + max((depth[other] for other in others), default=-1)
    found = [[n for n in depth if depth[n] == k] for k in range(max(depth.values()) + 1)]
    for layer in found:
        middle = {
            n: sum(place[o] for o in wanted[n]) / len(wanted[n]) if wanted[n] else 0 for n in layer
        }
        layer.sort(key=lambda n: middle[n])
        place |= {n: k - (len(layer) - 1) / 2 for k, n in enumerate(layer)}
    return found


def edges() -> list[tuple[str, str]]:
    """From a need to a chapter, without those that follow from others."""
    wanted = needs()

    def before(name: str) -> set[str]:
        return {o for n in wanted[name] for o in {n} | before(n)}

    return [
        (need, name)
        for name, others in wanted.items()
        for need in others
        if not any(need in before(other) for other in others if other != need)
    ]


def drawing() -> str:
    """The map as SVG in the colours of the page, a link to each chapter in its box."""
    rows, time = layers(), minutes()
    most = max(map(len, rows))
    width, height = most * (WIDTH + GAP), (len(rows) - 1) * STEP + HEIGHT + 4
    at = {}
    for k, row in enumerate(rows):
        left = (width - len(row) * (WIDTH + GAP) + GAP) / 2
        at |= {name: (left + i * (WIDTH + GAP), 2 + k * STEP) for i, name in enumerate(row)}
    parts = []
    for need, name in edges():
        x, y = at[need][0] + WIDTH / 2, at[need][1] + HEIGHT
        u, v = at[name][0] + WIDTH / 2, at[name][1]
        bend = (v - y) / 2
        parts.append(
            f'<path d="M{x:g} {y:g}C{x:g} {y + bend:g} {u:g} {v - bend:g} {u:g} {v:g}" '
            'fill="none" stroke="currentColor" stroke-opacity="0.5" aria-hidden="true"/>'
        )
    for name, (x, y) in at.items():
        middle = x + WIDTH / 2
        parts.append(
            f'<a href="{name}.html"><rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" '
            'rx="5" fill="var(--pst-color-surface, #f5f5f5)" stroke="currentColor"/>'
            f'<text x="{middle:g}" y="{y + 16:g}">{name.replace("_", " ")}</text>'
            f'<text x="{middle:g}" y="{y + 31:g}" font-size="11">{time[name]} minutes</text></a>'
        )
    return (
        '<div class="chapter-map" style="overflow-x: auto">'
        f'<svg viewBox="0 0 {width} {height}" style="min-width: 36rem; width: 100%" role="group" '
        'aria-label="Map of the chapters: lines lead from a chapter to those that need it" '
        'font-size="13" text-anchor="middle" fill="currentColor">' + "".join(parts) + "</svg></div>"
    )
