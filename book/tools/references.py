"""The chapters' checked outputs and their stored references in tests/book/golden/.

A code cell tagged ``nbval-check-output`` is compared with the reference stored for it: words
must agree, and so must numbers, to a relative ``tolerance`` (the cell may set its own in its
metadata) and one unit of the last printed digit; whole numbers exactly, unless the cell sets a
tolerance. Pictures are never compared, only that there is one. Renew the references with
``make golden``, and read the difference before committing it.

What is random, or of a moment or a machine, is tagged ``nbval-ignore-output`` and never compared.
The result tables have their checksums there: a value that changes is noticed however it is rounded.
"""

import hashlib
import json
import re
from pathlib import Path

from nbformat import NotebookNode

from book.tools import chapters
from book.tools.chapters import due, reach

GOLDEN = chapters.ROOT / "tests/book/golden"
TAG = "nbval-check-output"
IGNORED = "nbval-ignore-output"
VARYING = re.compile(  # what makes a cell print something else the next time, or elsewhere
    r"\b(?:perf_counter|monotonic|time\.time|datetime|cpu_count|get_device_name|platform\.\w"
    r"|version\(|__version__|default_rng\(\)|np\.random\.(?!default_rng)\w|seed\(\)|\.initial_seed)"
)
TOLERANCE = 0.01
NUMBER = re.compile(r"(?<![\w.])[-−+]?\d+(?:\.\d*)?(?:e[-+]?\d+)?(?!\w)", re.IGNORECASE)


def checked_cells(path: Path) -> list[NotebookNode]:
    """The tagged cells of a chapter's source, without outputs."""
    cells = chapters.code_cells(chapters.read(path))
    return [cell for cell in cells if TAG in cell.metadata.get("tags", [])]


def varies(cell: NotebookNode) -> bool:
    """Whether a cell's code reads the clock, the machine, or an unseeded generator."""
    return bool(VARYING.search(cell.source))


def cell_key(cell: NotebookNode) -> str:
    """Names a cell by its code: a reference never serves for other code."""
    return hashlib.sha256(cell.source.strip().encode()).hexdigest()[:12]


def last_line(cell: NotebookNode) -> str:
    """The line that most often prints: what a reader knows a cell by."""
    return cell.source.strip().splitlines()[-1].strip()


def reference_file(path: Path) -> Path:
    return GOLDEN / f"{path.stem}.json"


def references(path: Path) -> dict[str, dict]:
    """The stored references of a chapter by ``cell_key``; empty if there are none."""
    file = reference_file(path)
    return json.loads(file.read_text("utf-8")) if file.exists() else {}


def outputs(path: Path) -> dict[str, list[str]]:
    """What each cell of a chapter printed, by ``cell_key``; ``ChapterError`` if that is stale."""
    notebook = chapters.executed(path)
    if notebook is None:
        raise chapters.ChapterError(f"{path.name} has not run as it stands: make chapters")
    return {cell_key(cell): text_of(cell) for cell in chapters.code_cells(notebook)}


def text_of(cell: NotebookNode) -> list[str]:
    """What a cell printed, as lines; a marker for each picture or widget."""
    text = ""
    for output in cell.outputs:
        if output.output_type == "stream":
            text += output.text if output.name == "stdout" else ""
            continue
        data = output.get("data", {})
        pictures = [kind for kind in data if kind.startswith(("image/", "application/"))]
        shown = f"[{pictures[0].split('/')[0]}]" if pictures else data.get("text/plain", "")
        if shown.startswith("<") and "text/html" in data:  # e.g. a styled table
            shown = re.sub(r"<style.*?</style>|<[^>]*>", " ", data["text/html"], flags=re.DOTALL)
        text += f"{shown}\n"
    text = re.sub(r"\b0x[0-9a-f]{6,}", "0x", text)
    lines = (re.sub(r"-{3,}", "---", " ".join(line.split())) for line in text.splitlines())
    return [line for line in lines if line]


def differences(reference: list[str], output: list[str], tolerance: float | None) -> list[str]:
    """Where the output leaves the reference, one sentence a place."""
    if len(reference) != len(output):
        return [f"{len(output)} lines where the reference has {len(reference)}: {output}"]
    return [
        f"{got!r} where the reference has {wanted!r}"
        for wanted, got in zip(reference, output, strict=True)
        if not _same(wanted, got, tolerance)
    ]


def _same(wanted: str, got: str, tolerance: float | None) -> bool:
    if NUMBER.sub("#", wanted) != NUMBER.sub("#", got):
        return False
    pairs = zip(NUMBER.findall(wanted), NUMBER.findall(got), strict=True)
    return all(_close(a, b, tolerance) for a, b in pairs)


def _close(wanted: str, got: str, tolerance: float | None) -> bool:
    a, b = (float(number.replace("−", "-")) for number in (wanted, got))
    mantissa, _, exponent = wanted.lower().partition("e")
    if tolerance is None and "." not in mantissa and not exponent:
        return a == b
    last_digit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    allowed = (TOLERANCE if tolerance is None else tolerance) * abs(a) + last_digit
    return abs(a - b) <= allowed * (1 + 1e-9)


def table_checksums() -> dict[str, str]:
    """Name → checksum of every result table but those that the queue of runs writes."""
    tables = sorted((chapters.ROOT / "book/results").glob("*.csv"))
    grow = re.compile(r"runs\.csv|.*_seeds.*|.*_long\.csv")
    return {t.name: reach.file_checksum(t) for t in tables if not grow.fullmatch(t.name)}


def known_tables() -> dict[str, str]:
    """The checksums on record."""
    file = GOLDEN / "tables.sha256"
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    return {name: checksum for checksum, name in (line.split("  ") for line in lines)}


def renew():
    """Write the references that are missing or no longer agree; drop those of cells that are gone.

    One that agrees stays as it is: last digits of another machine make no difference to read.
    """
    GOLDEN.mkdir(exist_ok=True)
    kept = set()
    for path in chapters.chapters():
        cells = checked_cells(path)
        texts, known, table, new = outputs(path) if cells else {}, references(path), {}, 0
        for cell in cells:
            key = cell_key(cell)
            old, tolerance = known.get(key), cell.metadata.get("tolerance")
            if old and not differences(old["output"], texts[key], tolerance):
                table[key] = old
                continue
            table[key] = {"code": last_line(cell), "output": texts[key]}
            new += 1
        if table:
            kept.add(reference_file(path))
        if table and table != known:
            text = json.dumps(table, indent=1, ensure_ascii=False) + "\n"
            reference_file(path).write_text(text, "utf-8")
            print(f"{path.stem}: {new} of {len(table)} references are new")
    before, now = known_tables(), table_checksums()
    for name in sorted({name for name, _ in before.items() ^ now.items()}):
        print(f"{name}: {'another table' if name in before and name in now else 'new, or gone'}")
    lines = (f"{checksum}  {name}\n" for name, checksum in now.items())
    (GOLDEN / "tables.sha256").write_text("".join(lines), "utf-8")
    for file in set(GOLDEN.glob("*.json")) - kept:
        file.unlink()
        print(f"removed {file.name}")


def main() -> bool:
    renew()
    due.note_seconds()
    return True


if __name__ == "__main__":
    due.command(main)
