"""CSV, TSV and JSON lines, a row at a time.

A row that is wrong in itself (no text, a field too many) is rejected with a reason and reading goes on. A fault that
says the file is not what it was taken for (invalid JSON, a quote never closed, no such column) stops with a UserError.
"""

import csv
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sslcore.corpus.columns import SAMPLE_ROWS, choose_text_column, is_number, label_of, require_column
from sslcore.corpus.compression import chunks
from sslcore.corpus.decoding import decode, lines
from sslcore.corpus.formats import too_long
from sslcore.corpus.raw import MAXIMUM_CHARACTERS, RawDocument, RawFile, Rejected
from sslcore.errors import UserError

DELIMITERS = ",;\t|"
LONGEST_HEADER_CELL = 40


class Row(NamedTuple):
    number: int  # the line it begins on, or the row of a columnar file, from 1
    cells: dict[str, Any]


class Layout(NamedTuple):
    """How a CSV or TSV is written."""

    delimiter: str
    quoted: bool
    header: bool
    columns: list[str]  # column_1, column_2 … without a header


def read_table(
    rows: Iterator[Row | Rejected], columns: Sequence[str], file: RawFile, text: str, label: str, file_label: str | None
) -> Iterator[RawDocument | Rejected]:
    """Documents of a table's rows. `columns` empty: they are the keys of the first rows; `text` empty: it is chosen.

    Raises UserError when a column that was asked for is not there, or no text column can be told.
    """
    ahead = list(itertools.islice(rows, SAMPLE_ROWS))
    if not ahead:
        return  # without rows there is no document, whatever the columns
    sample = [row.cells for row in ahead if isinstance(row, Row)]
    columns = list(columns) or list(dict.fromkeys(key for cells in sample for key in cells))
    where = file.location
    text = require_column(text, "text", sample, columns, where) if text else choose_text_column(sample, columns, where)
    if label:
        require_column(label, "label", sample, columns, file.location)
        if label == text:
            raise UserError(
                f"{file.location}: the column {label!r} cannot be text and label at once; change one of them"
            )
    for row in itertools.chain(ahead, rows):
        yield row if isinstance(row, Rejected) else _document(row, file, text, label, file_label)


def _document(row: Row, file: RawFile, text: str, label: str, file_label: str | None) -> RawDocument | Rejected:
    origin = f"{file.name}:{row.number}"
    value = row.cells.get(text)
    if value is None or value == "" or (isinstance(value, str) and value.isspace()):
        return Rejected(origin, "missing_text", f"{text!r} is empty", "")
    if not isinstance(value, str):
        return Rejected(origin, "not_text", f"{text!r} is a {type(value).__name__}", str(value)[:200])
    if len(value) > MAXIMUM_CHARACTERS:
        return too_long(origin, value)
    if not label:
        return RawDocument(origin, value, file_label)
    return RawDocument(origin, value, label_of(row.cells.get(label), label, f"{file.location}, line {row.number}"))


# -- JSON lines ------------------------------------------------------------------------------------------------------


def json_rows(file: RawFile) -> Iterator[Row | Rejected]:
    """One object a line. Raises UserError naming the line for anything else."""
    for number, line in enumerate(lines(decode(chunks(file))), start=1):
        if len(line) > MAXIMUM_CHARACTERS:
            yield too_long(f"{file.name}:{number}", line)
            continue
        line = line.strip(" \t\r\ufeff")
        if not line:
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise UserError(_json_mistake(file, number, line, error)) from error
        if not isinstance(record, dict):
            raise UserError(
                f"{file.location}, line {number}: expected one JSON object with named fields a line, such as "
                f'{{"text": "…"}}; found a {type(record).__name__}: {line[:60]}'
            )
        yield Row(number, record)


def _json_mistake(file: RawFile, number: int, line: str, error: ValueError) -> str:
    if number == 1 and line.startswith("["):
        mend = f"it looks like one JSON array; write one object a line, for instance with jq -c '.[]' {file.location}"
    elif (number == 1 and line in ("{", "{}")) or (number == 1 and line.startswith("{") and line.count('"') <= 2):
        mend = f"it looks like one JSON object over several lines; write one object a line (jq -c . {file.location})"
    elif number == 1:
        mend = "if the file is not JSON lines, name its format with --set source.format=csv (or tsv, txt, …)"
    else:
        mend = "mend or delete that line"
    what = f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
    return f"{file.location}, line {number}: invalid JSON ({what}): {line[:60]!r}; {mend}"


# -- CSV and TSV -----------------------------------------------------------------------------------------------------


