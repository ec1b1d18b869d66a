"""How a claim is judged: final scores of a run, like compared with like, over at least three seeds.

Results come from runs.csv (one row a run, seed, code and stage; see plan.py). Three rules hold
for every comparison: the same network, the same number of steps and the same seeds on both sides;
an interval is one over *trainings*, not over images; a code that is dead is no evidence.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from scipy.stats import ttest_ind

SEEDS = 3  # the fewest trainings that a verdict rests on
DEAD = 0.5  # of the spread that the code had before training


@dataclass(frozen=True)
class Difference:
    """Of two groups of trainings: mean of a − b, its 95 % Welch interval, and whether they part."""

    mean: float
    low: float
    high: float
    apart: bool
    """Every training of one group lies on one side of every training of the other."""

    @classmethod
    def of(cls, a: pd.Series, b: pd.Series) -> "Difference":
        """``LookupError`` for groups of fewer than three."""
        a, b = a.dropna(), b.dropna()
        if min(len(a), len(b)) < SEEDS:
            raise LookupError(f"{min(len(a), len(b))} of {SEEDS} seeds")
        interval = ttest_ind(a, b, equal_var=False).confidence_interval()
        apart = bool(a.min() > b.max() or a.max() < b.min())
        return cls(float(a.mean() - b.mean()), float(interval.low), float(interval.high), apart)

    def beyond(self, size: float) -> bool:
        """At least ``size`` (its sign says which way), groups apart and 0 outside the interval.

        Three trainings a side that part completely have p = 0.1 (two-sided) by permutation, the
        least that three can give: this is an effect with its size, not a test of high power.
        """
        if size > 0:
            return self.apart and self.mean >= size and self.low > 0
        return self.apart and self.mean <= size and self.high < 0

    def __str__(self) -> str:
        mean, low, high = (  # on which side of zero an end lies is always seen
            f"{number:+.3f}" if abs(number) < 0.005 else f"{number:+.2f}"
            for number in (self.mean, self.low, self.high)
        )
        return f"{mean} ({low} to {high})"


def final(folder: Path, run: str, code: str = "trained", t: float | None = None) -> pd.DataFrame:
    """The last rows of a run's finished seeds, index seed. ``LookupError`` without any.

    Rows of an earlier stage than a run's ``total`` steps decide nothing.
    """
    table = pd.read_csv(folder / "runs.csv")
    rows = table[(table.run == run) & (table.code == code)]
    if t is not None:
        rows = rows[(rows.t - t).abs() < 1e-9]
    if rows.empty:
        raise LookupError(f"{run} has not run")
    if code != "trained":
        return rows.drop_duplicates("seed").set_index("seed")
    rows = rows[rows.iterations == rows.total]
    if rows.empty:
        raise LookupError(f"{run} is under way")
    return rows[rows.total == rows.total.max()].set_index("seed").sort_index()


def same_steps(a: pd.DataFrame, b: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Seeds that both have. ``LookupError`` if steps or networks differ: not like for like."""
    for column in ("iterations", "network"):
        values = {*a[column], *b[column]}
        if len(values) > 1:
            raise LookupError(f"{column} differ: {', '.join(map(str, sorted(values)))}")
    seeds = a.index.intersection(b.index)
    return a.loc[seeds], b.loc[seeds]


def dead(rows: pd.DataFrame, untrained: pd.DataFrame) -> pd.Series:
    """Seeds whose code has shrunk: both standard deviations below half of the untrained encoder's.

    One small coordinate makes a line, which may hold a class; both make a point, whose scores are
    those of rounding and of whatever is left.
    """
    before = untrained[["code_std", "code_std_max"]].reindex(rows.index)
    return (rows[["code_std", "code_std_max"]] < DEAD * before).all(axis=1)


def alive(folder: Path, run: str, t: float | None = None) -> pd.DataFrame:
    """``final`` without dead codes. ``LookupError`` where fewer than three seeds are left."""
    rows, untrained = (final(folder, run, code, t) for code in ("trained", "untrained"))
    if len(rows) < SEEDS:
        raise LookupError(f"{run}: {len(rows)} of {SEEDS} seeds")
    left = rows[~dead(rows, untrained)]
    if len(left) < SEEDS:
        raise DeadCodes(f"{run}: {len(rows) - len(left)} of {len(rows)} codes are dead")
    return left


class CannotJudge(LookupError):
    """What was measured cannot tell; the message says why."""


class DeadCodes(CannotJudge):
    """Codes have collapsed: what is asked of them cannot be judged."""


def best_baseline(folder: Path, run: str, column: str, codes: tuple[str, ...]) -> tuple[float, str]:
    """The highest score of codes that were not trained, and whose it is; mean over seeds.

    ``LookupError`` if one of ``codes`` has no row: the mark would be too low.
    """
    scores = {code: float(final(folder, run, code)[column].mean()) for code in codes}
    best = max(scores, key=scores.get)
    return scores[best], best
