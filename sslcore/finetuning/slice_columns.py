"""Columns of a labelled file that scores are sliced by: kept as they are named there, as numbers or as text.

A cell without anything in it is null. A column is of numbers when all its cells are; in CSV, where every cell is text,
when all are written as numbers are: 7 or 2.5, and not 007, which is a code.
"""

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from sslcore.corpus.columns import label_of
from sslcore.corpus.tables import Row
from sslcore.errors import UserError
from sslcore.finetuning.mistakes import numbered

_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
EXACT = 2**53  # integers below are the same as floats


def check_slices(path: Path, slices: Sequence[str], wanted: Mapping[str, str]) -> None:
    """Raise UserError for slices that are a column of the shape, in the file (values of `wanted`) or by name (keys)."""
    read_from = {column: name for name, column in wanted.items()}
    for column in slices:
        if column in read_from:
            raise UserError(
                f"{path}: {column!r} is the column that the rows' {read_from[column]} is read from, not one to slice "
                "by (details.json has the scores of each class); name another column, or leave it out"
            )
        if column in wanted:
            raise UserError(
                f"{path}: a column {column!r} to slice by cannot stand beside the rows' own {column}, which is read "
                f"from {wanted[column]!r}; rename it in the file"
            )


def slice_column(name: str, rows: Sequence[Row], path: Path) -> pa.Array:
    """int64, float64 or string [n], null where there is nothing. Raises UserError naming rows with lists or objects."""
    cells = [_simple(row.cells.get(name)) for row in rows]
    wrong = [row.number - 1 for row, cell in zip(rows, cells, strict=True) if isinstance(cell, list | dict | bytes)]
    if wrong:
        raise UserError(
            f"{path}: column {name!r} should hold one word or number a row to slice by, not a list or an object; not "
            f"so in {numbered(wrong)}"
        )
    known = [cell for cell in cells if cell is not None]
    numbers = [_number(cell) for cell in known]
    if known and None not in numbers:
        whole = all(number.is_integer() and abs(number) < EXACT for number in numbers if number is not None)
        found = iter(numbers)
        values = [None if cell is None else next(found) for cell in cells]
        return pa.array(values, pa.float64()).cast(pa.int64()) if whole else pa.array(values, pa.float64())
    return pa.array([label_of(cell, name, str(path)) for cell in cells], pa.string())


def _simple(cell: Any) -> Any:
    """The cell; None where it says nothing."""
    if isinstance(cell, str):
        return cell.strip() or None
    if isinstance(cell, float | Decimal) and math.isnan(cell):
        return None
    return float(cell) if isinstance(cell, Decimal) else cell


def _number(cell: Any) -> float | None:
    """The number that a cell says; None for anything else, and for what is no finite number."""
    said = _NUMBER.fullmatch(cell) is not None if isinstance(cell, str) else isinstance(cell, int | float)
    if not said or isinstance(cell, bool):
        return None
    number = float(str(cell))  # of an integer past all floats too
    return number if math.isfinite(number) else None
