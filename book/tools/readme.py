"""What the README says of the book, made from the book: claims, chapters, tables.

    python -m book.tools.readme          write it between the README's markers
    python -m book.tools.readme check    exit with status 1 if the README says something else

The same for the README.md beside each card of book/checkpoints (weight_pages.py).

The claims and their verdicts come from book/results, the chapters from _toc.yml and their first
paragraphs, the tables from the first lines of the studies that make them, their core-hours from
what they hold of seconds (``CORE``, ``CLOCK``), or else from ``HOURS`` of the study, a time that
was measured. The gallery, which needs executed chapters, is made by readme_gallery.
"""

import ast
import re
import sys
from collections.abc import Callable, Iterator

import pandas as pd

from book.studies.claims import UNDECIDED, claims
from book.tools import chapters, weight_pages
from book.tools.contents import parts, question

README = chapters.ROOT / "README.md"
TABLE = re.compile(r"\bresults/([\w-]+)\.csv")
SWEEP = "python -m scorerep sweep"
SWEEPS = (  # made by the library's own commands
    ("make runs", "The runs of the second edition, at stages of their training", ["runs"]),
    ("make gpu", "Steps a second of the paper's networks on a GPU", ["gpu"]),
    (f"{SWEEP} fig4-mnist", "Codes learned at one noise level each (Figure 4)", ["fig4-mnist"]),
    (f"{SWEEP} fig4-cifar", "The same for three classes of CIFAR-10", ["fig4-cifar"]),
    (f"{SWEEP} fig4-mnist --model.network unet …", "The same with a small U-Net; all options in "
     "[its chapter](book/levels.md)", ["fig4-mnist-unet"]),
)  # fmt: skip
Spent = Callable[[pd.DataFrame], pd.Series]


def _each(column: str = "seconds") -> Spent:
    """Every row's own."""
    return lambda table: table[column]


def _most(*run: str, column: str = "seconds") -> Spent:
    """The largest of each run, whose rows count on or repeat what all of it took."""
    return lambda table: table.groupby([*run], dropna=False)[column].max()


_JOB = _most("data", "labels", "code", "size", "seed")
CORE: dict[str, Spent] = {  # table: processor seconds to sum; rows that were not timed have none
    "runs": _most("run", "seed", column="core_seconds"),  # scores and samples included
    "spectra": _JOB, "code_spectra": _JOB,
    "floors": _each(),  # of a level
    "floor_times": _each("processor_seconds"),
    "mutual_information": _each(),
    "recipe_quality": _each("measured"),  # "seconds" are those of the plan
    "representations": _each("budget"),  # processor seconds of each training
    "representations_penalty": _each("budget"),
    # Seconds of an iteration × iterations of the two that are trained; the third is fig10.
    "guidance-cost": lambda t: t[t.route != "unconditional"].eval("seconds_each * iterations"),
}  # fmt: skip
CLOCK: dict[str, Spent] = {  # table: seconds of the clock, where nobody counted the processor's
    "fig4-mnist": _each(), "fig4-cifar": _each(), "fig4-mnist-unet": _each(),  # of a training
    "codes": _most("run", "network", "seed"),  # of a training; curves has some of these, too
    "curves": _most("run", "seed"),
    "recipes": _most("recipe", "seed", "machine", "precision"),
    "burden": lambda t: t.value[t.quantity == "seconds"],  # of a job
    "guidance": _each(), "quality": _each(), "samplers": _each(),  # of drawing the samples
    "recipe-steps": lambda t: t["first"] + t.later * t.steps,  # the first step, median × others
    "scale_constant": lambda t: 5 * t.seconds,  # median of five constants
    "scale_training": lambda t: 7 * t.seconds,  # median of five steps, after two
}  # fmt: skip


def found() -> str:
    """How many claims hold, and each with its verdict."""
    table = claims(chapters.ROOT / "book" / "results").rename(columns={"first edition": "before"})
    verdicts = table.verdict.value_counts()
    count = ", ".join(f"{verdicts[name]} {name}" for name in sorted(verdicts.index, key=_rank))
    head = f"Of {len(table)} claims of the paper: {count}."
    rows = ["| the paper says | here | chapter |", "| --- | --- | --- |"]
    for claim in table.itertuples():
        rows.append(
            f"| {_cell(claim.claim)} | **{claim.verdict}**{_so_far(claim)} "
            f"| [{claim.chapter}](book/{claim.chapter}.md) |"
        )
    return f"{head}\n\n" + "\n".join(rows)


def _so_far(claim) -> str:
    """What is known of an open claim, from shorter runs."""
    return f"; so far: {_cell(claim.before)}" if claim.verdict == UNDECIDED and claim.before else ""


