"""Where a classifier is better and worse: its accuracy on parts of the rows, by length, language or any column.

Each part is compared with all other rows; an interval that holds no zero is a hint, no proof: of twenty parts that do
not differ, one is expected to look as if it did.

n rows.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from sslcore.errors import UserError
from sslcore.finetuning.calibration import share_interval
from sslcore.finetuning.scores import macro_f1

if TYPE_CHECKING:
    import pyarrow as pa

PARTS = 4  # of a column of numbers, by quantiles
FEW_NUMBERS = 10  # different ones, as stars or years: each is a slice
MOST_VALUES = 20  # of a column of words; rarer ones are taken together
LENGTH = "length"  # characters of the text
OTHERS, NONE = "(others)", "(none)"


class Slice(BaseModel):
    """The rows that have one value of a column, or one range of values."""

    model_config = ConfigDict(frozen=True)

    column: str
    value: str
    rows: int
    accuracy: float
    low: float  # 95 % interval (Wilson)
    high: float
    macro_f1: float
    difference: float | None  # from the accuracy of all other rows; None without any
    difference_low: float | None  # 95 % interval (Newcombe 1998, method 10)
    difference_high: float | None

    @property
    def worse(self) -> bool:
        """Whether the interval of the difference lies below zero."""
        return self.difference_high is not None and self.difference_high < 0


def sliced(
    truth_n: np.ndarray, predicted_n: np.ndarray, columns: "pa.Table", *, by: Sequence[str] = ()
) -> tuple[Slice, ...]:
    """Slices of the rows by each column named, in the order of values. `columns` has a line for each row.

    Without names: by length and language, where there is a column `text` or `language`. More than ten different
    numbers are cut at their quartiles; of other values the 20 most frequent are slices, the rest is one. Raises
    UserError for a column that is not there.
    """
    there = [name for name, needs in ((LENGTH, "text"), ("language", "language")) if needs in columns.column_names]
    hit_n = truth_n == predicted_n
    found = []
    for name in by or there:
        values, names = _numbered(_column(columns, name))
        for place, value in enumerate(names):
            inside = values == place
            rows, hits = int(inside.sum()), int(hit_n[inside].sum())
            low, high = share_interval(hits, rows)
            others, other_hits = len(hit_n) - rows, int(hit_n.sum()) - hits
            between = difference_interval(hits, rows, other_hits, others) if others else (None, None)
            found.append(
                Slice(
                    column=name,
                    value=value,
                    rows=rows,
                    accuracy=hits / rows,
                    low=low,
                    high=high,
                    macro_f1=macro_f1(truth_n[inside], predicted_n[inside]),
                    difference=hits / rows - other_hits / others if others else None,
                    difference_low=between[0],
                    difference_high=between[1],
                )
            )
    return tuple(found)


def difference_interval(hits: int, rows: int, other_hits: int, others: int) -> tuple[float, float]:
    """95 % interval of a difference of shares, from Wilson's of each (Newcombe 1998, method 10)."""
    share, other = hits / rows, other_hits / others
    (low, high), (other_low, other_high) = share_interval(hits, rows), share_interval(other_hits, others)
    below = np.hypot(share - low, other_high - other)
    above = np.hypot(high - share, other - other_low)
    return float(share - other - below), float(share - other + above)


def _column(columns: "pa.Table", name: str) -> list[Any]:
    if name == LENGTH and LENGTH not in columns.column_names and "text" in columns.column_names:
        return [None if text is None else len(text) for text in columns["text"].to_pylist()]
    if name not in columns.column_names:
        raise UserError(
            f"there is no column {name!r} to slice by; there are {', '.join(columns.column_names)}, and {LENGTH} where "
            "there is a text"
        )
    return list(columns[name].to_pylist())


def _numbered(values: Sequence[Any]) -> tuple[np.ndarray, list[str]]:
    """int [n] and the name of each number: which slice each row is in. Every slice has a row."""
    known = [value for value in values if value is not None]
    numeric = bool(known) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in known)
    if numeric and len(set(known)) > FEW_NUMBERS:
        numbers = np.array([np.nan if value is None else value for value in values], float)
        between = np.unique(np.nanquantile(numbers, np.linspace(0, 1, PARTS + 1)[1:-1], method="inverted_cdf"))
        between = between[between < np.nanmax(numbers)]  # so that there is something above it
        places = np.searchsorted(between, numbers, side="left")  # an edge belongs to the part below it
        places[np.isnan(numbers)] = len(between) + 1
        names = [_range(numbers[places == place]) for place in range(len(between) + 1)]
        return places, [*names, NONE] if np.isnan(numbers).any() else names
    said = [NONE if value is None else str(value) for value in values]
    counts: dict[str, int] = {}
    for value in said:
        counts[value] = counts.get(value, 0) + 1
    kept = sorted(counts.keys() - {OTHERS}, key=lambda value: (-counts[value], value))[:MOST_VALUES]
    kept.sort(key=lambda value: (value == NONE, float(value) if numeric and value != NONE else 0.0, value))
    names = [*kept, OTHERS] if len(counts) > len(kept) else kept
    place_of = {value: place for place, value in enumerate(kept)}
    return np.array([place_of.get(value, len(kept)) for value in said]), names


def _range(part: np.ndarray) -> str:
    """From the least to the greatest number."""
    ends = [f"{int(end)}" if end.is_integer() and abs(end) < 2**53 else f"{end:g}" for end in (part.min(), part.max())]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
