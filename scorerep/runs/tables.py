"""Result tables: CSV files that are written whole, and rows that replace those of the same key."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scorerep.checkpoint import write_whole


def write_table(table: pd.DataFrame, path: Path):
    """A CSV file, whole or not at all."""
    write_whole(path, lambda part: table.to_csv(part, index=False, float_format="%.6g"))


def merge_rows(
    new: pd.DataFrame, path: Path, key: Sequence[str], dtype: dict[str, type] | None = None
) -> pd.DataFrame:
    """Write ``new`` rows into the CSV file at ``path``, and return the whole table.

    Rows with the same ``key`` columns as a new one are replaced; the table is sorted by the key.

    Args:
        dtype: of columns of the file that would be read as another type.

    Raises:
        ValueError: the file has no column of this name, and so no row that could be told apart.
    """
    if path.exists():
        old = pd.read_csv(path, dtype=dtype)
        _check_columns(old, path, key)
        new = pd.concat([old, new])
    table = new.drop_duplicates(key, keep="last").sort_values(key, ignore_index=True)
    write_table(table, path)
    return table


def rows_of(path: Path, key: Mapping[str, Any], **options) -> pd.DataFrame:
    """The rows of the CSV file at ``path`` that have these values; none if there is no file.

    Fractions agree to five digits: a table has six.

    Args:
        key: column → value.
        options: of ``pandas.read_csv``, for columns that it would read as another type.

    Raises:
        ValueError: the file has no column of this name: its rows do not say what they are of.
    """
    if not path.exists():
        return pd.DataFrame(columns=list(key))
    table = pd.read_csv(path, **options)
    _check_columns(table, path, key)
    same = pd.Series(True, index=table.index)
    for name, value in key.items():
        column = table[name]
        fraction = isinstance(value, float) and pd.api.types.is_numeric_dtype(column)
        same &= np.isclose(column, value, rtol=1e-5, atol=1e-9) if fraction else column == value
    return table[same]


def has_row(path: Path, key: Mapping[str, Any], **options) -> bool:
    """Whether ``rows_of`` finds any: what need not be computed again."""
    return not rows_of(path, key, **options).empty


def _check_columns(table: pd.DataFrame, path: Path, names: Iterable[str]):
    for name in names:
        if name not in table:
            raise ValueError(
                f"{path} has no column {name!r}, which tells its rows apart: add it, with the "
                "value that they were made with, or write to another file"
            )
