"""Claims: verdicts follow the numbers, whichever way they fall."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from book.studies.claims import (
    HELD,
    NOT_RUN,
    NOT_SEEN,
    PART,
    claims,
    paired_difference,
)

RESULTS = Path(__file__).parents[2] / "book/results"


def codes(folder, runs):
    """A table of codes: run → list over seeds of {column: value}."""
    rows = []
    for run, seeds in runs.items():
        for seed, values in enumerate(seeds):
            rows.append({"code": "trained", "run": run, "seed": seed, **values})
            for code in ("untrained", "PCA"):
                rows.append({"code": code, "run": run, "seed": seed, "knn": 0.25})
    pd.DataFrame(rows).to_csv(folder / "codes.csv", index=False)


def verdict(folder, words):
    table = claims(folder)
    rows = table[table.claim.str.contains(words, regex=False)]
    assert len(rows) == 1, words
    return rows.iloc[0]


def test_nothing_is_claimed_without_tables(tmp_path):
    table = claims(tmp_path)
    assert (table.verdict == NOT_RUN).all() and len(table) == 12


@pytest.mark.parametrize(
    "l1, kl, expected",
    [(0.8, 0.6, HELD), (0.8, 0.4, PART), (0.1, 0.4, NOT_SEEN)],
)
def test_stroke_width_needs_half_of_the_variance(tmp_path, l1, kl, expected):
    codes(tmp_path, {
        "fig2ab": [{"r2_stroke_width": l1, "knn": 0.3}],
        "fig5": [{"r2_stroke_width": kl, "knn": 0.3}],
    })  # fmt: skip
    row = verdict(tmp_path, "stroke width of MNIST digits")
    assert row.verdict == expected
    assert f"{l1:.2f} (one seed)" in row.number


def test_one_seed_below_the_threshold_is_held_in_part(tmp_path):
    """The mean over the seeds does not hide it."""
    codes(tmp_path, {
        "fig2ab": [{"r2_stroke_width": 0.8, "knn": 0.3}],
        "fig5": [{"r2_stroke_width": v, "knn": 0.3} for v in (0.8, 0.4, 0.8)],
    })  # fmt: skip
    row = verdict(tmp_path, "stroke width of MNIST digits")
    assert row.verdict == PART and "lowest 0.40" in row.number


@pytest.mark.parametrize(
    "high, expected",
    [
        ([0.7, 0.71, 0.69], HELD),
        ([0.31, 0.35, 0.28], NOT_SEEN),  # one seed falls the other way
        ([0.9, 0.5, 0.31], NOT_SEEN),  # within two pooled standard deviations
    ],
)
def test_steering_is_paired_by_seed(tmp_path, high, expected):
    even = [{"knn": v} for v in (0.3, 0.31, 0.29)]
    codes(tmp_path, {
        "fig3": [{"knn": v} for v in high], "fig7": [{"knn": v} for v in high],
        "fig5": even, "fig2ab": even,
    })  # fmt: skip
    assert verdict(tmp_path, "the code holds the class").verdict == expected


def test_two_seeds_are_not_enough(tmp_path):
    rows = [{"knn": 0.7}, {"knn": 0.7}]
    codes(tmp_path, dict.fromkeys(("fig3", "fig7", "fig5", "fig2ab"), rows))
    assert verdict(tmp_path, "the code holds the class").verdict == NOT_RUN


def test_paired_difference_of_known_numbers():
    mean, pooled, same = paired_difference(pd.Series([3.0, 4, 5]), pd.Series([1.0, 1, 1]))
    assert mean == pytest.approx(3) and pooled == pytest.approx((1 / 2) ** 0.5) and same


@pytest.mark.parametrize("peak, expected", [(0.1, HELD), (-0.05, NOT_SEEN)])
def test_band_needs_a_peak_above_both_ends_and_the_untrained(tmp_path, peak, expected):
    rows = []
    for seed in range(3):
        for i in range(10):
            value = peak if i in (5, 6) else -0.1
            rows.append({"code": "trained", "t": (i + 1) / 10, "seed": seed,
                         "silhouette": value + 0.001 * seed})  # fmt: skip
        rows.append({"code": "untrained", "seed": seed, "silhouette": -0.04})
    for name in ("fig4-mnist", "fig4-cifar"):
        pd.DataFrame(rows).to_csv(tmp_path / f"{name}.csv", index=False)
    assert verdict(tmp_path, "A single t").verdict == expected


@pytest.mark.parametrize(
    "values, expected",
    [
        ([0.4, 0.3, 0.2, 0.1], HELD),
        ([0.4, 0.41, 0.2, 0.1], PART),  # one step goes up
        ([0.4, 0.4, 0.4, 0.1], PART),
        ([0.2, 0.2, 0.2, 0.3], NOT_SEEN),
    ],
)
def test_diversity_needs_to_fall_image_by_image(tmp_path, values, expected):
    models = ["fig2ab", "fig11-4", "fig11-8", "fig11-16"]
    images = np.random.default_rng(0)
    common = images.normal(0, 0.3, 32)  # images differ by far more than models
    table = pd.concat(
        pd.DataFrame({"model": name, "finished": finished, "code": range(32),
                      "spread": common + value + images.normal(0, 0.01, 32)})
        # models that were trained on are not the shipped ones
        for finished, order in ((0, values), (500, values[::-1]))
        for name, value in zip(models, order, strict=True)
    )  # fmt: skip
    table.to_csv(tmp_path / "diversity_codes.csv", index=False)
    assert verdict(tmp_path, "diversity").verdict == expected


@pytest.mark.parametrize("peak, expected", [(0.6, HELD), (0.9, NOT_SEEN)])
def test_adversary_goes_to_the_constant_or_elsewhere(tmp_path, peak, expected):
    rows = [
        {"part": "lambda", "setting": "loss", "t": t, "quantity": quantity, "value": value}
        for t in (0.6, 0.7, 0.9)
        for quantity, value in (("mass", float(t == peak)), ("constant", 1 - t))
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "burden.csv", index=False)
    assert verdict(tmp_path, "adversarially").verdict == expected


@pytest.mark.parametrize("error, expected", [((3, 1, 3), HELD), ((1, 3, 3), NOT_SEEN)])
def test_choice_of_sigma_max_is_biased_if_only_the_loss_takes_an_end(tmp_path, error, expected):
    rows = []
    for i, setting in enumerate(("5", "50", "200")):
        values = {"loss": 3.0 - i, "error": error[i], "nats a unit": 1.0, "prior mismatch": 0.0}
        rows += [
            {"part": "sigma_max", "setting": setting, "quantity": name, "value": value}
            for name, value in values.items()
        ]
    pd.DataFrame(rows).to_csv(tmp_path / "burden.csv", index=False)
    assert verdict(tmp_path, "biased by its constant").verdict == expected


def test_own_code_is_judged_by_the_wilson_bound(tmp_path):
    row = {"model": "fig3", "t": 0.7, "share": 0.97, "low": 0.96, "high": 0.98}
    for low, expected in ((0.96, HELD), (0.9, PART), (0.45, NOT_SEEN)):
        pd.DataFrame([row | {"low": low}]).to_csv(tmp_path / "pairs.csv", index=False)
        assert verdict(tmp_path, "denoised correctly").verdict == expected


def test_every_number_of_the_shipped_tables_is_read():
    table = claims(RESULTS)
    ran = table[table.verdict != NOT_RUN]
    assert ran.number.str.contains(r"\d").all()


def test_verdicts_of_the_shipped_tables_are_those_of_the_last_edition():
    """A run that changes a verdict changes what the book says, and must be read first."""
    found = claims(RESULTS)
    assert dict(zip(found["claim"].str.slice(0, 60), found["verdict"], strict=True)) == {
        "Uniform t: one coordinate controls the stroke width of MNIST": PART,
        "Uniform t: the class is only weakly encoded.": HELD,
        "Uniform σ: the code holds the class.": HELD,
        "Uniform σ: the classes separate.": HELD,
        "Uniform σ: rather than fine features such as stroke width.": HELD,
        "A single t: no class at low noise, the class over a band, a ": PART,
        "CIFAR-10, three classes, uniform t: the code holds more of t": HELD,
        "CIFAR-10, ten classes, uniform t: overall brightness.": HELD,
        "Samples are denoised correctly only with the code of their o": HELD,
        "The diversity of samples of one code falls with the dimensio": PART,
        "An adversarially trained λ focuses where the constant is hig": NOT_SEEN,
        "Hyperparameters chosen by the denoising loss are biased by i": HELD,
    }
