"""Claims: verdicts follow the numbers, whichever way they fall, and nothing untrained passes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_ind

from book.studies.claims import CANNOT, CLAIMS, UNDECIDED, claims
from book.studies.first_edition import dense_pair
from book.studies.judging import DeadCodes, Difference, alive, best_baseline, same_steps
from book.studies.verdicts import EXACT_NOT, HELD, NOT_SEEN, PART

RESULTS = Path(__file__).parents[2] / "book/results"
UNTRAINED = {
    "knn": 0.25, "silhouette": -0.12, "r2_stroke_width": 0.1, "r2_brightness": 0.5,
    "r2_background_blue": 0.4, "code_std": 0.01, "code_std_max": 0.02,
}  # fmt: skip
PCA = UNTRAINED | {"knn": 0.45, "silhouette": 0.02, "r2_stroke_width": 0.07}
TRAINED = UNTRAINED | {"code_std": 1.0, "code_std_max": 1.5}


def write(folder, *groups):
    """runs.csv of (run, {column: value or one each seed}, extra columns)."""
    rows = []
    for run, values, about in groups:
        about = {"network": "unet", "iterations": 6000, "total": 6000, "t": None} | about
        seeds = about.pop("seeds", 3)
        for seed in range(seeds):
            own = {k: v[seed] if isinstance(v, (list, tuple)) else v for k, v in values.items()}
            rows.append({"run": run, "code": "trained", "seed": seed, **about, **TRAINED, **own})
            for code, known in (("untrained", UNTRAINED), ("PCA", PCA), ("colours", PCA)):
                extra = {"knn": 0.6} if code == "colours" else {}
                rows.append(
                    {"run": run, "code": code, "seed": seed, **about, **known, **extra}
                    | {"iterations": 0}
                )
    pd.DataFrame(rows).to_csv(folder / "runs.csv", index=False)


def verdict(folder, words):
    table = claims(folder)
    rows = table[table.claim.str.contains(words, regex=False)]
    assert len(rows) == 1, words
    return rows.iloc[0]


def squares(folder, column, high, even, **about):
    """Four runs of the U-Net: fig3 and fig7 with ``high``, fig5 and fig2ab with ``even``."""
    write(
        folder,
        *((f"{run}-unet", {column: high}, about) for run in ("fig3", "fig7")),
        *((f"{run}-unet", {column: even}, {}) for run in ("fig5", "fig2ab")),
    )


def test_nothing_is_decided_without_tables(tmp_path):
    table = claims(tmp_path)
    assert (table.verdict == UNDECIDED).all() and len(table) == len(CLAIMS)


def test_difference_is_welchs_and_parts_only_completely():
    a, b = pd.Series([3.0, 4.0, 5.0]), pd.Series([1.0, 1.5, 2.0])
    found = Difference.of(a, b)
    interval = ttest_ind(a, b, equal_var=False).confidence_interval()
    assert (found.mean, found.low, found.high) == pytest.approx((2.5, interval.low, interval.high))
    assert found.apart and found.beyond(2) and not found.beyond(3) and not found.beyond(-2)
    assert str(Difference(0.126, 0.0047, 0.25, True)) == "+0.13 (+0.005 to +0.25)"
    assert not Difference.of(a, pd.Series([1.0, 1.5, 3.5])).apart
    with pytest.raises(LookupError, match="2 of 3 seeds"):
        Difference.of(a, b[:2])


@pytest.mark.parametrize(
    ("high", "even", "expected"),
    [
        ([0.70, 0.71, 0.69], [0.30, 0.31, 0.29], HELD),
        ([0.35, 0.36, 0.34], [0.30, 0.31, 0.29], NOT_SEEN),  # too small to count
        ([0.90, 0.50, 0.31], [0.30, 0.31, 0.29], NOT_SEEN),  # within the spread of trainings
        ([0.25, 0.25, 0.25], [0.25, 0.25, 0.25], NOT_SEEN),  # nothing learned
    ],
)
def test_steering_is_by_the_same_network_and_beyond_the_spread(tmp_path, high, even, expected):
    squares(tmp_path, "knn", high, even)
    assert verdict(tmp_path, "encodes information about classes").verdict == expected


def test_another_network_or_another_length_decides_nothing(tmp_path):
    for about in ({"network": "dense"}, {"iterations": 2000, "total": 2000}):
        squares(tmp_path, "knn", [0.7, 0.71, 0.69], [0.3, 0.31, 0.29], **about)
        row = verdict(tmp_path, "encodes information about classes")
        assert row.verdict == UNDECIDED and "differ" in row.number


def test_runs_under_way_decide_nothing(tmp_path):
    early = {"iterations": 3000}  # of 6,000: all seeds at the same stage
    scores = {"r2_stroke_width": [0.8, 0.81, 0.79]}
    write(tmp_path, *((f"{run}-unet", scores, early) for run in ("fig2ab", "fig5")))
    row = verdict(tmp_path, "controls the stroke width")
    assert row.verdict == UNDECIDED and "under way" in row.number


def test_two_seeds_decide_nothing(tmp_path):
    squares(tmp_path, "knn", [0.7, 0.71, 0.69], [0.3, 0.31, 0.29], seeds=2)
    assert verdict(tmp_path, "encodes information about classes").verdict == UNDECIDED


def test_dead_codes_are_no_evidence(tmp_path):
    """A point's kNN and silhouette can be anything; a line may hold a class."""
    shrunk = {"knn": [0.7, 0.71, 0.69], "code_std": 0.001}
    for largest, expected in ((0.001, CANNOT), (1.0, HELD)):
        write(
            tmp_path,
            *((f"{r}-unet", shrunk | {"code_std_max": largest}, {}) for r in ("fig3", "fig7")),
            *((f"{r}-unet", {"knn": [0.3, 0.31, 0.29]}, {}) for r in ("fig5", "fig2ab")),
        )
        assert verdict(tmp_path, "encodes information about classes").verdict == expected
    write(tmp_path, ("x", {"code_std": 0.001, "code_std_max": 0.001}, {}))
    with pytest.raises(DeadCodes, match="3 of 3 codes are dead"):
        alive(tmp_path, "x")


