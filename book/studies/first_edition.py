"""What the first edition's runs say of a claim, in one line: evidence, and no verdict.

Those runs were short, partly of one seed, and compared two networks with each other; claims.py says
what a verdict needs. Where both sides have the dense network, the comparison is like with like.
"""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from book.studies.judging import Difference

Evidence = Callable[[Path], str]


def dense_pair(folder: Path, column: str) -> dict[str, Difference]:
    """Uniform σ less uniform t in ``column``, the dense network on both sides, 2,000 steps."""
    even = pd.read_csv(folder / "curves.csv").query("iterations == 2000").set_index("seed")
    high = pd.read_csv(folder / "codes.csv").query("code == 'trained'").set_index("seed")
    pairs = {"KL": ("fig3", "fig5-dense"), "L1": ("fig7", "fig2ab-dense")}
    return {
        label: Difference.of(high[high.run == a][column], even[even.run == b][column])
        for label, (a, b) in pairs.items()
    }


def of_dense(column: str, words: str) -> Evidence:
    """``dense_pair`` in words."""

    def said(folder: Path) -> str:
        pairs = dense_pair(folder, column)
        return f"{words}, dense network: " + ", ".join(f"{k} {v}" for k, v in pairs.items())

    return said


def of_codes(runs: dict[str, str], column: str, words: str) -> Evidence:
    """Scores of trained codes beside an untrained encoder's and PCA's, mean over the seeds.

    Args:
        runs: name of a run → what it is called.
        column: of codes.csv.
        words: what that is.
    """

    def said(folder: Path) -> str:
        table = pd.read_csv(folder / "codes.csv")
        parts = []
        for run, label in runs.items():
            rows = table[table.run == run].groupby("code")[column]
            mean, seeds = rows.mean(), int(rows.size()["trained"])
            parts.append(
                f"{label} {mean['trained']:.2f} ({_seeds(seeds)}; untrained "
                f"{mean['untrained']:.2f}, PCA {mean['PCA']:.2f})"
            )
        return f"{words}: " + ", ".join(parts)

    return said


def of_sweep(name: str, words: str) -> Evidence:
    """The level with the highest mean silhouette beside the untrained encoders' best and PCA's."""

    def said(folder: Path) -> str:
        table = pd.read_csv(folder / f"{name}.csv")
        levels = table[table.code == "trained"].groupby("t").silhouette
        mean, spread = levels.mean(), levels.std()
        best = mean.idxmax()
        others = table[table.code != "trained"].groupby("code").silhouette.max()
        seeds = _seeds(int(levels.size()[best]))
        return (
            f"{words}: silhouette {mean[best]:.3f} ± {spread[best]:.3f} at t = {best:g} ({seeds}; "
            f"untrained at most {others['untrained']:.3f}, PCA {others['PCA']:.3f})"
        )

    return said


def own_code(folder: Path) -> str:
    """Partners of another class only."""
    table = pd.read_csv(folder / "pairs.csv").query("model == 'fig3' and seed == 0 and t == 0.75")
    table = table[table.pairs == table.pairs.max()]
    share, low, high = table[["share", "low", "high"]].iloc[0]
    return f"partners of another class, t = 0.75: {share:.3f} ({low:.3f} to {high:.3f}; one seed)"


def diversity(folder: Path) -> str:
    """Means of one model each."""
    table = pd.read_csv(folder / "diversity_codes.csv").query("finished == 0")
    means = table.groupby("model").spread.mean()
    values = ", ".join(f"{means[m]:.3f}" for m in ("fig11-2", "fig11-4", "fig11-8", "fig11-16"))
    return f"variance left for 2, 4, 8, 16 numbers: {values} (one seed)"


def _seeds(n: int) -> str:
    return "one seed" if n == 1 else f"{n} seeds"
