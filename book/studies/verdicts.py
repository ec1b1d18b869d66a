"""How each claim of claims.py is tested against the result tables: its numbers and a verdict."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from book.studies.judging import (
    SEEDS,
    CannotJudge,
    DeadCodes,
    Difference,
    alive,
    best_baseline,
    dead,
    final,
    same_steps,
)

HELD, PART, NOT_SEEN = "held", "held in part", "not seen at our budget"
EXACT_NOT = "not seen"  # of a computation, where no budget is meant
PAIRS = (("fig3-unet", "fig5-unet", "KL"), ("fig7-unet", "fig2ab-unet", "L1"))
SMALL = 0.05  # a constant, in units of the loss, that hardly changes it
COLOURS = ("untrained", "PCA", "colours")  # colours: brightness and background, four numbers


@dataclass(frozen=True)
class Result:
    """What a claim's test found."""

    number: str
    verdict: str


def stroke_width(folder: Path) -> Result:
    """One direction of the code explains the stroke width: half of its variance, in every seed."""
    parts, held = [], []
    for _, run, label in PAIRS:
        rows = alive(folder, run)
        values = rows["r2_stroke_width"]
        best, name = best_baseline(folder, run, "r2_stroke_width", ("untrained", "PCA"))
        parts.append(f"{label} {_values(values)}, {name} {best:.2f}")
        held.append(bool((values >= 0.5).all() and (values > best + 0.1).all()))
    return Result("R² " + "; ".join(parts), _verdict(held))


def weak_class(folder: Path) -> Result:
    """More of the class than without training, less than with uniform σ."""
    parts, held = [], []
    for high, even, label in PAIRS:
        rows, other = same_steps(alive(folder, even), alive(folder, high))
        untrained = final(folder, even, "untrained")["knn"].reindex(rows.index)
        more = Difference.of(rows["knn"], untrained)
        less = Difference.of(rows["knn"], other["knn"])
        parts.append(f"{label} {_values(rows['knn'])}; against untrained {more}, uniform σ {less}")
        held.append(more.beyond(0.02) and less.beyond(-0.1))
    return Result("kNN " + "; ".join(parts), _verdict(held))


def steering(column: str, size: float) -> Callable[[Path], Result]:
    """Uniform σ against uniform t in ``column``, both with the U-Net."""

    def test(folder: Path) -> Result:
        parts, held = [], []
        for high, even, label in PAIRS:
            rows, other = same_steps(alive(folder, high), alive(folder, even))
            difference = Difference.of(rows[column], other[column])
            parts.append(f"{label} {difference}")
            held.append(difference.beyond(size))
        return Result("; ".join(parts), _verdict(held))

    return test


def levels(folder: Path, run: str) -> pd.DataFrame:
    """A sweep's last rows, all seeds, with columns ``dead`` and ``untrained`` (its silhouette).

    ``LookupError`` for fewer than ten levels of three seeds.
    """
    table = pd.read_csv(folder / "runs.csv")
    times = sorted(table[(table.run == run) & (table.code == "trained")].t.dropna().unique())
    found = []
    for t in times:
        rows, untrained = (final(folder, run, code, t) for code in ("trained", "untrained"))
        rows = rows.assign(dead=dead(rows, untrained), untrained=untrained["silhouette"].max())
        if len(rows) >= SEEDS:
            found.append(rows.reset_index())
    if len(found) < 10:
        raise LookupError(f"{run}: {len(found)} of 10 levels with {SEEDS} seeds")
    return pd.concat(found, ignore_index=True)


