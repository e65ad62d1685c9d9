"""Rows named in an error message."""

from collections.abc import Iterable

SHOWN = 5


def numbered(rows: Iterable[int]) -> str:
    """The rows' numbers from 1, given those from 0: "row 7", or "rows 1, 2, 3, 4, 5 and 31 more"."""
    numbers = [row + 1 for row in rows]
    if len(numbers) == 1:
        return f"row {numbers[0]:,}"
    shown = ", ".join(f"{number:,}" for number in numbers[:SHOWN])
    return f"rows {shown}" + (f" and {len(numbers) - SHOWN:,} more" if len(numbers) > SHOWN else "")