@pytest.mark.parametrize(
    ("l1", "kl", "expected"),
    [(0.8, 0.6, HELD), (0.8, [0.8, 0.4, 0.8], PART), (0.1, 0.1, NOT_SEEN)],
)
def test_stroke_width_needs_half_of_the_variance_in_every_seed(tmp_path, l1, kl, expected):
    columns = "r2_stroke_width"
    write(tmp_path, ("fig2ab-unet", {columns: l1}, {}), ("fig5-unet", {columns: kl}, {}))
    row = verdict(tmp_path, "controls the stroke width")
    assert row.verdict == expected and "3 seeds" in row.number


def sweep(peak=0.1, end=-0.1, dead_end=False):
    """Ten levels, a peak at 0.5; t = 1 with dead codes if asked."""
    groups = []
    for i in range(1, 11):
        value = peak if i == 5 else end
        std = 0.001 if dead_end and i == 10 else 1.0
        values = {"silhouette": [value, value + 0.002, value - 0.002]}
        values |= {"code_std": std, "code_std_max": std}
        groups.append(("fig4-mnist-unet", values, {"t": i / 10}))
    return groups


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (sweep(), HELD),
        (sweep(peak=0.01), NOT_SEEN),  # below PCA's 0.02
        (sweep(dead_end=True), PART),  # the low end shows, the high end cannot
        (sweep(end=0.1), NOT_SEEN),  # a plateau is no band
    ],
)
def test_band_needs_a_peak_above_pca_and_live_ends(tmp_path, made, expected):
    write(tmp_path, *made)
    row = verdict(tmp_path, "MNIST, a single t")
    assert row.verdict == expected
    assert ("t = 1: dead codes" in row.number) == (expected == PART)


