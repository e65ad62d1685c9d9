"""Parquet and Arrow files (IPC file and stream), a batch at a time, only the columns that are needed."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from sslcore.corpus.compression import chunks
from sslcore.corpus.raw import RawFile
from sslcore.corpus.tables import Row
from sslcore.errors import UserError

BATCH_ROWS = 1024


@contextmanager
def columnar(file: RawFile, text: str, label: str) -> Iterator[tuple[list[str], Iterator[Row]]]:
    """Columns and rows of a parquet or Arrow file. Raises UserError naming the file when it is damaged."""
    try:
        with _seekable(file) as source:
            columns, batches = _parquet(source, text, label) if file.format == "parquet" else _arrow(source)
            yield columns, _rows(batches)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, UserError):
            raise
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{file.location}: damaged {file.format} file ({reason}); write or fetch it again") from error


def count_rows(file: RawFile) -> int:
    """How many rows it holds, from its metadata where it has some."""
    with _seekable(file) as source:
        if file.format == "parquet":
            return int(pq.ParquetFile(source).metadata.num_rows)
        return sum(batch.num_rows for batch in _arrow(source)[1])


@contextmanager
def _seekable(file: RawFile) -> Iterator[Any]:
    """Columnar files are read from their end: a compressed one is unpacked into a temporary file, not into memory."""
    if not file.compression:
        if "://" not in file.location:
            yield file.location
            return
        from sslcore.corpus.compression import open_raw

        with open_raw(file.location) as remote:
            yield remote
        return
    with tempfile.TemporaryFile(prefix="sslcore-") as unpacked:
        for chunk in chunks(file):
            unpacked.write(chunk)
        unpacked.seek(0)
        yield unpacked


def _parquet(source: str | IO[bytes], text: str, label: str) -> tuple[list[str], Iterator[pa.RecordBatch]]:
    parquet = pq.ParquetFile(source)
    columns = list(parquet.schema_arrow.names)
    wanted = [name for name in (text, label) if name in columns] if text else None
    return columns, parquet.iter_batches(batch_size=BATCH_ROWS, columns=wanted or None)


def _arrow(source: str | IO[bytes]) -> tuple[list[str], Iterator[pa.RecordBatch]]:
    opened = pa.memory_map(source) if isinstance(source, str) else pa.PythonFile(source, mode="r")
    magic = opened.read(6)
    opened.seek(0)
    if magic == b"ARROW1":
        reader = pa.ipc.open_file(opened)
        return reader.schema.names, (reader.get_batch(i) for i in range(reader.num_record_batches))
    stream = pa.ipc.open_stream(opened)
    return stream.schema.names, iter(stream)


def _rows(batches: Iterator[pa.RecordBatch]) -> Iterator[Row]:
    number = 0
    for batch in batches:
        for start in range(0, batch.num_rows, BATCH_ROWS):
            for cells in batch.slice(start, BATCH_ROWS).to_pylist():
                number += 1
                yield Row(number, cells)
