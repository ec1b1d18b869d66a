"""Every row of book/results/*.csv obeys the bounds of what its columns mean."""

import math

import numpy as np
import pandas as pd
import pytest

from book.tools import chapters, references

TABLES = sorted((chapters.ROOT / "book/results").glob("*.csv"))
SHARES = {"accuracy", "share", "knn", "probe", "sure", "labels_100", "labels_1000"}
AT_MOST_ONE = {"silhouette"}  # and at least −1; r2_… as well, and hardly below 0
POSITIVE = {"seconds", "iterations", "samples", "pairs", "images", "draws", "steps", "evaluations",
            "frechet", "parameters", "gflop_an_image", "megabytes", "seconds_each"}  # fmt: skip
MAY_BE_EMPTY = {  # what does not apply to every row of its kind, or was not measured at first
    "t", "iterations", "standard_error", "none", "none_se", "entropy", "code", "size", "steps",
    "seconds", "peak_mb", "limit", "limit_error",
}  # fmt: skip
AT_SOME_STAGES = {  # by table
    "code_priors": {"gain_nats", "gain_nats_low", "gain_nats_high", "components"},
    "code_swaps": {
        "to_noise",
        "class_of_noise",
        "class_of_noise_low",
        "class_of_noise_high",
        "width_of_noise",
    },
    "runs": {
        "core_seconds",
        "matching",
        *(
            f"{name}{end}"
            for name in ("frechet", "kernel", "sure", "own_class")
            for end in ("", "_low", "_high")
        ),
    },
    "recipe_quality": {"frechet", "frechet_low", "frechet_high", "code_std", "knn"},
}


def test_tables_are_those_on_record():
    """A value that changes is noticed, whether or not a page prints it."""
    now, known = references.table_checksums(), references.known_tables()
    changed = sorted({name for name, _ in now.items() ^ known.items()})
    assert not changed, f"{changed}: read the difference to git's, then make golden"


def problems(table: pd.DataFrame) -> list[str]:
    """One sentence for each column that holds what it cannot."""
    found = []
    numbers = table.select_dtypes("number")
    for column in numbers:
        values, name = numbers[column], str(column)
        stem = name.removesuffix("_low").removesuffix("_high")
        low, high = -math.inf, math.inf
        if stem in SHARES or (name in ("low", "high") and "share" in table):
            low, high = 0.0, 1.0
        elif stem in AT_MOST_ONE:
            low, high = -1.0, 1.0
        elif stem.startswith("r2_"):  # of test images; far below 0 is a fit that went wrong
            low, high = -0.2, 1.0
        elif stem in POSITIVE or name.endswith(("_se", "standard_error")) or stem == "code_std":
            low = 0.0
        elif name == "t" and "schedule" not in table:  # EDM's t is its σ
            low, high = 0.0, 1.0
        given = values.dropna()
        if not np.isfinite(given).all():
            found.append(f"{name} is infinite")
        if ((given < low) | (given > high)).any():
            worst = given[(given < low) | (given > high)].iloc[0]
            found.append(f"{name} is {worst}, not from {low:g} to {high:g}")
    for value, low, high in intervals(table):
        inside = (table[low] <= table[value]) & (table[value] <= table[high])
        unknown = table[[low, value, high]].isna().any(axis=1)
        if not (inside | unknown).all():
            row = table[~(inside | unknown)].iloc[0]
            found.append(f"{value} is {row[value]}, outside its {row[low]} to {row[high]}")
    return found


def intervals(table: pd.DataFrame):
    """(value, low, high) of every interval in a table: named after its value, or low and high."""
    for low in table.columns:
        if low.endswith("_low"):
            value = low.removesuffix("_low")
            yield value, low, f"{value}_high"
    if "low" in table:
        yield ("share" if "share" in table else "diversity"), "low", "high"


@pytest.mark.parametrize("file", TABLES, ids=lambda file: file.stem)
def test_rows_obey_their_bounds(file):
    assert problems(pd.read_csv(file)) == []


@pytest.mark.parametrize("file", TABLES, ids=lambda file: file.stem)
def test_no_number_is_missing_where_every_row_has_one(file):
    """A column is empty for whole kinds of rows (no labels there), or not at all."""
    table = pd.read_csv(file)
    kinds = [c for c in ("code", "data", "learner", "part", "quantity", "source", "route", "input",
                         "run", "sampler", "estimator")
             if c in table and table[c].notna().all()]  # fmt: skip
    groups = table.groupby(kinds) if kinds else [("all rows", table)]
    for kind, rows in groups:
        for column in rows.columns:
            missing = rows[column].isna()
            allowed = MAY_BE_EMPTY | AT_SOME_STAGES.get(file.stem, set())
            assert missing.all() or not missing.any() or column in allowed, (
                f"{column} is missing in {missing.sum()} of {len(rows)} rows of {kind}"
            )


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"share": 1.013, "low": 0.9, "high": 1.0}, "share is 1.013, not from 0 to 1"),
        ({"share": 0.8, "low": 0.9, "high": 1.0}, "share is 0.8, outside its 0.9 to 1.0"),
        ({"accuracy": 0.9, "accuracy_low": 0.8, "accuracy_high": 0.89}, "outside its 0.8 to 0.89"),
        ({"frechet": -1.0}, "frechet is -1.0, not from 0 to inf"),
        ({"silhouette": -1.2}, "silhouette is -1.2"),
        ({"r2_ink": 1.1}, "r2_ink is 1.1"),
        ({"r2_slant": -0.62}, "r2_slant is -0.62"),
        ({"value": math.inf}, "value is infinite"),
        ({"standard_error": -0.1}, "standard_error is -0.1"),
    ],
)
def test_altered_value_is_told(row, said):
    assert any(said in problem for problem in problems(pd.DataFrame([row])))
