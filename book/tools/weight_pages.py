"""A README.md beside each card of book/checkpoints, made from card, tables, plan and chapters.

    python -m book.tools.readme          writes them, with README.md's own lists

Scores are those rows of results/codes.csv, quality.csv, cifar_quality.csv and runs.csv that were
measured on these very weights: of the same run, seed and iterations.
"""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import yaml

from book.studies import plan
from book.tools import chapters
from scorerep.checkpoint import from_json, read_card
from scorerep.checkpoint.page import card_text
from scorerep.runs.experiment import Experiment
from scorerep.runs.paper import BUDGETS, PAPER, at_budget

PAGE = """# {name}

<!-- Made by `python -m book.tools.readme` from card.json, book/results and the chapters. -->

{what}: {megabytes:.1f} MB, float16. In the repository's folder, and with its SHA-256 checked:

```python
from {module} import {imported}

model = {loader}("book/checkpoints/{name}")
```

## Intended use

To read and to repeat this book{uses}. Nothing else was tried.

{card}
Their full terms are in [book/data](../../data/README.md).

## How to repeat it

```
{command}
```

{same}

## Scores

{scores}

## Limits

{limits}
"""
SCORE_MODEL, JUDGE = "scorerep ScoreModel.from_pretrained", "scorerep.quality load_classifier"
OF_TIME = "scorerep.codes.time TimeCodeModel.from_pretrained"
OF_NOISY = "scorerep.guidance NoisyClassifier.from_pretrained"
STUDIES = {  # made by a study: what it is, how to load it, the study, its table, what a card omits
    "guidance-classifier": ("A classifier of noisy images, p_t(y | x_t)", OF_NOISY,
                            "guidance classifier", "guidance", {}),
    "guidance-conditional": ("A score model that is told the label (Eq. 7)", SCORE_MODEL,
                             "guidance conditional", "guidance", {}),
    "mnist-classifier": ("The classifier that judges samples of digits", JUDGE,
                         "image_classifier", "", {"data": "mnist", "batch_size": 128}),
    "cifar10-classifier": ("The classifier that judges samples of CIFAR-10", JUDGE,
                           "image_classifier --data cifar10 --iterations 4000", "",
                           {"data": "cifar10", "batch_size": 128}),
    "time-codes": ("An encoder that is told the noise level, learned beside a dense score network",
                   OF_TIME, "time_codes train", "time_codes", {"data": "mnist"}),
    "time-codes-unet": ("An encoder that is told the noise level, learned beside a U-Net", OF_TIME,
                        "time_codes train --network unet --out book/checkpoints/time-codes-unet",
                        "time_codes", {"data": "mnist"}),
}  # fmt: skip
SAME = "Settings and seed are then the same; other machines round otherwise, and scores move."
TIMED = "It trains for processor seconds: another machine does more or fewer iterations in them."
MEASURES = {
    "silhouette": "silhouette of the classes, −1 to 1", "knn": "kNN accuracy",
    "probe": "accuracy of a linear probe", "r2_ink": "R² of the ink",
    "r2_stroke_width": "R² of the stroke width", "r2_slant": "R² of the slant",
    "r2_brightness": "R² of the brightness", "r2_background_red": "R² of the background's red",
    "r2_background_green": "R² of its green", "r2_background_blue": "R² of its blue",
}  # fmt: skip


def pages() -> dict[Path, str]:
    """The README of every folder of weights, and its text; ``ChapterError`` without a command."""
    root, uses = chapters.ROOT / "book", named_by("weights")
    tables = {name: pd.read_csv(root / f"results/{name}.csv") for name in SCORES}
    folders = sorted(path.parent for path in (root / "checkpoints").glob("*/card.json"))
    return {folder / "README.md": page(folder, uses, tables) for folder in folders}


def out_of_step() -> list[str]:
    """Folders whose README is missing or says something else than card, tables and chapters."""
    return [
        path.parent.name for path, text in pages().items()
        if not path.exists() or path.read_text("utf-8") != text
    ]  # fmt: skip


def said(names: list[str]) -> str:
    """Of folders that are out of step: what to do."""
    return f"README.md of {', '.join(names)} in book/checkpoints: python -m book.tools.readme"


