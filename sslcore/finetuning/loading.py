"""One file of labelled rows as a table with the columns of a shape.

Parquet, Arrow, CSV, TSV and JSON lines as ingestion reads them, compressed or not; CoNLL's columns for tags and SQuAD's
JSON for spans (row_formats.py). In a table a list of tokens or tags is a list, or a text with a space between two.

Rows without a text or without a label teach nothing and are left out, with a reason. What says that a column is not
what it was taken for (labels of two types, nearly as many classes as rows) is an error that names rows.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from sslcore import contracts
from sslcore.corpus.columns import SAMPLE_ROWS, describe, label_of
from sslcore.corpus.compression import suffix_within
from sslcore.corpus.raw import RawFile, Rejected
from sslcore.corpus.tables import Row
from sslcore.errors import UserError
from sslcore.finetuning.mistakes import numbered

if TYPE_CHECKING:
    from sslcore.finetuning.shapes.registry import AnyShape

MOST_CLASSES = 100_000
FEW_CLASSES = 100  # as many may be in a small set, however few rows each has
_SPACE = re.compile(r"[ \t]+")


class Read(NamedTuple):
    """What a file holds."""

    rows: pa.Table
    dropped: list[dict[str, Any]]  # reason; row, from 1 in its file; found: what stood there


class _UnusableError(Exception):
    """A cell that makes its row one to leave out; its argument is the reason."""


class _WrongError(Exception):
    """A cell that cannot be what its column is; its argument says what is expected."""


def read_rows(
    path: Path,
    shape: "AnyShape",
    *,
    columns: Mapping[str, str] | None = None,
    labelled: bool = True,
    learnt: bool = True,
) -> Read:
    """The rows of a file, in their order, with the columns of the shape; with the target's if they are `labelled`.

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
    found, names, rejected, as_shape = _cells(_file_of(path, shape), shape, columns, wanted)
    if as_shape:
        wanted = {name: name for name in wanted}
    asked = {name: of_file for name, of_file in wanted.items() if labelled or name != shape.target}
    _require(path, found, names, asked)
    several = bool(getattr(shape, "multi_label", False))
    classes = "label" in asked and not several
    if classes:
        _check_labels(found, wanted["label"], path)
    table, dropped = _converted(found, asked, shape, several, path)
    if classes and learnt:
        _check_classes(table["label"].to_pylist(), wanted["label"], path)
    if labelled and len(table) and shape.kind in ("tags", "span"):
        try:
            shape.labels_of(table)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
    for row in rejected:
        dropped.append({"reason": row.reason, "row": row.origin, "found": row.detail})
    return Read(table, dropped)


def _converted(
    found: Sequence[Row], asked: Mapping[str, str], shape: "AnyShape", several: bool, path: Path
) -> tuple[pa.Table, list[dict[str, Any]]]:
    """The rows that can be used, and those that cannot. Raises UserError naming those with cells that cannot be."""
    readers = {name: _reader(name, shape, several) for name in asked}
    read: dict[str, list[Any]] = {name: [] for name in asked}
    dropped: list[dict[str, Any]] = []
    wrong: list[tuple[int, str, Any, str]] = []  # row, column, cell, what was expected
    for row in found:
        values: dict[str, Any] = {}
        try:
            for name, column in asked.items():
                cell = row.cells.get(column)
                try:
                    values[name] = readers[name](cell)
                except _WrongError as error:
                    wrong.append((row.number, column, cell, str(error)))
        except _UnusableError as reason:
            dropped.append({"reason": str(reason), "row": row.number, "found": str(row.cells)[:300]})
            continue
        for name, value in values.items():
            read[name].append(value)
    if wrong:
        number, column, cell, expected = wrong[0]
        rows = numbered(row - 1 for row, other, _, _ in wrong if other == column)
        raise UserError(
            f"{path}: column {column!r} should hold {expected}; not so in {rows}: row {number:,} has {str(cell)[:60]!r}"
        )
    return pa.table({name: pa.array(read[name], _type(name, several)) for name in asked}), dropped


# -- files -------------------------------------------------------------------------------------------------------------


class _Cells(NamedTuple):
    rows: list[Row]
    names: list[str]  # of the columns
    rejected: list[Rejected]
    as_shape: bool = False  # whether the columns are called as the shape calls them


def _file_of(path: Path, shape: "AnyShape") -> RawFile:
    from sslcore.corpus.files import find_files

    if not path.is_file():
        raise UserError(f"{path} is no file; give one with rows of shape {shape.kind!r}")
    (file,) = find_files((str(path),), None, None).files
    return file


