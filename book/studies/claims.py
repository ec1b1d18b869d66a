"""The paper's empirical claims, each with the numbers that test it here and a verdict.

    claims("book/results")     # one row a claim: claim, chapter, run, number, threshold, verdict

Everything is read from the tables under ``results/``; no threshold was changed after its runs. How
Figure 11's models are compared was: image by image, since all of them see the same. A claim whose
table or rows are not there yet is "not run".
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from scorerep.codes.scores import bootstrap_interval

HELD, PART, NOT_SEEN, NOT_RUN = "held", "held in part", "not seen at our budget", "not run yet"


@dataclass(frozen=True)
class Result:
    """What a claim's test found."""

    number: str
    verdict: str


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper, where it is tested, and how."""

    claim: str
    where: str  # figure of the paper
    chapter: str  # of the book, where it is tested
    run: str
    threshold: str
    test: Callable[[Path], Result]


def claims(folder: str | Path) -> pd.DataFrame:
    """The table of claims from the result tables in ``folder``."""
    rows = []
    for claim in CLAIMS:
        try:
            result = claim.test(Path(folder))
        except (FileNotFoundError, LookupError) as error:
            said = type(error) is LookupError  # what is missing, in words
            result = Result(str(error) if said else "—", NOT_RUN)
        rows.append({
            "claim": claim.claim, "figure": claim.where, "chapter": claim.chapter, "run": claim.run,
            "threshold": claim.threshold, "number": result.number, "verdict": result.verdict,
        })  # fmt: skip
    return pd.DataFrame(rows)


def paired_difference(a: pd.Series, b: pd.Series) -> tuple[float, float, bool]:
    """Mean of a − b over the seeds both have, the pooled standard deviation, and whether every
    seed has the sign of the mean. ``LookupError`` for fewer than three common seeds."""
    both = pd.concat([a, b], axis=1, join="inner").dropna()
    if len(both) < 3:
        raise LookupError(f"three common seeds are needed, {len(both)} are there")
    difference = both.iloc[:, 0] - both.iloc[:, 1]
    pooled = float(np.sqrt((both.var(ddof=1)).mean()))
    mean = float(difference.mean())
    return mean, pooled, bool((np.sign(difference) == np.sign(mean)).all())


def trained_codes(folder: Path, run: str) -> pd.DataFrame:
    """Scores of a run's codes, one row a seed. ``LookupError`` if there are none."""
    table = pd.read_csv(folder / "codes.csv")
    rows = table[(table.run == run) & (table.code == "trained")].set_index("seed")
    if rows.empty:
        raise LookupError(f"no codes of {run}")
    return rows


def baseline(folder: Path, run: str, code: str, column: str) -> float:
    """A score of the untrained encoder or PCA beside a run, mean over seeds."""
    table = pd.read_csv(folder / "codes.csv")
    rows = table[(table.run == run) & (table.code == code)]
    if rows.empty:
        raise LookupError(f"no {code} codes beside {run}")
    return float(rows[column].mean())


def _stroke_width(folder: Path) -> Result:
    parts, held = [], []
    for run, label in (("fig2ab", "L1"), ("fig5", "KL")):
        values = trained_codes(folder, run)["r2_stroke_width"]
        parts.append(f"{label}: {_values(values)}")
        held.append(bool((values >= 0.5).all()))
    return Result("R² " + "; ".join(parts), _verdict(held))


def _weak_class(folder: Path) -> Result:
    parts, held = [], []
    for run, label in (("fig2ab", "L1"), ("fig5", "KL")):
        values = trained_codes(folder, run)["knn"]
        knn = values.mean()
        untrained = baseline(folder, run, "untrained", "knn")
        pca = baseline(folder, run, "PCA", "knn")
        parts.append(f"{label} {_values(values)}, untrained {untrained:.2f}, PCA {pca:.2f}")
        held.append(untrained < knn < 0.5)
    return Result("kNN " + "; ".join(parts), _verdict(held))


def _steering(column: str, sign: int):
    def test(folder: Path) -> Result:
        parts, held = [], []
        for high, even, label in (("fig3", "fig5", "KL"), ("fig7", "fig2ab", "L1")):
            mean, pooled, same = paired_difference(
                trained_codes(folder, high)[column], trained_codes(folder, even)[column]
            )
            parts.append(f"{label} {mean:+.2f} (pooled s.d. {pooled:.2f})")
            held.append(same and sign * mean > 2 * pooled)
        return Result("; ".join(parts), _verdict(held))

    return test