def _rank(verdict: str) -> tuple:
    """Held first, in part next, open last."""
    order = ("held", "held in part", "not seen", "cannot", "not decided")
    starts = [start for start in order if verdict.startswith(start)]
    return (order.index(max(starts, key=len)) if starts else len(order), verdict)


def listing() -> str:
    """Each chapter with the question that it asks, by parts."""
    blocks, number = [], 0
    for caption, pages in parts().items():
        lines = [f"**{caption}**", ""]
        for path in pages:
            number += 1
            title = re.search(r"^# +(.+)$", path.read_text("utf-8"), re.MULTILINE)[1]
            asks = re.sub(r"\{[\w:]+\}`([^`<]*?)(?:\s*<[^>]*>)?`", r"\1", question(path))
            lines.append(f"{number}. [{title}](book/{path.name}): {asks}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def tables() -> str:
    """The tables in book/results, by the commands that make them; ``ChapterError`` without one."""
    present = {file.stem for file in (chapters.ROOT / "book/results").glob("*.csv")}
    rows, known, pages = [], set(), weight_pages.named_by("tables")
    for command, said, names, stated in [*((*sweep, None) for sweep in SWEEPS), *_studies()]:
        if made := [name for name in names if name in present]:
            links = ", ".join(f"[{name}](book/results/{name}.csv)" for name in made)
            read = dict.fromkeys(page for name in made for page in pages.get(name, ()))
            where = ", ".join(f"[{page}](book/{page}.md)" for page in read) or "–"
            rows.append(
                f"| {_cell(said)} | `{command}` | {links} | {hours(made, stated)} | {where} |"
            )
            known |= set(made)
    if unknown := sorted(present - known):
        raise chapters.ChapterError(f"no study says that it makes results/{unknown[0]}.csv")
    head = "| what | command | tables | core-hours | chapters |"
    return "\n".join([head, "| --- | --- | --- | --- | --- |", *rows])


def hours(names: list[str], stated: float | None = None) -> str:
    """What these tables took in hours, of the clock where it says so; "–" if that is not known.

    Args:
        names: of tables in book/results.
        stated: ``HOURS`` of their study, for tables without seconds.
    """
    folder, sums = chapters.ROOT / "book/results", []
    for kind in (CORE, CLOCK):
        known = {name: kind.get(re.sub("_(seeds|long)$", "", name)) for name in names}
        timed = {name: spent for name, spent in known.items() if spent}
        parts = [spent(pd.read_csv(folder / f"{name}.csv")).sum() for name, spent in timed.items()]
        sums.append(sum(parts) / 3600 if parts else None)
    if sums == [None, None]:
        sums[0] = stated
    texts = ["< 0.1" if h < 0.05 else f"{h:.1f}" for h in sums if h is not None]
    return " + ".join(texts) + (" (clock)" if sums[1] is not None else "") or "–"


def _studies() -> Iterator[tuple[str, str, list[str], float | None]]:
    """Command, first line and tables of each study, as its docstring has them; its ``HOURS``."""
    for path in sorted((chapters.ROOT / "book/studies").glob("[a-z]*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        text, command = ast.get_docstring(tree) or "", f"python -m book.studies.{path.stem}"
        # with its words, up to a comment or the end of the line
        if typed := re.search(rf"^ +({re.escape(command)}\b.*?) *(#|\\|$)", text, re.MULTILINE):
            command = typed[1]
            said = re.sub(r",? in results/.*|:? results/.*", "", text.splitlines()[0].rstrip("."))
            yield command, said, list(dict.fromkeys(TABLE.findall(text))), _stated(tree)


def _stated(tree: ast.Module) -> float | None:
    """The number that a module calls ``HOURS``, without running it."""
    for line in tree.body:
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "HOURS":
            return float(ast.literal_eval(line.value))
    return None


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def written(text: str) -> str:
    """The README with what stands between its markers made anew."""
    for name, make in (("found", found), ("chapters", listing), ("tables", tables)):
        between = re.compile(f"(?<=<!-- {name} -->\n)(.*?)(?=\n<!-- end of {name} -->)", re.DOTALL)
        if not between.search(text):
            raise chapters.ChapterError(f"README.md has no marks <!-- {name} --> and its end")
        text = between.sub(lambda _, make=make: make(), text)
    return text


if __name__ == "__main__":
    try:
        before = README.read_text("utf-8")
        after, stale = written(before), weight_pages.out_of_step()
    except chapters.ChapterError as error:
        sys.exit(str(error))
    if sys.argv[1:] != ["check"]:
        README.write_text(after, "utf-8")
        for path, text in weight_pages.pages().items():
            path.write_text(text, "utf-8")
    elif after != before:
        sys.exit("README.md is out of step with the book: make notebooks")
    elif stale:
        sys.exit(weight_pages.said(stale))