def sweep(run: str) -> Callable[[Path], Result]:
    """A band of levels whose codes hold the class, and a fall at either end."""

    def test(folder: Path) -> Result:
        rows = levels(folder, run)
        living = rows[~rows.dead].groupby("t").silhouette
        enough = living.count() >= SEEDS
        means = living.mean()[enough]
        if means.empty:
            raise DeadCodes(f"{run}: no level has {SEEDS} live codes")
        peak = float(means.idxmax())
        at = living.get_group(peak)
        pca = float(final(folder, run, "PCA")["silhouette"].mean())
        baseline = max(pca, float(rows.untrained.max()))
        band = bool((at > baseline).all())

        def end(t: float) -> str:
            if t not in means.index:
                return "dead codes"
            return "lower" if Difference.of(at, living.get_group(t)).beyond(0.02) else "not lower"

        low, high = end(float(rows.t.min())), end(float(rows.t.max()))
        number = (
            f"{at.mean():.3f} ± {at.std():.3f} at t = {peak:g}, best of untrained and PCA "
            f"{baseline:.3f}; t = {rows.t.min():g}: {low}, t = {rows.t.max():g}: {high}"
        )
        held = [band, low == "lower", high == "lower"]
        return Result(number, HELD if all(held) else PART if band and any(held[1:]) else NOT_SEEN)

    return test


def three_classes(folder: Path) -> Result:
    """More of the class than the best of codes without training and of four colours."""
    parts, held = [], []
    for run, label in (("fig2cd", "L1"), ("fig6", "KL")):
        knn = alive(folder, run)["knn"]
        best, name = best_baseline(folder, run, "knn", COLOURS)
        parts.append(f"{label} {_values(knn)}, {name} {best:.2f}")
        held.append(bool((knn > best).all()))
    return Result("kNN " + "; ".join(parts), _verdict(held))


def background(folder: Path) -> Result:
    """The blue of the background, which goes with the classes."""
    return _attribute(folder, ("fig2cd", "fig6"), "r2_background_blue", 0.5, "blue of background")


def brightness(folder: Path) -> Result:
    """The overall brightness, beyond what an untrained encoder has of it."""
    return _attribute(folder, ("fig8", "fig9"), "r2_brightness", 0.5, "brightness")


def _attribute(folder: Path, runs: tuple[str, str], column: str, least: float, word: str) -> Result:
    parts, held = [], []
    for run, label in zip(runs, ("L1", "KL"), strict=True):
        values = alive(folder, run)[column]
        untrained = float(final(folder, run, "untrained")[column].max())
        parts.append(f"{label} {_values(values)}, untrained at most {untrained:.2f}")
        held.append(bool((values >= least).all() and (values > untrained + 0.1).all()))
    return Result(f"R² of {word} " + "; ".join(parts), _verdict(held))


def own_code(folder: Path) -> Result:
    """The own code denoises better than another's, be it of another class or of the same."""
    table = pd.read_csv(folder / "pairs_partners.csv")
    rows = table[(table.model == "fig3") & (table.seed == 0)]
    if rows.empty:
        raise LookupError("no pairs of fig3")
    rows = rows[rows.pairs == rows.pairs.max()]
    if "partners" not in rows or not {"same", "other"} <= set(rows.partners):
        raise LookupError("pairs of the same class have not run")
    t = 0.75  # the level of the first edition's best; not chosen again
    at = rows[(rows.t - t).abs() < 1e-9].set_index("partners")
    held = [bool(at.low[kind] >= 0.95) for kind in ("other", "same")]
    words = ", ".join(
        f"{at.share[kind]:.3f} ({at.low[kind]:.3f} to {at.high[kind]:.3f}) of partners {words}"
        for kind, words in (("other", "of another class"), ("same", "of the same class"))
    )
    return Result(f"t = {t:g}: {words}; one seed, interval over pairs", _verdict(held))


