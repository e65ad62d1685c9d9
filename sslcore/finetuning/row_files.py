"""The rows of one file, as they are in it: a table, lines of text, CoNLL's columns for tags, SQuAD's JSON for spans."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sslcore.corpus.compression import chunks, suffix_within
from sslcore.corpus.decoding import decode, lines
from sslcore.corpus.raw import RawFile, Rejected
from sslcore.corpus.tables import Row
from sslcore.errors import UserError

if TYPE_CHECKING:
    from sslcore.finetuning.shapes.registry import AnyShape


class FileRows(NamedTuple):
    rows: Iterator[Row | Rejected]  # read as they are asked for
    names: list[str]  # of the columns; empty where only the rows tell
    as_shape: bool = False  # whether the columns are called as the shape calls them


def file_rows(path: Path, shape: "AnyShape", columns: Mapping[str, str], *, text: bool = False) -> FileRows:
    """The rows of a file. `columns`: its names of the shape's columns; of CoNLL's, which have no names, numbers.

    With `text` the lines of a text are rows of one column, text. Raises UserError for what is no such file.
    """
    from sslcore.corpus.columnar import columnar
    from sslcore.corpus.tables import delimited, json_rows
    from sslcore.finetuning.row_formats import conll_rows, squad_rows

    file = _file_of(path, shape)
    if shape.kind == "span" and suffix_within(file.location) == ".json":
        questions = squad_rows(file)
        if questions is not None:
            return FileRows(questions, [], as_shape=True)
    if shape.kind == "tags" and file.format == "txt":
        return FileRows(conll_rows(file, columns), [], as_shape=True)
    match file.format:
        case "parquet" | "arrow":
            with columnar(file, "", "") as (names, _):
                return FileRows(_columnar(file), names)
        case "csv" | "tsv":
            first = shape.columns[0]
            names, rows = delimited(file, columns.get(first, first), "")  # a first row that names it is a header
            return FileRows(rows, names)
        case "jsonl":
            return FileRows(json_rows(file), [])
        case "txt" | "md" if text:
            said = lines(decode(chunks(file)))
            return FileRows((Row(number, {"text": line}) for number, line in enumerate(said, start=1)), ["text"])
    expected = {"tags": "CoNLL, parquet, csv, tsv or jsonl", "span": "SQuAD's json, parquet or jsonl"}
    raise UserError(
        f"{file.location}: rows of shape {shape.kind!r} are read from "
        f"{expected.get(shape.kind, 'parquet, csv, tsv or jsonl')}, not from {file.format}; write them so, or give the "
        "file the ending of what it is"
    )


def _columnar(file: RawFile) -> Iterator[Row | Rejected]:
    from sslcore.corpus.columnar import columnar

    with columnar(file, "", "") as (_, rows):
        yield from rows


def _file_of(path: Path, shape: "AnyShape") -> RawFile:
    from sslcore.corpus.files import find_files

    if not path.is_file():
        raise UserError(f"{path} is no file; give one with rows of shape {shape.kind!r}")
    (file,) = find_files((str(path),), None, None).files
    return file
