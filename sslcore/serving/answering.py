"""A fine-tuned model on the rows of a file, some at a time: in their order, none of them lost.

A row that cannot be answered (a column is missing, empty or of another type) stands among the others with the reason
and no answer. Memory is that of a batch, whatever the file holds.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sslcore.corpus.raw import Rejected
from sslcore.corpus.tables import Row
from sslcore.errors import UserError

if TYPE_CHECKING:
    from sslcore.finetuning.model import FineTunedModel

AT_ONCE = 2048  # rows
LISTS = ("tokens",)  # columns that hold lists of strings; all others hold a string


def rows_of(path: str) -> Iterator[Row | Rejected]:
    """The rows of a CSV, TSV, JSON lines, Parquet or Arrow file, or the lines of a text as rows with a column text.

    Raises UserError naming the file, and the line where one is to blame.
    """
    from sslcore.corpus import columnar, tables
    from sslcore.corpus.compression import chunks
    from sslcore.corpus.decoding import decode, lines
    from sslcore.corpus.sources import FilesSource, raw_files

    for file in raw_files(FilesSource(paths=(path,))):
        match file.format:
            case "csv" | "tsv":
                yield from tables.delimited(file, "", "")[1]
            case "jsonl":
                yield from tables.json_rows(file)
            case "parquet" | "arrow":
                with columnar.columnar(file, "", "") as (_, rows):
                    yield from rows
            case _:
                yield from (Row(n, {"text": line}) for n, line in enumerate(lines(decode(chunks(file))), start=1))


def answered(
    model: "FineTunedModel", rows: Iterable[Row | Rejected], columns: Mapping[str, str] | None = None
) -> Iterator[pa.Table]:
    """A table for each AT_ONCE rows: row (from 1), the model's columns, what it answers, and the reason if it cannot.

    `columns`: the file's name of a column, by the model's. Raises UserError when the first rows have none of them.
    """
    asked = model.description.shape.columns
    names = {ours: (columns or {}).get(ours, ours) for ours in asked}
    schema = schema_of(model)
    number, stream = 0, iter(rows)
    while batch := list(islice(stream, AT_ONCE)):
        read = [_read(row, names) for row in batch]
        usable = [cells for cells, reason in read if not reason]
        if not number and not usable:
            raise UserError(
                f"none of the first {len(batch)} rows can be answered ({read[0][1]}); the model reads the columns "
                f"{', '.join(asked)}. Name the file's own with --column {asked[0]}=COLUMN"
            )
        said = iter(model.answers(pa.Table.from_pylist(usable)).to_pylist()) if usable else iter(())
        answers = [
            {"row": number + place, **cells, **({} if reason else next(said)), "reason": reason or None}
            for place, (cells, reason) in enumerate(read, start=1)
        ]
        number += len(batch)
        yield pa.Table.from_pylist(answers, schema=schema)


def schema_of(model: "FineTunedModel") -> pa.Schema:
    """The columns of `answered`."""
    asked = model.description.shape.columns
    inputs = [pa.field(name, pa.list_(pa.string()) if name in LISTS else pa.string()) for name in asked]
    example = {name: ["a"] if name in LISTS else "a" for name in asked}
    said = model.answers(pa.Table.from_pylist([example], schema=pa.schema(inputs))).schema
    return pa.schema([pa.field("row", pa.int64()), *inputs, *said, pa.field("reason", pa.string())])


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


def _read(row: Row | Rejected, names: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """The model's columns of a row, and why it cannot be answered, or nothing."""
    if isinstance(row, Rejected):
        return dict.fromkeys(names), f"{row.reason}: {row.detail}"
    cells = {ours: row.cells.get(theirs) for ours, theirs in names.items()}
    for ours, value in cells.items():
        if value is None or value in ("", []):
            return _shown(cells), f"{names[ours]} is missing or empty"
        if not _fits(ours, value):
            wanted = "a list of strings" if ours in LISTS else "a string"
            return _shown(cells), f"{names[ours]} is a {type(value).__name__}, expected {wanted}"
    return cells, ""


def _fits(name: str, value: Any) -> bool:
    if name in LISTS:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    return isinstance(value, str)


def _shown(cells: dict[str, Any]) -> dict[str, Any]:
    """What of a row's cells has the type of its column."""
    return {name: value if _fits(name, value) else None for name, value in cells.items()}