def page(folder: Path, uses: dict[str, list[str]], tables: dict[str, pd.DataFrame]) -> str:
    """The README of one folder of weights.

    Args:
        uses: weights → the chapters that read them.
        tables: those that ``SCORES`` reads, by name.
    """
    name, card = folder.name, read_card(folder)
    what, load, study, table, more = STUDIES.get(name, ("", SCORE_MODEL, "", "", {}))
    module, loader = load.split()
    run = from_json(Experiment, card["experiment"]) if "experiment" in card else None
    latent = run.model.latent if run else 0
    shown = ", ".join(f"[{chapter}](../../{chapter}.md)" for chapter in uses.get(name, ()))
    scores = [text for score in SCORES.values() if run and (text := score(run, card, tables))]
    if "accuracy" in card:
        scores.append(f"Share of the test images that it names rightly: {card['accuracy']:.4f}.")
    scores += [f"The study's table: {_link(table)}."] * bool(table)
    return PAGE.format(
        name=name,
        what=what
        or f"A score model {f'with a code of {latent} numbers' if latent else 'without a code'}",
        megabytes=(folder / "model.safetensors").stat().st_size / 1e6,
        module=module,
        imported=loader.split(".")[0],
        loader=loader,
        uses=f": {shown}" if shown else "",
        card=card_text(more | card),
        command=f"python -m book.studies.{study}" if study else _command(name, run),
        same=SAME if "network_of_the_score" not in card else TIMED,
        scores="\n\n".join(scores) or f"None in {', '.join(map(_link, SCORES))}.",
        limits="\n".join(f"- {limit}" for limit in _limits(run, more | card)),
    )


def named_by(kind: str) -> dict[str, list[str]]:
    """Each of the "weights" or "tables" → the chapters whose header names it."""
    found: dict[str, list[str]] = {}
    for path in chapters.chapters():
        header = yaml.safe_load(path.read_text("utf-8").split("\n---\n")[0])
        for name in header.get("scorerep", {}).get(kind, ()):
            found.setdefault(name, []).append(path.stem)
    return found


def _link(table: str) -> str:
    return f"[{table}](../../results/{table}.csv)"


def _command(name: str, run: Experiment | None) -> str:
    """What makes the weights: a run of the paper at some budget, its first phase, or the queue's.

    ``ChapterError`` for weights that nothing is known to make.
    """
    for paper, budget in [(p, b) for p in PAPER for b in BUDGETS] if run else ():
        whole = replace(at_budget(paper, budget), seed=run.seed)
        parts = {"": whole} if paper == run.name else {}
        if whole.encoder_phase:
            parts["/encoder"] = replace(whole.first_phase(), name=run.name)
        for part, made in parts.items():
            if made == run:
                options = "" if budget == "book" else f" --budget {budget}"
                options += f" --seed {run.seed}" if run.seed else ""
                place = f"runs/{paper}-{budget}-seed{run.seed}{part}"
                return f"scorerep train {paper}{options}\nscorerep export {place} OUT"
    for option, listed in (("", "PLAN"), (" --plan book.studies.plan:AT_PAPER", "AT_PAPER")):
        for planned in getattr(plan, listed).runs:
            if planned.ships == name and planned.experiment == run:
                return f"scorerep queue work{option} --only {planned.name}"
    raise chapters.ChapterError(
        f"book/checkpoints/{name}: no run of the paper or of book/studies/plan.py has the settings "
        "of its card; say in STUDIES of book/tools/weight_pages.py which study makes it"
    )


def _limits(run: Experiment | None, card: dict) -> list[str]:
    data = run.data if run else card.get("data")
    found = {
        "mnist": ["It has seen nothing but MNIST's digits: centred, white on black, 28×28 pixels."],
        "cifar10": ["It has seen nothing but CIFAR-10's photographs of 32×32 pixels."],
    }.get(data, [])
    if run and run.model.latent == 2:
        found.append("Two numbers do not settle the class of an image.")
    if card.get("encoder_only"):
        found.append("An encoder alone: it draws no samples.")
    if run and run.name in PAPER:
        phases = [run.optimisation] + ([p.optimisation] if (p := run.encoder_phase) else [])
        ours = sum(phase.total_iterations for phase in phases)
        theirs = PAPER[run.name].optimisation.total_iterations
        if ours < theirs:
            found.append(f"{ours:,} iterations; the paper's network is larger and has {theirs:,}.")
    return [*found, "One seed: another one ends at other weights."]


# Scores: rows of these very weights, or nothing


