"""A look at some files of a source and the beginning of each: enough to say what is there, in seconds for any size."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sslcore.corpus import columnar, tables
from sslcore.corpus.compression import decompress, open_raw
from sslcore.corpus.decoding import encoding_of, lines_invalid_in
from sslcore.corpus.files import Found
from sslcore.corpus.raw import RawDocument, RawFile, Rejected
from sslcore.corpus.sources import FilesSource, Source, read_as_written
from sslcore.errors import UserError

FILES = 40
DOCUMENTS = 4000
CHARACTERS = 4_000_000
BEGINNING_BYTES = 1 << 20
ROWS = 1000
TABLES = ("csv", "tsv", "jsonl", "parquet", "arrow")


class Beginning(NamedTuple):
    """The first megabyte of a file, decompressed, and how the rest goes on."""

    data: bytes
    whole: bool
    expansion: float  # decompressed bytes per byte on disk


class FileSample(NamedTuple):
    file: RawFile
    beginning: Beginning
    encoding: str  # "" for columnar files
    strange_lines: int  # lines of the beginning that are invalid in that encoding
    documents: list[RawDocument]
    rejected: list[Rejected]
    complete: bool
    estimated_documents: float
    mistake: str  # the error that stopped reading, or ""


class TableSample(NamedTuple):
    columns: list[str]
    rows: list[dict[str, Any]]
    header: bool


def sample_files(source: Source, found: Found) -> list[FileSample]:
    """Some files, evenly spread over the sorted list, and the beginning of each."""
    chosen = spread(found.files, FILES)
    documents, characters = max(20, DOCUMENTS // len(chosen)), max(20_000, CHARACTERS // len(chosen))
    return [_sample(source, file, documents, characters) for file in chosen]


def spread(items: Sequence[RawFile], most: int) -> list[RawFile]:
    """At most so many of them, at equal distances, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def table_sample(source: Source, file: RawFile) -> TableSample | None:
    """Columns and first rows of a table as they are; None for what is no table, or one that cannot be read."""
    if not isinstance(source, FilesSource) or file.format not in TABLES:
        return None
    header = True
    try:
        if file.format in ("parquet", "arrow"):
            with columnar.columnar(file, "", "") as (columns, rows):
                cells = [row.cells for row in itertools.islice(rows, ROWS)]
        elif file.format == "jsonl":
            cells = _cells(tables.json_rows(file))
            columns = list(dict.fromkeys(key for row in cells for key in row))
        else:
            columns, lines = tables.delimited(file, source.text, source.label)
            cells = _cells(lines)
            header = columns[:1] != ["column_1"]
    except UserError:
        return None
    return TableSample(columns, cells, header)


def _cells(rows: Iterator[tables.Row | Rejected]) -> list[dict[str, Any]]:
    return [row.cells for row in itertools.islice(rows, ROWS) if not isinstance(row, Rejected)]


def _sample(source: Source, file: RawFile, most_documents: int, most_characters: int) -> FileSample:
    documents: list[RawDocument] = []
    rejected: list[Rejected] = []
    mistake = ""
    complete = False
    characters = 0
    beginning = Beginning(b"", False, 1.0)
    try:
        beginning = _beginning(file)
        for document in read_as_written(source, file):
            if isinstance(document, Rejected):
                rejected.append(document)
            else:
                documents.append(document)
                characters += len(document.text)
            if len(documents) + len(rejected) >= most_documents or characters >= most_characters:
                break
        else:
            complete = True
    except UserError as error:
        mistake = str(error)
    is_text = file.format not in ("parquet", "arrow")
    encoding = encoding_of(beginning.data) if is_text else ""
    strange = lines_invalid_in(beginning.data, encoding) if is_text else 0
    estimate = float(len(documents)) if complete or mistake else _estimate(file, beginning, documents)
    return FileSample(file, beginning, encoding, strange, documents, rejected, complete, estimate, mistake)


def _beginning(file: RawFile) -> Beginning:
    data = bytearray()
    with open_raw(file.location) as raw:
        for chunk in decompress(raw, file.compression, file.location):
            data += chunk
            if len(data) >= BEGINNING_BYTES:
                return Beginning(bytes(data), False, len(data) / max(1, raw.tell()))
    return Beginning(bytes(data), True, len(data) / max(1, file.size))


def _estimate(file: RawFile, beginning: Beginning, documents: list[RawDocument]) -> float:
    """How many documents the whole file holds: its lines, estimated by bytes, times the documents per line."""
    if file.format in ("parquet", "arrow"):
        return float(columnar.count_rows(file))
    if not documents:
        return 0.0
    last_line = documents[-1].origin.rpartition(":")[2]
    if not last_line.isdigit():
        return float(len(documents))
    lines_per_byte = (beginning.data.count(b"\n") + 1) / max(1, len(beginning.data))
    return file.size * beginning.expansion * lines_per_byte * len(documents) / int(last_line)
