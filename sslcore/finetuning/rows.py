"""The labelled rows of a corpus split, with labels as class numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

    from sslcore.corpus.shards import Corpus


@dataclass(frozen=True)
class LabelledRows:
    """n texts with their ids and class numbers, and how many rows of the split could not be used."""

    document_ids: list[str]
    texts: list[str]
    classes: np.ndarray  # int64 [n]: places in the label list
    labelled: int  # rows that could have been used: n, or more when a maximum was given
    unlabelled: int  # rows whose label is empty
    unknown: int  # rows whose label is not in the label list: no classifier trained on it can be right

    def __len__(self) -> int:
        return len(self.texts)


def labelled_rows(
    corpus: "Corpus",
    split: str,
    labels: Sequence[str],
    *,
    maximum: int | None = None,
    generator: np.random.Generator | None = None,
) -> LabelledRows:
    """Rows of `split` whose label is one of `labels`, in order; of more than `maximum`, a draw by `generator`.

    Only the rows that are used are held in memory.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    known = pa.array(labels, pa.string())
    places = [
        pc.index_in(batch["label"], value_set=known, skip_nulls=True) for batch in corpus.batches(split, ["label"])
    ]
    unlabelled = sum(batch["label"].null_count for batch in corpus.batches(split, ["label"]))
    numbers = np.concatenate([np.zeros(0), *(pc.fill_null(part, -1).to_numpy() for part in places)]).astype(np.int64)
    usable = np.flatnonzero(numbers >= 0)
    chosen = usable
    if maximum is not None and len(usable) > maximum:
        assert generator is not None
        chosen = np.sort(generator.permutation(usable)[:maximum])
    columns = ["document_id", "text"]
    schema = pa.schema([corpus.schema.field(name) for name in columns])
    table = pa.Table.from_batches(rows_at(corpus, split, chosen, columns), schema)
    return LabelledRows(
        document_ids=table["document_id"].to_pylist(),
        texts=table["text"].to_pylist(),
        classes=numbers[chosen],
        labelled=len(usable),
        unlabelled=unlabelled,
        unknown=len(numbers) - len(usable) - unlabelled,
    )


def rows_at(corpus: "Corpus", split: str, rows: np.ndarray, columns: list[str]) -> "Iterator[pa.RecordBatch]":
    """Stream these rows of a split (rising row numbers), batch by batch."""
    start = 0
    for batch in corpus.batches(split, columns):
        first, last = np.searchsorted(rows, [start, start + batch.num_rows])
        yield batch.take(rows[first:last] - start)
        start += batch.num_rows