def _cells(file: RawFile, shape: "AnyShape", columns: Mapping[str, str], wanted: Mapping[str, str]) -> _Cells:
    """The rows as they are in the file."""
    from sslcore.corpus.columnar import columnar
    from sslcore.corpus.tables import delimited, json_rows
    from sslcore.finetuning.row_formats import conll_rows, squad_rows

    if shape.kind == "span" and suffix_within(file.location) == ".json":
        questions = squad_rows(file)
        if questions is not None:
            return _all(questions, [])._replace(as_shape=True)
    if shape.kind == "tags" and file.format == "txt":
        return _all(conll_rows(file, columns), [])._replace(as_shape=True)
    match file.format:
        case "parquet" | "arrow":
            with columnar(file, "", "") as (names, rows):
                return _all(rows, names)
        case "csv" | "tsv":
            names, mixed = delimited(file, wanted[shape.columns[0]], "")  # a first row that names it is a header
            return _all(mixed, names)
        case "jsonl":
            return _all(json_rows(file), [])
    expected = {"tags": "CoNLL, parquet, csv, tsv or jsonl", "span": "SQuAD's json, parquet or jsonl"}
    raise UserError(
        f"{file.location}: rows of shape {shape.kind!r} are read from "
        f"{expected.get(shape.kind, 'parquet, csv, tsv or jsonl')}, not from {file.format}; write them so, or give the "
        "file the ending of what it is"
    )


def _all(rows: Iterator[Any], names: Sequence[str]) -> _Cells:
    mixed = list(rows)
    found = [row for row in mixed if isinstance(row, Row)]
    names = list(names) or list(dict.fromkeys(key for row in found for key in row.cells))
    return _Cells(found, names, [row for row in mixed if isinstance(row, Rejected)])


def _require(path: Path, found: Sequence[Row], names: Sequence[str], asked: Mapping[str, str]) -> None:
    missing = [(name, column) for name, column in asked.items() if column not in names]
    if missing:
        name, column = missing[0]
        there = describe([row.cells for row in found[:SAMPLE_ROWS]], names)
        raise UserError(
            f"{path}: there is no column {column!r} for the {name}; say by columns which it is, as {{{name!r}: …}}. "
            f"The file has: {there}"
        )


# -- cells -------------------------------------------------------------------------------------------------------------


def _reader(name: str, shape: "AnyShape", several: bool) -> Callable[[Any], Any]:
    match name:
        case "tokens" | "tags":
            return _words
        case "answers":
            return _answers
        case "score":
            return _score
        case "label":
            return _labels if several else _label
        case _:
            return _passage if shape.kind == "span" else _text


def _text(cell: Any) -> str:
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        raise _UnusableError("no text")
    if not isinstance(cell, str):
        raise _UnusableError(f"the text is a {type(cell).__name__}")
    return cell


def _passage(cell: Any) -> str:
    """Left out by nobody: the shape names the rows without one."""
    if cell is not None and not isinstance(cell, str):
        raise _WrongError("text")
    return cell or ""


def _label(cell: Any) -> str:
    try:
        label = label_of(cell, "label", "")
    except UserError:
        raise _WrongError(
            "one word or number, not a list or an object (several labels a row are multi_label)"
        ) from None
    if label is None:
        raise _UnusableError("no label")
    return label


def _labels(cell: Any) -> list[str]:
    """An empty list is a row to which no label applies; only nothing at all is no label."""
    if cell is None:
        raise _UnusableError("no label")
    if isinstance(cell, str):
        cell = [part.strip() for part in cell.split("|") if part.strip()]
    if not isinstance(cell, list):
        raise _WrongError("a list of labels, or a text with | between them")
    return [label for one in cell if (label := label_of(one, "label", "")) is not None]


def _score(cell: Any) -> float:
    if cell is None or cell == "":
        raise _UnusableError("no score")
    try:
        score = float(cell)
    except (TypeError, ValueError):
        raise _WrongError("a number") from None
    if not math.isfinite(score):
        raise _UnusableError("no score")
    return score


def _words(cell: Any) -> list[str] | None:
    if cell is None:
        return None
    if isinstance(cell, str):
        return [word for word in _SPACE.split(cell) if word]
    if not isinstance(cell, list) or any(isinstance(one, list | dict) for one in cell):
        raise _WrongError("a list of words, or a text with a space between two")
    return ["" if one is None else str(one) for one in cell]


def _answers(cell: Any) -> list[dict[str, Any]] | None:
    if cell is None:
        return None
    if isinstance(cell, dict) and isinstance(cell.get("text"), list):  # as Hugging Face's datasets have them
        starts = cell.get("answer_start", cell.get("start"))
        cell = [{"text": t, "start": s} for t, s in zip(cell["text"], starts or [], strict=len(cell["text"]) > 0)]
    expected = "a list of answers, each with text and start (or answer_start), in characters; empty for none"
    if not isinstance(cell, list):
        raise _WrongError(expected)
    answers = []
    for one in cell:
        start = one.get("start", one.get("answer_start")) if isinstance(one, dict) else None
        if not isinstance(start, int) or not isinstance(one.get("text"), str):
            raise _WrongError(expected)
        answers.append({"text": one["text"], "start": start})
    return answers


def _type(name: str, several: bool) -> pa.DataType:
    if name in ("tokens", "tags"):
        return pa.list_(pa.string())
    if name == "answers":
        return pa.list_(contracts.ANSWER)
    if name == "score":
        return pa.float64()
    return pa.list_(pa.string()) if name == "label" and several else pa.string()


# -- labels ------------------------------------------------------------------------------------------------------------


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
