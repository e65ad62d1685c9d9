"""The corpus on disk: parquet shards by split, written with bounded memory and read back as streams."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sslcore.contracts import DOCUMENTS, LABELLED_DOCUMENTS
from sslcore.corpus.splits import SPLITS
from sslcore.errors import UserError

SHARD_BYTES = 64 << 20  # of text, before compression
ROW_GROUP_BYTES = 4 << 20
ROW_GROUP_DOCUMENTS = 1 << 15


class ShardWriter:
    """Parquet files `<stem>-00000.parquet`, … of bounded size; without `stem` numbering, the one file `<stem>.parquet`.

    Rows keep their order. At least one file is written, so that an empty split can be read like any other.
    """

    def __init__(self, folder: Path, stem: str, schema: pa.Schema, *, numbered: bool = True) -> None:
        self._folder, self._stem, self._schema, self._numbered = folder, stem, schema, numbered
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_bytes = self._waiting_rows = 0
        self._writer: pq.ParquetWriter | None = None
        self._shards = 0
        self._shard_bytes = 0
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows == 0:
            return
        self._waiting.append(batch)
        self._waiting_bytes += batch.get_total_buffer_size() if batch.num_columns else 0
        self._waiting_rows += batch.num_rows
        self.rows += batch.num_rows
        if self._waiting_bytes >= ROW_GROUP_BYTES or self._waiting_rows >= ROW_GROUP_DOCUMENTS:
            self._write_row_group()

    def close(self) -> None:
        self._write_row_group()
        if self._shards == 0:
            self._open()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write_row_group(self) -> None:
        if not self._waiting:
            return
        if self._numbered and self._writer is not None and self._shard_bytes >= SHARD_BYTES:
            self._writer.close()
            self._writer = None
        if self._writer is None:
            self._open()
        assert self._writer is not None
        table = pa.Table.from_batches(self._waiting, self._schema)
        self._writer.write_table(table, row_group_size=max(table.num_rows, 1))
        self._shard_bytes += self._waiting_bytes
        self._waiting, self._waiting_bytes, self._waiting_rows = [], 0, 0

    def _open(self) -> None:
        name = f"{self._stem}-{self._shards:05}.parquet" if self._numbered else f"{self._stem}.parquet"
        dictionary = [n for n in ("language", "label", "reason") if n in self._schema.names]  # few values, many rows
        self._writer = pq.ParquetWriter(
            self._folder / name, self._schema, compression="zstd", compression_level=1, use_dictionary=dictionary
        )
        self._shards += 1
        self._shard_bytes = 0


class Corpus:
    """A corpus artefact, opened. Reading streams: a few megabytes are in memory whatever its size."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, list[Path]] = {split: sorted(folder.glob(f"{split}-*.parquet")) for split in SPLITS}
        self._labels: list[str] | None = None
        if not self._files["train"]:
            raise UserError(
                f"{folder} is not a corpus: it has no train-*.parquet; `sslcore ingest` makes one from text"
            )
        self.schema: pa.Schema = pq.read_schema(self._files["train"][0])

    @classmethod
    def open(cls, folder: str | Path) -> "Corpus":
        """The corpus in a folder. Raises UserError if there is none."""
        return cls(Path(folder))

    @property
    def labelled(self) -> bool:
        return "label" in self.schema.names

    @property
    def labels(self) -> list[str]:
        """The labels of the training split, sorted; every label of another split is among them. Empty if unlabelled."""
        if self._labels is None:
            found: set[str] = set()
            if self.labelled:
                for batch in self.batches("train", ["label"]):
                    found.update(batch.column("label").unique().drop_null().to_pylist())
            self._labels = sorted(found)
        return self._labels

    def count(self, split: str) -> int:
        """Documents in the split."""
        return sum(pq.read_metadata(path).num_rows for path in self._shards(split))

    def batches(self, split: str, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The documents of a split, in order, at most a few thousand at a time; only these columns, if named."""
        for path in self._shards(split):
            with pq.ParquetFile(path) as file:
                yield from file.iter_batches(batch_size=4096, columns=columns)

    def texts(self, split: str) -> Iterator[str]:
        for batch in self.batches(split, ["text"]):
            yield from batch.column("text").to_pylist()

    def table(self, split: str, columns: list[str] | None = None) -> pa.Table:
        """A whole split in memory."""
        wanted = columns or self.schema.names
        schema = pa.schema([self.schema.field(name) for name in wanted])
        return pa.Table.from_batches(self.batches(split, wanted), schema)

    def _shards(self, split: str) -> list[Path]:
        if split not in self._files:
            raise UserError(f"no split {split!r}; there are {', '.join(SPLITS)}")
        return self._files[split]


def documents_schema(*, labelled: bool) -> pa.Schema:
    return LABELLED_DOCUMENTS if labelled else DOCUMENTS