def diversity(folder: Path) -> Result:
    """Samples of one code vary less, the more numbers it has: half as much less as PCA allows."""
    path = folder / "diversity_seeds_codes.csv"
    table = pd.read_csv(path) if path.exists() else pd.DataFrame()
    done = table.seed.nunique() if "seed" in table else 0
    if done < SEEDS:
        raise LookupError(f"codes of 2, 4, 8 and 16 numbers at length: {done} of {SEEDS} seeds")
    means = table.pivot_table(index="seed", columns="model", values="spread")
    numbers = ["fig2ab", "fig11-4", "fig11-8", "fig11-16"]
    if not {*numbers, "PCA-2", "PCA-16"} <= set(means):
        raise LookupError("diversity needs codes of 2, 4, 8 and 16 numbers, and PCA's")
    steps = [means[b] < means[a] for a, b in zip(numbers, numbers[1:], strict=False)]
    fall = Difference.of(means["fig11-16"], means["fig2ab"])
    possible = float((means["PCA-16"] - means["PCA-2"]).mean())
    falls = bool(pd.concat(steps, axis=1).all(axis=None))
    enough = fall.beyond(possible / 2)
    return Result(
        f"16 − 2: {fall}, sixteen principal components {possible:+.2f}",
        HELD if falls and enough else PART if fall.beyond(-1e-3) else NOT_SEEN,
    )


def adversary(folder: Path) -> Result:
    """Where an adversary's weight on the loss goes, against where the constant is largest."""
    table = _seeds_of_burden(folder)
    rows = table[(table.part == "lambda") & (table.setting == "loss") & table["t"].notna()]
    bins = rows.pivot_table(index="t", columns=["quantity", "seed"], values="value")
    mass, constant = bins["mass"].idxmax(), bins["constant"].idxmax()
    largest = bins["constant"].max().max()
    number = (
        f"most mass at t = {_each(mass.round(2))} ({bins['mass'].max().min():.2f} up); "
        f"largest constant {largest:.3f} at {_each(constant.round(2))}; {len(mass)} seeds"
    )
    if largest < SMALL:
        raise CannotJudge(f"{number}: too small to matter")
    return Result(number, HELD if (mass == constant).all() else EXACT_NOT)


def sigma_max(folder: Path) -> Result:
    """Which σ_max the loss, and the loss without its constant, choose, unit by unit."""
    table = _seeds_of_burden(folder)
    rows = table[table.part == "sigma_max"].pivot(
        index="setting", columns=["quantity", "seed"], values="value"
    )
    rows.index = rows.index.astype(float)
    units = {  # of a sum over t: what it is multiplied by, and what is added
        "as a mean over t": (1.0, 0.0),
        "in nats": (rows["nats a unit"], 0.0),
        "in nats with the prior's mismatch": (rows["nats a unit"], rows["prior mismatch"]),
    }
    ends, said, held = (rows.index.min(), rows.index.max()), [], []
    for words, (factor, rest) in units.items():
        loss, error = ((factor * rows[column] + rest).idxmin() for column in ("loss", "error"))
        held.append(bool((loss.isin(ends) & ~error.isin(ends)).all()))
        said.append(f"{_each(loss)} and {_each(error)} {words}")
    return Result(
        f"σ_max with and without the constant: {'; '.join(said)}; {len(loss)} seeds",
        HELD if all(held) else PART if any(held) else EXACT_NOT,
    )


def _seeds_of_burden(folder: Path) -> pd.DataFrame:
    """Section 1.2 on MNIST, all seeds. ``LookupError`` for fewer than three."""
    table = pd.read_csv(folder / "burden_seeds.csv", dtype={"setting": str})
    if (seeds := table.seed.nunique()) < SEEDS:
        raise LookupError(f"burden on MNIST: {seeds} of {SEEDS} seeds")
    return table


def _each(values: pd.Series) -> str:
    """The value that all seeds have, or one value a seed."""
    return "/".join(f"{value:g}" for value in (values if values.nunique() > 1 else values[:1]))


def _values(values: pd.Series) -> str:
    return f"{values.mean():.2f} ± {values.std():.2f} ({len(values)} seeds, {values.min():.2f} up)"


def _verdict(held: list[bool]) -> str:
    return HELD if all(held) else PART if any(held) else NOT_SEEN
