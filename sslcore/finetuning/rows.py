"""The labelled rows of a corpus split, with labels as class numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from sslcore.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

    from sslcore.corpus.shards import Corpus


class Rows(Protocol):
    """Labelled rows in splits, wherever they come from."""

    def table(self, split: str) -> "pa.Table":
        """The rows of a split that can be used, with the columns of their shape."""

    @property
    def left_out(self) -> dict[str, int]:
        """Why rows of any split cannot be used, and how many."""


class CorpusRows:
    """The documents of a corpus that have a label, for text → class."""

    def __init__(self, corpus: "Corpus") -> None:
        self._corpus = corpus
        self.left_out: dict[str, int] = {}

    def table(self, split: str) -> "pa.Table":
        """Columns text and label. Raises UserError for a corpus without labels."""
        from sslcore.finetuning.shapes.classification import NO_LABELS

        if not self._corpus.labelled:
            raise UserError(NO_LABELS)
        table = self._corpus.table(split, ["text", "label"])
        labelled = table.filter(table["label"].is_valid())
        if unlabelled := len(table) - len(labelled):
            self.left_out["no label"] = self.left_out.get("no label", 0) + unlabelled
        return labelled


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