def test_three_classes_must_beat_what_colours_say(tmp_path):
    """0.6 is the kNN accuracy of brightness and three background colours in this table."""
    for knn, expected in (([0.61, 0.65, 0.7], HELD), ([0.55, 0.59, 0.57], NOT_SEEN)):
        write(tmp_path, ("fig2cd", {"knn": knn}, {}), ("fig6", {"knn": knn}, {}))
        row = verdict(tmp_path, "mostly encodes information about")
        assert row.verdict == expected and "colours 0.60" in row.number
    assert best_baseline(tmp_path, "fig6", "knn", ("untrained", "PCA")) == (0.45, "PCA")
    with pytest.raises(LookupError):
        best_baseline(tmp_path, "fig6", "knn", ("untrained", "something else"))


def test_an_untrained_encoder_passes_no_mark(tmp_path):
    """Every run of the plan with codes that score as before training."""
    runs = ["fig3-unet", "fig5-unet", "fig7-unet", "fig2ab-unet", "fig2cd", "fig6", "fig8", "fig9"]
    levels = [
        (f"fig4-{d}-unet", {}, {"t": i / 10}) for d in ("mnist", "cifar") for i in range(1, 11)
    ]
    write(tmp_path, *((run, {}, {}) for run in runs), *levels)
    table = claims(tmp_path).set_index("claim")
    judged = table[table.chapter.isin(["mnist", "steering", "levels", "cifar"])]
    assert len(judged) == 10 and (judged.verdict == NOT_SEEN).all(), judged.verdict


def test_seeds_that_both_sides_have_are_compared(tmp_path):
    write(tmp_path, ("a", {}, {"seeds": 4}), ("b", {}, {"seeds": 3}))
    left, right = same_steps(alive(tmp_path, "a"), alive(tmp_path, "b"))
    assert list(left.index) == list(right.index) == [0, 1, 2]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.24, 0.22, 0.20, 0.17], HELD),
        ([0.24, 0.25, 0.20, 0.17], PART),  # one step goes up
        ([0.24, 0.235, 0.233, 0.23], PART),  # falls, by less than half of what PCA takes
        ([0.2, 0.2, 0.2, 0.3], NOT_SEEN),
    ],
)
def test_diversity_falls_by_half_of_what_codes_could_take_away(tmp_path, values, expected):
    models = ["fig2ab", "fig11-4", "fig11-8", "fig11-16"]
    rows = [
        {"model": name, "seed": seed, "code": code, "spread": value + 0.001 * seed}
        for name, value in zip([*models, "PCA-2", "PCA-16"], [*values, 0.22, 0.11], strict=True)
        for seed in range(3)
        for code in range(4)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "diversity_seeds_codes.csv", index=False)
    assert verdict(tmp_path, "diversity").verdict == expected


@pytest.mark.parametrize(
    ("peak", "scale", "expected"), [(0.6, 1, HELD), (0.9, 1, EXACT_NOT), (0.6, 0.1, CANNOT)]
)
def test_adversary_goes_to_the_constant_or_elsewhere(tmp_path, peak, scale, expected):
    rows = [
        {"part": "lambda", "setting": "loss", "t": t, "quantity": name, "value": value, "seed": s}
        for t in (0.6, 0.7, 0.9)
        for s in range(3)
        for name, value in (
            ("mass", float(t == (peak if s == 2 else 0.6))),  # one seed of three decides
            ("constant", scale * (1 - t)),
        )
    ]
    table = pd.DataFrame(rows)
    table.to_csv(tmp_path / "burden_seeds.csv", index=False)
    assert verdict(tmp_path, "adversarially").verdict == expected
    table[table.seed < 2].to_csv(tmp_path / "burden_seeds.csv", index=False)
    assert verdict(tmp_path, "adversarially").verdict == UNDECIDED