def layout_of(sample: list[str], file: RawFile, text: str, label: str) -> Layout:
    """Delimiter, quoting and header from the first lines.

    There is a header when the first row's cells are short, distinct, no numbers, and none comes again below in its own
    column; or when the columns that were asked for are in it.
    """
    delimiters = "\t" if file.format == "tsv" else DELIMITERS
    delimiter = max(delimiters, key=lambda d: (_consistency(sample, d), -delimiters.index(d)))
    quoted = delimiter != "\t" or _quotes_enclose_fields(sample)
    try:
        rows = [row for row in _parse(iter(sample), delimiter, quoted) if row]
    except csv.Error as error:
        raise UserError(_misread(file, 1, str(error))) from error
    first = [cell.strip() for cell in rows[0]]
    asked = {name for name in (text, label) if name and not name.startswith("@")}
    header = (bool(asked) and asked <= set(first)) or _is_header(first, rows[1:])
    columns = first if header else [f"column_{i}" for i in range(1, len(first) + 1)]
    if len(set(columns)) < len(columns):
        repeated = next(name for name in columns if columns.count(name) > 1)
        raise UserError(f"{file.location}, line 1: two columns are named {repeated!r}; rename one")
    return Layout(delimiter, quoted, header, columns)


def csv_rows(stream: Iterator[str], layout: Layout, file: RawFile) -> Iterator[Row | Rejected]:
    """The rows below the header; those with more or fewer fields than columns are rejected.

    Raises UserError naming the line where a quoted field begins that is never closed.
    """
    ended = False

    def watched() -> Iterator[str]:
        nonlocal ended
        yield from stream
        ended = True

    reader = _parse(watched(), layout.delimiter, layout.quoted)
    width = len(layout.columns)
    header_pending = layout.header
    while True:
        number = reader.line_num + 1  # type: ignore[attr-defined]
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise UserError(_misread(file, number, str(error))) from error
        if fields is None:
            return
        if ended:  # a row was not complete at its line's end, nor at the file's
            raise UserError(_misread(file, number, "the file ends inside a field"))
        if not fields:
            continue
        if header_pending:
            header_pending = False
        elif len(fields) == width:
            yield Row(number, dict(zip(layout.columns, fields, strict=True)))
        else:
            detail = f"{len(fields)} fields, {width} columns"
            shown = layout.delimiter.join(fields)[:200]
            yield Rejected(f"{file.name}:{number}", "wrong_field_count", detail, shown)


def _misread(file: RawFile, number: int, what: str) -> str:
    if "new-line" in what:  # what the csv module says of a carriage return inside a line
        return (
            f"{file.location}, line {number}: a bare carriage return outside quotes; if all lines end so, convert them "
            "(tr '\\r' '\\n' < OLD > NEW)"
        )
    return (
        f'{file.location}, line {number}: {what}; most often a quote (") is opened there and never closed: close it, '
        "or write it twice if it belongs to the text"
    )


def delimited(file: RawFile, text: str, label: str) -> tuple[list[str], Iterator[Row | Rejected]]:
    """Columns and rows of a CSV or TSV file."""
    stream = _lines_with_ends(file)
    sample = list(itertools.islice(stream, SAMPLE_ROWS))
    if not any(line.strip() for line in sample):
        raise UserError(f"{file.location}: the table holds no rows; give one with a header and at least one row")
    layout = layout_of(sample, file, text, label)
    return layout.columns, csv_rows(itertools.chain(sample, stream), layout, file)


def _lines_with_ends(file: RawFile) -> Iterator[str]:
    first = True
    for line in lines(decode(chunks(file))):
        yield (line.removeprefix("\ufeff") if first else line) + "\n"
        first = False


def _parse(stream: Iterator[str], delimiter: str, quoted: bool) -> Iterator[list[str]]:
    csv.field_size_limit(MAXIMUM_CHARACTERS)
    return csv.reader(stream, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)


def _consistency(sample: list[str], delimiter: str) -> float:
    """Share of the rows that have as many fields as the first, 0 when that is one."""
    try:
        widths = [len(row) for row in _parse(iter(sample[:50]), delimiter, delimiter != "\t") if row]
    except csv.Error:
        return 0.0
    if not widths or widths[0] < 2:
        return 0.0
    return sum(width == widths[0] for width in widths) / len(widths)


def _quotes_enclose_fields(sample: list[str]) -> bool:
    """Whether quotes in a TSV enclose fields (as pandas writes them) or stand in the text as they are."""
    as_text = [len(row) for row in _parse(iter(sample), "\t", quoted=False) if row]
    enclosing = [len(row) for row in _parse(iter(sample), "\t", quoted=True) if row]
    if len(set(as_text)) > 1 or len(set(enclosing)) > 1:
        return len(set(as_text)) > len(set(enclosing))  # fields with line ends in them: only one reading is regular
    opened = [cell for line in sample for cell in line.rstrip("\n").split("\t") if cell.startswith('"')]
    return bool(opened) and all(
        len(cell) > 1 and cell.endswith('"') and '"' not in cell[1:-1].replace('""', "") for cell in opened
    )


def _is_header(first: list[str], others: list[list[str]]) -> bool:
    if len(set(first)) < len(first) or not all(first):
        return False
    if any(len(cell) > LONGEST_HEADER_CELL or is_number(cell) or cell[-1] in ".!?。！？" for cell in first):
        return False
    return not any(row[i].strip() == cell for row in others for i, cell in enumerate(first) if i < len(row))
