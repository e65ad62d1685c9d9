"""A table written batch by batch, in the format that the file's ending names; it appears only when it is whole."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from sslcore.disk import is_full
from sslcore.errors import UserError

ENDINGS = (".parquet", ".csv", ".jsonl")


@contextlib.contextmanager
def writer_to(output: Path) -> Iterator[Callable[[pa.Table], None]]:
    """What writes a batch. Raises UserError for an ending that names no format, and where the disk is full."""
    if output.suffix not in ENDINGS:
        raise UserError(f"{output}: the ending says the format; give one of {', '.join(ENDINGS)}")
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_name(f".{output.name}.unfinished")
    try:
        with contextlib.ExitStack() as opened:
            yield _writing(output.suffix, unfinished, opened)
        unfinished.rename(output)
    except Exception as error:
        if not is_full(error, output.parent):
            raise
        raise UserError(
            f"no space left for {output}: free some, or write to another place. Nothing half-written remains."
        ) from None
    finally:
        unfinished.unlink(missing_ok=True)


def _writing(ending: str, file: Path, opened: contextlib.ExitStack) -> Callable[[pa.Table], None]:
    import pyarrow.csv as csv
    import pyarrow.parquet as pq

    if ending == ".jsonl":
        lines = opened.enter_context(file.open("w", encoding="utf-8"))
        return lambda table: lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in table.to_pylist())
    writers: list[pq.ParquetWriter | csv.CSVWriter] = []

    def write(table: pa.Table) -> None:
        if not writers:
            make = pq.ParquetWriter if ending == ".parquet" else csv.CSVWriter
            writers.append(opened.enter_context(make(file, _flat(table, ending).schema)))
        writers[0].write_table(_flat(table, ending))

    file.touch()
    return write


def _flat(table: pa.Table, ending: str) -> pa.Table:
    """For CSV: lists as JSON."""
    if ending == ".parquet":
        return table
    for place, field in enumerate(table.schema):
        if pa.types.is_nested(field.type):
            values = [
                None if value is None else json.dumps(value, ensure_ascii=False) for value in table[place].to_pylist()
            ]
            table = table.set_column(place, field.name, pa.array(values, pa.string()))
    return table
