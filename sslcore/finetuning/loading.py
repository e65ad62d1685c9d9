"""One file of labelled rows as a table with the columns of a shape, and those to slice scores by.

Rows without a text or without a label teach nothing and are left out, with a reason. What says that a column is not
what it was taken for (labels of two types, nearly as many classes as rows) is an error that names rows.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from sslcore.corpus.columns import SAMPLE_ROWS, describe
from sslcore.corpus.raw import Rejected
from sslcore.corpus.tables import Row
from sslcore.errors import UserError
from sslcore.finetuning.cells import UnusableError, WrongError, reader_of, several_of, type_of
from sslcore.finetuning.mistakes import numbered
from sslcore.finetuning.row_files import file_rows
from sslcore.finetuning.slice_columns import check_slices, slice_column

if TYPE_CHECKING:
    from sslcore.finetuning.shapes.registry import AnyShape

MOST_CLASSES = 100_000
FEW_CLASSES = 100  # as many may be in a small set, however few rows each has


class Read(NamedTuple):
    """What a file holds."""

    rows: pa.Table
    dropped: list[dict[str, Any]]  # reason; row, from 1 in its file; found: what stood there


def read_rows(
    path: Path,
    shape: "AnyShape",
    *,
    columns: Mapping[str, str] | None = None,
    learnt: bool = True,
    slices: Sequence[str] = (),
) -> Read:
    """The rows of a file, in their order, with the columns of the shape and of its target, and after them `slices`.

    Rows that are not `learnt` are only asked: there may be nearly as many classes as rows.
    `columns` says what a column of the shape is called in the file; of CoNLL's, which have no names, what number it is.
    Raises UserError that names the file and its rows for columns that are missing, cells that cannot be read, and
    targets that the shape cannot learn.
    """
    columns = columns or {}
    wanted = {name: columns.get(name, name) for name in (*shape.columns, shape.target)}
    if strange := sorted(set(columns) - set(wanted)):
        raise UserError(
            f"{strange[0]!r} is no column of shape {shape.kind!r}; it has {', '.join(map(repr, wanted))}: give the "
            "file's name of one of these"
        )
    slices = tuple(dict.fromkeys(slices))
    check_slices(path, slices, wanted)
    rows, names, as_shape = file_rows(path, shape, columns)
    if as_shape and slices:
        raise UserError(
            f"{path}: a file as CoNLL's or SQuAD's has no column {slices[0]!r} to slice by; leave slices out, or write "
            "the rows as a table (parquet, csv, jsonl) that has one"
        )
    mixed = list(rows)
    found = [row for row in mixed if isinstance(row, Row)]
    names = names or list(dict.fromkeys(key for row in found for key in row.cells))
    if as_shape:
        wanted = {name: name for name in wanted}
    _require(path, found, names, wanted, slices)
    classes = "label" in wanted and not several_of(shape)
    if classes:
        _check_labels(found, wanted["label"], path)
    table, dropped, used = _converted(found, wanted, shape, path)
    for name in slices:
        table = table.append_column(name, slice_column(name, used, path))
    if classes and learnt:
        _check_classes(table["label"].to_pylist(), wanted["label"], path)
    if len(table) and shape.kind in ("tags", "span"):
        try:
            shape.labels_of(table)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
    for row in (row for row in mixed if isinstance(row, Rejected)):
        dropped.append({"reason": row.reason, "row": row.origin, "found": row.detail})
    return Read(table, dropped)


def _converted(
    found: Sequence[Row], asked: Mapping[str, str], shape: "AnyShape", path: Path
) -> tuple[pa.Table, list[dict[str, Any]], list[Row]]:
    """The rows that can be used, those that cannot, and what stands in the file for each of the first.

    Raises UserError naming rows with cells that cannot be.
    """
    readers = {name: reader_of(name, shape) for name in asked}
    read: dict[str, list[Any]] = {name: [] for name in asked}
    dropped: list[dict[str, Any]] = []
    used: list[Row] = []
    wrong: list[tuple[int, str, Any, str]] = []  # row, column, cell, what was expected
    for row in found:
        values: dict[str, Any] = {}
        try:
            for name, column in asked.items():
                cell = row.cells.get(column)
                try:
                    values[name] = readers[name](cell)
                except WrongError as error:
                    wrong.append((row.number, column, cell, str(error)))
        except UnusableError as reason:
            dropped.append({"reason": str(reason), "row": row.number, "found": str(row.cells)[:300]})
            continue
        used.append(row)
        for name, value in values.items():
            read[name].append(value)
    if wrong:
        number, column, cell, expected = wrong[0]
        rows = numbered(row - 1 for row, other, _, _ in wrong if other == column)
        raise UserError(
            f"{path}: column {column!r} should hold {expected}; not so in {rows}: row {number:,} has {str(cell)[:60]!r}"
        )
    return pa.table({name: pa.array(read[name], type_of(name, shape)) for name in asked}), dropped, used


def _require(
    path: Path, found: Sequence[Row], names: Sequence[str], asked: Mapping[str, str], slices: Sequence[str]
) -> None:
    missing = [(name, column) for name, column in asked.items() if column not in names]
    there = describe([row.cells for row in found[:SAMPLE_ROWS]], names)
    if missing:
        name, column = missing[0]
        raise UserError(
            f"{path}: there is no column {column!r} for the {name}; name the file's own with "
            f"--column {name}=COLUMN (columns, in Python). The file has: {there}"
        )
    if absent := [column for column in slices if column not in names]:
        raise UserError(f"{path}: there is no column {absent[0]!r} to slice by; name one that the file has: {there}")


def _check_labels(rows: Sequence[Row], column: str, path: Path) -> None:
    """Raise UserError for labels that are text in some rows and numbers in others."""
    kinds: dict[str, tuple[int, Any]] = {}
    for row in rows:
        cell = row.cells.get(column)
        if cell is None or cell == "":
            continue
        kind = "truth values" if isinstance(cell, bool) else "numbers" if isinstance(cell, int | float) else "text"
        kinds.setdefault(kind, (row.number, cell))
    if len(kinds) > 1:
        (one, (first, value)), (other, (second, another)) = list(kinds.items())[:2]
        raise UserError(
            f"{path}: column {column!r} holds {one} and {other}: row {first:,} has {value!r}, row {second:,} has "
            f"{another!r}; write all labels in one way"
        )


def _check_classes(labels: Sequence[str], column: str, path: Path) -> None:
    """Raise UserError for a column with so many classes that it is none of classes: an id, a number, a text."""
    different = list(dict.fromkeys(labels))
    if len(different) >= MOST_CLASSES or (len(different) > FEW_CLASSES and 2 * len(different) > len(labels)):
        raise UserError(
            f"{path}: column {column!r} has {len(different):,} different values in {len(labels):,} rows (such as "
            f"{', '.join(map(repr, different[:3]))}), so it looks like an id or a text and not like classes; name the "
            "column of the classes"
        )
