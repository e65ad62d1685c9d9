"""A fine-tuned model on the rows of a file, some at a time: in their order, none of them lost.

A row that cannot be answered (a cell is empty or of another type) stands among the others with the reason and no
answer. Memory is that of a batch, whatever the file holds.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sslcore.corpus.columns import SAMPLE_ROWS, choose_text_column, describe
from sslcore.corpus.raw import Rejected
from sslcore.corpus.tables import Row
from sslcore.errors import UserError
from sslcore.finetuning.cells import UnusableError, WrongError, reader_of, type_of
from sslcore.finetuning.row_files import FileRows, file_rows

if TYPE_CHECKING:
    from sslcore.finetuning.model import FineTunedModel

AT_ONCE = 2048  # rows


def answered_file(model: "FineTunedModel", path: Path, columns: Mapping[str, str]) -> Iterator[pa.Table]:
    """`answered`, of a file in any format that the model's shape is read from, or of the lines of a text."""
    return answered(model, file_rows(path, model.description.shape, columns, text=True), columns, str(path))


def answered(model: "FineTunedModel", source: FileRows, columns: Mapping[str, str], where: str) -> Iterator[pa.Table]:
    """A table for each AT_ONCE rows: row (from 1), the model's columns, what it answers, and the reason if it cannot.

    `columns`: the file's name of a column, by the model's; that of a model of texts is found if there is no doubt.
    Raises UserError that lists what there is when a column is not.
    """
    ahead = list(islice(source.rows, SAMPLE_ROWS))
    names = _names(model, source, ahead, columns, where)
    schema, stream, number = _schema(model), chain(ahead, source.rows), 0
    while batch := list(islice(stream, AT_ONCE)):
        read = [_read(model, row, names) for row in batch]
        usable = [cells for cells, reason in read if not reason]
        said = iter(model.answers(pa.Table.from_pylist(usable)).to_pylist()) if usable else iter(())
        answers = [
            {"row": number + place, **cells, **({} if reason else next(said)), "reason": reason or None}
            for place, (cells, reason) in enumerate(read, start=1)
        ]
        number += len(batch)
        yield pa.Table.from_pylist(answers, schema=schema)


def write_answers(tables: Iterable[pa.Table], output: Path) -> dict[str, Any]:
    """Write them to a Parquet, CSV or JSON lines file, by its ending; the file appears only when it is whole.

    Returns how many rows there are, and how many of them could not be answered, by reason.
    """
    from sslcore.serving.writing import writer_to

    rows = 0
    reasons: dict[str, int] = {}
    with writer_to(output) as write:
        for table in tables:
            write(table)
            rows += len(table)
            for reason in table["reason"].drop_null().to_pylist():
                reasons[reason] = reasons.get(reason, 0) + 1
    return {"output": str(output), "rows": rows, "not_answered": reasons}


def _names(
    model: "FineTunedModel", source: FileRows, ahead: list[Row | Rejected], columns: Mapping[str, str], where: str
) -> dict[str, str]:
    """The file's name of each column that the model reads."""
    asked = model.description.shape.columns
    if source.as_shape:
        return {ours: ours for ours in asked}
    sample = [row.cells for row in ahead if isinstance(row, Row)]
    there = source.names or list(dict.fromkeys(name for cells in sample for name in cells))
    names = {ours: columns.get(ours, ours) for ours in asked}
    if asked == ("text",) and "text" not in columns and "text" not in there and there:
        names["text"] = choose_text_column(sample, there, where, "--column text=COLUMN")
    if missing := [ours for ours in asked if names[ours] not in there and there]:
        raise UserError(
            f"{where}: there is no column {names[missing[0]]!r} for the {missing[0]}; name the file's own with "
            f"--column {missing[0]}=COLUMN. It has: {describe(sample, there)}"
        )
    return names


def _schema(model: "FineTunedModel") -> pa.Schema:
    shape = model.description.shape
    inputs = [pa.field(name, type_of(name, shape)) for name in shape.columns]
    example = {field.name: ["a"] if pa.types.is_list(field.type) else "a" for field in inputs}
    said = model.answers(pa.Table.from_pylist([example], schema=pa.schema(inputs))).schema
    return pa.schema([pa.field("row", pa.int64()), *inputs, *said, pa.field("reason", pa.string())])


def _read(model: "FineTunedModel", row: Row | Rejected, names: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """The model's columns of a row, and why it cannot be answered, or nothing."""
    if isinstance(row, Rejected):
        return dict.fromkeys(names), f"{row.reason}: {row.detail}"
    cells: dict[str, Any] = dict.fromkeys(names)
    reasons = []
    for ours, theirs in names.items():
        cell = row.cells.get(theirs)
        if isinstance(cell, str) and pa.types.is_string(type_of(ours, model.description.shape)):
            cells[ours] = cell.encode(errors="replace").decode()  # what cannot be answered stands as it was
        try:
            cells[ours] = reader_of(ours, model.description.shape)(cell)
            if not cells[ours]:
                reasons.append(f"{theirs}: empty")
        except UnusableError as error:
            reasons.append(f"{theirs}: {error}")
        except WrongError as error:
            reasons.append(f"{theirs}: expected {error}")
    return cells, "; ".join(reasons)
