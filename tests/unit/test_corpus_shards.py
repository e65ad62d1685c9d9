"""Shards: bounded size, order kept, read back as written."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sslcore.contracts import DROPPED, LABELLED_DOCUMENTS
from sslcore.corpus import shards
from sslcore.corpus.shards import Corpus, ShardWriter, documents_schema
from sslcore.errors import UserError


def documents(start: int, count: int, labels: list[str | None] | None = None) -> pa.RecordBatch:
    rows = [
        {
            "document_id": f"{n:032x}",
            "text": f"Text number {n}. Second sentence.",
            "sentences": [{"start": 0, "end": 14}, {"start": 15, "end": 31}],
            "language": "en",
            "label": labels[n - start] if labels else None,
        }
        for n in range(start, start + count)
    ]
    return pa.RecordBatch.from_pylist(rows, LABELLED_DOCUMENTS)


def write(folder: Path, batches: list[pa.RecordBatch], stem: str = "train") -> ShardWriter:
    writer = ShardWriter(folder, stem, documents_schema(labelled=True))
    for batch in batches:
        writer.write(batch)
    writer.close()
    return writer


def test_what_is_written_is_read_in_order(tmp_path: Path) -> None:
    batches = [documents(start, 10, ["b", "a", None, "c", "b"] * 2) for start in range(0, 100, 10)]
    assert write(tmp_path, batches).rows == 100
    for split in ("validation", "test"):
        write(tmp_path, [], split)
    corpus = Corpus.open(tmp_path)
    assert corpus.table("train").equals(pa.Table.from_batches(batches))
    assert list(corpus.texts("train")) == [f"Text number {n}. Second sentence." for n in range(100)]
    assert corpus.labelled
    assert corpus.labels == ["a", "b", "c"]
    assert (corpus.count("train"), corpus.count("validation"), corpus.count("test")) == (100, 0, 0)
    assert list(corpus.texts("test")) == []
    assert corpus.table("train", ["label"]).column_names == ["label"]


def test_shards_are_of_bounded_size_and_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 4000)
    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", 1500)
    write(tmp_path, [documents(start, 10) for start in range(0, 200, 10)])
    paths = sorted(tmp_path.glob("train-*.parquet"))
    assert [path.name for path in paths] == [f"train-{n:05}.parquet" for n in range(len(paths))]
    assert len(paths) > 3
    assert max(pq.read_metadata(path).num_rows for path in paths) <= 60
    assert list(Corpus.open(tmp_path).texts("train")) == [f"Text number {n}. Second sentence." for n in range(200)]


def test_streaming_gives_small_batches(tmp_path: Path) -> None:
    write(tmp_path, [documents(0, 10_000)])
    assert max(batch.num_rows for batch in Corpus.open(tmp_path).batches("train")) <= 4096


def test_one_file_tables_have_no_number(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, "dropped", DROPPED, numbered=False)
    writer.close()
    assert pq.read_table(tmp_path / "dropped.parquet").num_rows == 0


def test_a_folder_that_is_no_corpus_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a corpus"):
        Corpus.open(tmp_path)


def test_an_unknown_split_is_named(tmp_path: Path) -> None:
    write(tmp_path, [documents(0, 1)])
    with pytest.raises(UserError, match="no split 'dev'; there are train, validation, test"):
        Corpus.open(tmp_path).count("dev")