def sweep_band(folder: Path, name: str) -> tuple[pd.DataFrame, float]:
    """Mean and standard deviation of the silhouette at each t, and the untrained encoders' best."""
    table = pd.read_csv(folder / f"{name}.csv")
    runs = table[table.code == "trained"].groupby("t").silhouette.agg(["mean", "std", "count"])
    if len(runs) < 10 or runs["count"].min() < 3:
        raise LookupError(f"{name} needs ten noise levels of three seeds")
    return runs, float(table[table.code == "untrained"].silhouette.max())


def _band(folder: Path) -> Result:
    parts, held = [], []
    for name, label in (("fig4-mnist", "MNIST"), ("fig4-cifar", "CIFAR-3")):
        runs, untrained = sweep_band(folder, name)
        best = runs["mean"].idxmax()
        ends = max(runs["mean"].iloc[0], runs["mean"].iloc[-1])
        parts.append(
            f"{label}: {runs['mean'][best]:.3f} ± {runs['std'][best]:.3f} at t = {best:g}, "
            f"{runs['mean'].iloc[0]:.3f} at t = {runs.index[0]:g}, {runs['mean'].iloc[-1]:.3f} at 1"
        )
        spread = runs["std"].mean()
        held.append(runs["mean"][best] - ends > 2 * spread and runs["mean"][best] > untrained)
    return Result("; ".join(parts), _verdict(held))


def _three_classes(folder: Path) -> Result:
    parts, held = [], []
    for run, label in (("fig2cd", "L1"), ("fig6", "KL")):
        knn, pca = trained_codes(folder, run)["knn"], baseline(folder, run, "PCA", "knn")
        parts.append(f"{label} {_values(knn)}, PCA {pca:.2f}")
        held.append(bool((knn > pca).all()))
    return Result("kNN " + "; ".join(parts), _verdict(held))


def _brightness(folder: Path) -> Result:
    parts, held = [], []
    for run, label in (("fig8", "L1"), ("fig9", "KL")):
        values = trained_codes(folder, run)["r2_brightness"]
        parts.append(f"{label} {_values(values)}")
        held.append(bool((values >= 0.5).all()))
    return Result("R² " + "; ".join(parts), _verdict(held))


def _own_code(folder: Path) -> Result:
    table = pd.read_csv(folder / "pairs.csv")
    rows = table[(table.model == "fig3")]
    if rows.empty:
        raise LookupError("no pairs of fig3")
    best = rows.loc[rows.low.idxmax()]
    return Result(
        f"{best.share:.3f} ({best.low:.3f} to {best.high:.3f}) at t = {best.t:g}",
        HELD if best.low >= 0.95 else PART if best.low > 0.5 else NOT_SEEN,
    )


def _diversity(folder: Path) -> Result:
    table = pd.read_csv(folder / "diversity_codes.csv")
    models = ["fig2ab", "fig11-4", "fig11-8", "fig11-16"]
    each = table[table["finished"] == 0].pivot(index="code", columns="model", values="spread")
    if not set(models) <= set(each):
        raise LookupError("diversity needs codes of 2, 4, 8 and 16 numbers")
    # All models see the same images and noises: they are compared image by image.
    steps = [each[b] - each[a] for a, b in zip(models, models[1:], strict=False)]
    falls = [bootstrap_interval(step)[1] < 0 for step in steps]
    whole = each[models[-1]] - each[models[0]]
    low, high = bootstrap_interval(whole)
    values = ", ".join(f"{v:.3f}" for v in each[models].mean())
    return Result(
        f"{values} for 2, 4, 8, 16; 16 − 2: {whole.mean():+.3f} ({low:+.3f} to {high:+.3f})",
        HELD if all(falls) and high < 0 else PART if high < 0 else NOT_SEEN,
    )


def _adversary(folder: Path) -> Result:
    table = pd.read_csv(folder / "burden.csv", dtype={"setting": str})
    rows = table[(table.part == "lambda") & (table.setting == "loss") & table["t"].notna()]
    bins = rows.pivot(index="t", columns="quantity", values="value")[["mass", "constant"]]
    mass, constant = bins["mass"].idxmax(), bins["constant"].idxmax()
    return Result(
        f"mass {bins['mass'].max():.2f} at t = {mass:.2f}, largest constant at {constant:.2f}",
        HELD if mass == constant else NOT_SEEN,
    )


