"""Result tables: CSV files that are written whole, and rows that replace those of the same key."""

from collections.abc import Sequence
from pathlib import Path

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
    """
    if path.exists():
        new = pd.concat([pd.read_csv(path, dtype=dtype), new])
    table = new.drop_duplicates(key, keep="last").sort_values(key, ignore_index=True)
    write_table(table, path)
    return table