def _codes(run: Experiment, card: dict, tables: dict[str, pd.DataFrame]) -> str:
    """The code's scores beside an untrained encoder's and PCA's."""
    first, learned, table = run.first_phase(), card.get("encoder_phase", card), tables["codes"]
    rows = table[
        (table.run == first.name.removesuffix("-encoder")) & (table.seed == run.seed)
        & (table.network == first.model.network)
    ].set_index("code")  # fmt: skip
    if "trained" not in rows.index or rows.iterations["trained"] != learned["iterations_done"]:
        return ""
    shown = [name for name in MEASURES if pd.notna(rows[name]["trained"])]
    lines = [f"Of the code, from {_link('codes')}:", "", "| score | this code | an untrained "
             "encoder's | PCA of as many numbers |", "| --- | ---: | ---: | ---: |"]  # fmt: skip
    for name in shown:
        three = " | ".join(f"{rows[name][kind]:.3f}" for kind in ("trained", "untrained", "PCA"))
        lines.append(f"| {MEASURES[name]} | {three.replace('-', '−')} |")
    return "\n".join(lines)


def _interval(row, name: str, digits: int) -> str:
    """A score of a table's row, and the ends of its interval."""
    value, low, high = (f"{getattr(row, name + end):.{digits}f}" for end in ("", "_low", "_high"))
    return f"{value} ({low} to {high})"


def _quality(run: Experiment, card: dict, tables: dict[str, pd.DataFrame]) -> str:
    """Of samples, beside real digits and draws of one Gaussian."""
    table = tables["quality"]
    ours = table[(table.model == run.name) & (table.iterations == card["iterations_done"])]
    if ours.empty:
        return ""
    ends = table[table.model.isin(["held-out digits", "Gaussian fit"])]
    lines = [f"Of samples, judged by `mnist-classifier`, with 95 % intervals ({_link('quality')}):",
             "", "| sampler | network evaluations | Fréchet distance in the judge's features "
             "| share of which the judge is sure |", "| --- | ---: | ---: | ---: |"]  # fmt: skip
    for row in [*ours.itertuples(), *ends.itertuples()]:
        name = row.model if row.sampler == "none" else f"`{row.sampler}`, {row.steps:.0f} steps"
        scores = f"{_interval(row, 'frechet', 1)} | {_interval(row, 'sure', 2)}"
        lines.append(f"| {name} | {row.evaluations} | {scores} |")
    return "\n".join(lines)


def _photographs(run: Experiment, card: dict, tables: dict[str, pd.DataFrame]) -> str:
    """Of samples of CIFAR-10, beside held-out photographs and draws of one Gaussian."""
    table = tables["cifar_quality"]
    ours = table[(table.run == run.name) & (table.iterations == card["iterations_done"])]
    if ours.empty:
        return ""
    several = f"-{len(run.classes)}" if run.classes else ""
    ends = table[table.run == run.data + several]
    lines = [
        f"Of samples, judged by `cifar10-classifier`, with 95 % intervals "
        f"({_link('cifar_quality')}):", "",
        f"| {ours.samples.iloc[0]:,} images | Fréchet distance in the judge's features "
        "| share of which the judge is sure | share with the class of the code |",
        "| --- | ---: | ---: | ---: |",
    ]  # fmt: skip
    for row in [*ours.itertuples(), *ends.itertuples()]:
        name = "samples (`heun`, 14 steps)" if row.code == "trained" else row.code
        scores = f"{_interval(row, 'frechet', 1)} | {_interval(row, 'sure', 2)}"
        lines.append(f"| {name} | {scores} | {_interval(row, 'own_class', 2)} |")
    return "\n".join(lines)


def _runs(run: Experiment, card: dict, tables: dict[str, pd.DataFrame]) -> str:
    """Of the last stage of a run of the queue."""
    table, known = tables["runs"], run.optimisation
    rows = table[
        (table.run == run.name) & (table.code == "trained") & (table.seed == run.seed)
        & (table.frozen == known.frozen_iterations) & (table.total == known.total_iterations)
        & (table.iterations == card["iterations_done"]) & (table.iterations == table.total)
    ]  # fmt: skip
    if rows.empty:
        return ""
    row = rows.iloc[0]
    said = f"As a run of the queue ({_link('runs')}): {row.core_seconds:,.0f} processor seconds, "
    said += f"denoising loss {row.matching:.4f} over the last tenth of its steps"
    for name, what in (("frechet", "Fréchet distance"), ("own_class", "share of its code's class")):
        if pd.notna(row[name]):
            said += f"; {what} {row[name]:.3g}"
    return said + (f", of {row.samples:,} samples." if row.samples else ".")


SCORES = {
    "codes": _codes, "quality": _quality, "cifar_quality": _photographs, "runs": _runs,
}  # fmt: skip