def _sigma_max(folder: Path) -> Result:
    table = pd.read_csv(folder / "burden.csv", dtype={"setting": str})
    rows = table[table.part == "sigma_max"].pivot(
        index="setting", columns="quantity", values="value"
    )
    rows.index = rows.index.astype(float)
    nats = rows["nats a unit"]
    least = {
        "by the loss": rows["loss"].idxmin(),
        "by the loss in nats": (nats * rows["loss"]).idxmin(),
        "without the constant": (nats * rows["error"] + rows["prior mismatch"]).idxmin(),
    }
    biased = [value in (rows.index.min(), rows.index.max()) for value in least.values()]
    return Result(
        "σ_max " + ", ".join(f"{value:g} {name}" for name, value in least.items()),
        HELD if biased == [True, True, False] else NOT_SEEN,
    )


def _values(values: pd.Series) -> str:
    if len(values) == 1:
        return f"{values.iloc[0]:.2f} (one seed)"
    about = f"{len(values)} seeds, lowest {values.min():.2f}"
    return f"{values.mean():.2f} ± {values.std():.2f} ({about})"


def _verdict(held: list[bool]) -> str:
    return HELD if all(held) else PART if any(held) else NOT_SEEN


CLAIMS = (
    Claim(
        "Uniform t: one coordinate controls the stroke width of MNIST digits.",
        "2a–b, 5", "mnist", "fig2ab, fig5", "linear R² ≥ 0.5", _stroke_width,
    ),
    Claim(
        "Uniform t: the class is only weakly encoded.",
        "2b, 5b", "mnist", "fig2ab, fig5", "kNN above untrained, below 0.5", _weak_class,
    ),
    Claim(
        "Uniform σ: the code holds the class.",
        "3, 7", "steering", "fig3 − fig5, fig7 − fig2ab", "kNN higher, by 2 pooled s.d.",
        _steering("knn", 1),
    ),
    Claim(
        "Uniform σ: the classes separate.",
        "3, 7", "steering", "fig3 − fig5, fig7 − fig2ab", "silhouette higher, by 2 pooled s.d.",
        _steering("silhouette", 1),
    ),
    Claim(
        "Uniform σ: rather than fine features such as stroke width.",
        "3, 7", "steering", "fig3 − fig5, fig7 − fig2ab", "R² lower, by 2 pooled s.d.",
        _steering("r2_stroke_width", -1),
    ),
    Claim(
        "A single t: no class at low noise, the class over a band, a decline at high noise.",
        "4", "levels", "fig4-mnist, fig4-cifar",
        "peak above both ends by 2 s.d. and above untrained", _band,
    ),
    Claim(
        "CIFAR-10, three classes, uniform t: the code holds more of the class than two principal "
        "components (the paper: it “mostly encodes” the class).",
        "2c–d, 6", "cifar", "fig2cd, fig6", "kNN above PCA", _three_classes,
    ),
    Claim(
        "CIFAR-10, ten classes, uniform t: overall brightness.",
        "8, 9", "cifar", "fig8, fig9", "R² ≥ 0.5", _brightness,
    ),
    Claim(
        "Samples are denoised correctly only with the code of their own image.",
        "10", "knows", "fig3, 2,000 pairs at eleven t",
        "own code closer at some t: Wilson bound ≥ 0.95", _own_code,
    ),
    Claim(
        "The diversity of samples of one code falls with the dimension of the code.",
        "11", "knows", "fig2ab, fig11-4, -8, -16",
        "falls throughout, 16 below 2 (paired by image)", _diversity,
    ),
    Claim(
        "An adversarially trained λ focuses where the constant is high.",
        "Sec. 1.2", "burden", "MNIST's empirical law (on the chapter's mixture it holds)",
        "on the loss, most mass where the constant is largest", _adversary,
    ),
    Claim(
        "Hyperparameters chosen by the denoising loss are biased by its constant.",
        "Sec. 1.2", "burden", "MNIST's empirical law, six σ_max",
        "the loss takes an end of the grid, the error without constant does not", _sigma_max,
    ),
)  # fmt: skip
