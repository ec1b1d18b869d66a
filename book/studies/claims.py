"""The paper's empirical claims, each with the numbers that test it here and a verdict.

    claims("book/results")     # one row a claim: claim, chapter, run, mark, number, verdict

A claim is the paper's sentence. ``set`` says when its mark was written here, and ``seen`` what had
been seen by then: of claims that wait for runs, none of these runs. A mark is one that an untrained
encoder, PCA, background colours and collapsed codes fail. How numbers are compared is in
judging.py, what each claim compares in verdicts.py. A claim whose runs are not all there is "not
decided yet".
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from book.studies import first_edition as first
from book.studies import verdicts
from book.studies.judging import CannotJudge
from book.studies.verdicts import Result

UNDECIDED = "not decided yet"
CANNOT = "cannot be judged here"
DAY = "2026-11-27"  # on which the marks of the second edition were written
FIRST = "all runs of the first edition, none of the second"


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper, where it is tested, and how."""

    claim: str
    where: str  # figure of the paper
    chapter: str  # of the book, where it is tested
    run: str
    mark: str
    test: Callable[[Path], Result]
    before: first.Evidence | None = None  # what the first edition's runs say
    set: str = DAY
    seen: str = FIRST


def claims(folder: str | Path) -> pd.DataFrame:
    """The table of claims from the result tables in ``folder``."""
    rows = []
    for claim in CLAIMS:
        try:
            result = claim.test(Path(folder))
        except CannotJudge as error:
            result = Result(str(error), CANNOT)
        except (FileNotFoundError, LookupError) as error:
            said = type(error) is LookupError  # what is missing, in words
            result = Result(str(error) if said else "—", UNDECIDED)
        rows.append({
            "claim": claim.claim, "figure": claim.where, "chapter": claim.chapter, "run": claim.run,
            "mark": claim.mark, "set": claim.set, "seen": claim.seen,
            "number": result.number, "verdict": result.verdict,
            "first edition": _said(claim.before, Path(folder)),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _said(evidence: first.Evidence | None, folder: Path) -> str:
    try:
        return evidence(folder) if evidence else ""
    except (FileNotFoundError, LookupError):
        return ""


MNIST = {"fig2ab": "L1", "fig5": "KL"}
THREE, TEN = {"fig2cd": "L1", "fig6": "KL"}, {"fig8": "L1", "fig9": "KL"}
CLAIMS = (
    Claim(
        "MNIST, uniform t: “the value of z₁ controls the stroke width”.",
        "2a–b, 5", "mnist", "fig2ab-unet, fig5-unet",
        "linear R² ≥ 0.5 in every seed, and 0.1 above untrained and PCA", verdicts.stroke_width,
        first.of_codes(MNIST, "r2_stroke_width", "R² of the stroke width"),
    ),
    Claim(
        "MNIST, uniform t: “z₂ weakly indicates the class”.",
        "2b, 5b", "mnist", "fig2ab-unet, fig5-unet",
        "kNN above untrained by 0.02 and below uniform σ by 0.1", verdicts.weak_class,
        first.of_codes(MNIST, "knn", "kNN"),
    ),
    Claim(
        "Uniform σ: “the latent representation encodes information about classes …”",
        "3, 7", "steering", "fig3-unet − fig5-unet, fig7-unet − fig2ab-unet",
        "kNN higher by 0.1", verdicts.steering("knn", 0.1),
        first.of_dense("knn", "kNN"),
    ),
    Claim(
        "Uniform σ: “the encoder can learn to separate classes when focusing on high noise "
        "levels”.",
        "3, 7", "steering", "fig3-unet − fig5-unet, fig7-unet − fig2ab-unet",
        "silhouette higher by 0.05", verdicts.steering("silhouette", 0.05),
        first.of_dense("silhouette", "silhouette"),
    ),
    Claim(
        "Uniform σ: “… rather than fine-grained features such as stroke width”.",
        "3, 7", "steering", "fig3-unet − fig5-unet, fig7-unet − fig2ab-unet",
        "R² of the stroke width lower by 0.2", verdicts.steering("r2_stroke_width", -0.2),
        first.of_dense("r2_stroke_width", "R²"),
    ),
    Claim(
        "MNIST, a single t: “almost no encoded class information” at small t, “the opposite … "
        "for a range of t”, a “decline … for high values of t”.",
        "4 left", "levels", "fig4-mnist-unet",
        "silhouette of live codes: every seed at the peak above untrained and PCA, both ends lower "
        "by 0.02",
        verdicts.sweep("fig4-mnist-unet"),
        first.of_sweep("fig4-mnist-unet", "half an epoch"),
    ),
    Claim(
        "CIFAR-10, a single t: the same, over another range of t.",
        "4 right", "levels", "fig4-cifar-unet", "as for MNIST", verdicts.sweep("fig4-cifar-unet"),
        first.of_sweep("fig4-cifar", "dense network, 1.6 epochs"),
    ),
    Claim(
        "CIFAR-10, three classes, uniform t: “the latent code … mostly encodes information about "
        "the class label”.",
        "2c–d, 6", "cifar", "fig2cd, fig6",
        "kNN of every seed above untrained, PCA, and brightness with three background colours",
        verdicts.three_classes,
        first.of_codes(THREE, "knn", "kNN"),
    ),
    Claim(
        "CIFAR-10, three classes: “part of the reason might be an encoding of the background”.",
        "2c, 6", "cifar", "fig2cd, fig6",
        "R² of the background's blue ≥ 0.5 in every seed, and 0.1 above untrained",
        verdicts.background,
        first.of_codes(THREE, "r2_background_blue", "R²"),
    ),
    Claim(
        "CIFAR-10, ten classes: “early results indicate encoding of overall image brightness”.",
        "8, 9", "cifar", "fig8, fig9",
        "R² ≥ 0.5 in every seed, and 0.1 above untrained", verdicts.brightness,
        first.of_codes(TEN, "r2_brightness", "R²"),
    ),
    Claim(
        "“Samples are denoised correctly only when conditioning on the latent code of the "
        "corresponding original image”.",
        "10", "knows", "fig3, 2,000 pairs of other classes and 2,000 of the same",
        "own code closer at t = 0.75: Wilson bound ≥ 0.95 for both kinds of partner",
        verdicts.own_code,
        first.own_code,
        seen="partners of other classes, and 400 pairs of the same class by a reviewer",
    ),
    Claim(
        "“The diversity of samples generated for the same representation steadily decreases with "
        "the dimensionality of the latent space”.",
        "11", "knows", "fig2ab, fig11-4, -8, -16",
        "falls at each step in every seed; from 2 to 16 by half as much as PCA's codes allow "
        "(in part: by 0.001 at least)",
        verdicts.diversity,
        first.diversity,
    ),
    Claim(
        "An adversarially trained λ “will focus on regions where the constant is high”.",
        "Sec. 1.2", "burden",
        "MNIST's empirical law, three seeds (on the chapter's mixture it holds)",
        "on the loss, most mass where the constant is largest in every seed, where that is 0.05 or "
        "more",
        verdicts.adversary,
        set="with the first edition, after its table; the threshold of the constant 2026-11-28",
        seen="the table of seed 0",
    ),
    Claim(
        "Hyperparameters found by the denoising loss are “heavily biased towards solutions with a "
        "smaller value of the additional constant”.",
        "Sec. 1.2", "burden", "MNIST's empirical law, six σ_max, three seeds",
        "in the same unit and every seed the loss takes an end of the grid, the error without "
        "constant does not",
        verdicts.sigma_max,
        set="2026-11-28, after its table: the older mark compared two units",
        seen="the table of seed 0",
    ),
)  # fmt: skip