@pytest.mark.parametrize(("error", "expected"), [((3, 1, 3), HELD), ((1, 3, 3), EXACT_NOT)])
def test_choice_of_sigma_max_is_biased_if_only_the_loss_takes_an_end(tmp_path, error, expected):
    rows = []
    for i, setting in enumerate(("5", "50", "200")):
        values = {"loss": 3.0 - i, "error": error[i], "nats a unit": 1.0, "prior mismatch": 0.0}
        rows += [
            {"part": "sigma_max", "setting": setting, "quantity": name, "value": value, "seed": s}
            for name, value in values.items()
            for s in range(3)
        ]
    table = pd.DataFrame(rows)
    table.to_csv(tmp_path / "burden_seeds.csv", index=False)
    assert verdict(tmp_path, "heavily biased").verdict == expected
    one = (table.seed == 1) & (table.setting == "5") & (table.quantity == "error")
    table.loc[one, "value"] = 0.0  # in one seed the error, too, takes an end
    table.to_csv(tmp_path / "burden_seeds.csv", index=False)
    assert verdict(tmp_path, "heavily biased").verdict == EXACT_NOT


def test_own_code_is_judged_against_both_kinds_of_partner(tmp_path):
    row = {"model": "fig3", "seed": 0, "t": 0.75, "share": 0.97, "high": 0.98, "pairs": 2_000}
    for same, expected in ((0.96, HELD), (0.9, PART)):
        rows = [row | {"partners": "other", "low": 0.96}, row | {"partners": "same", "low": same}]
        rows += [r | {"pairs": 20, "low": 0.1} for r in rows]  # few pairs decide nothing
        pd.DataFrame(rows).to_csv(tmp_path / "pairs_partners.csv", index=False)
        assert verdict(tmp_path, "denoised correctly").verdict == expected
    pd.DataFrame([row | {"low": 0.99}]).to_csv(tmp_path / "pairs_partners.csv", index=False)
    assert verdict(tmp_path, "denoised correctly").verdict == UNDECIDED


def test_the_first_editions_dense_pairs_are_those_of_its_tables():
    found = dense_pair(RESULTS, "knn")
    assert {k: round(v.mean, 2) for k, v in found.items()} == {"KL": 0.24, "L1": 0.17}
    assert not dense_pair(RESULTS, "silhouette")["L1"].beyond(0.01)


def test_what_is_not_decided_yet_says_what_the_first_edition_found():
    table = claims(RESULTS)
    open_claims = table[table.verdict == UNDECIDED]
    assert open_claims["first edition"].str.contains(r"\d\.\d\d").all()
    assert open_claims.number.ne("—").all()  # what is missing
    knn = table[table.claim.str.contains("information about classes")]["first edition"].item()
    assert knn == "kNN, dense network: KL +0.24 (+0.19 to +0.29), L1 +0.17 (+0.06 to +0.27)"


def test_verdicts_of_the_shipped_tables_are_those_that_the_book_speaks_of():
    """A run that changes a verdict changes what the book says, and must be read first."""
    found = claims(RESULTS)
    decided = found[found.verdict != UNDECIDED]
    assert decided.number.str.contains(r"\d").all()
    begins = decided["claim"].str.split().str[:4].str.join(" ")
    assert dict(zip(begins, decided["verdict"], strict=True)) == {
        "An adversarially trained λ": CANNOT,
        "Hyperparameters found by the": EXACT_NOT,
        "“Samples are denoised correctly": PART,
        "MNIST, uniform t: “the": NOT_SEEN,
        "MNIST, uniform t: “z₂": NOT_SEEN,
        "Uniform σ: “the latent": HELD,
        "Uniform σ: “the encoder": HELD,
        "Uniform σ: “… rather": HELD,
    }


def test_marks_say_when_they_were_set():
    table = claims(RESULTS)
    assert table.set.str.len().min() > 5 and table.seen.str.len().min() > 5
    assert np.all(table.mark.str.len() > 10)
