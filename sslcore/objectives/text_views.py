"""Batches of texts whose vectors a loss compares with each other: two views of each text, or runs of neighbours.

A view is the text itself, which dropout makes another each time (Gao et al. 2021, "SimCSE"), or one of two spans of a
document that meet somewhere (Giorgi et al. 2021, "DeCLUTR", whose adjacent positives these are). In several processes
each embeds every size-th sequence, and all see the vectors of all.

B texts, S sequences: the B first views, then the B second ones.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

import numpy as np

from sslcore.models.framing import frame_pieces, places_of
from sslcore.randomness import numpy_generator
from sslcore.training.epochs import EpochOrder
from sslcore.training.pieces import cut_documents

if TYPE_CHECKING:
    from sslcore.tokenization.encoding import EncodedCorpus

Views = Literal["dropout", "spans"]


@dataclass(frozen=True)
class TextBatch:
    """Framed sequences, one after another: all of a batch, or those of one process."""

    ids: np.ndarray  # int64 [M]
    offsets: np.ndarray  # int64 [sequences here + 1]
    rows: np.ndarray  # int64 [sequences here]: which of the whole batch's these are
    whole: int  # sequences of the whole batch
    tokens: int
    begin: float
    end: float
    processes: int = 1

    @property
    def weight(self) -> float:
        """The loss is of the whole batch in every process, so all count alike."""
        return self.whole / self.processes

    def take(self, chosen: np.ndarray) -> Self:
        places, offsets = places_of(self.offsets, chosen)
        return replace(self, ids=self.ids[places], offsets=offsets, rows=self.rows[chosen])

    def share(self, rank: int, size: int) -> Self:
        return replace(self.take(np.arange(rank, len(self.rows), size)), processes=size)

    def view(self, number: int) -> Self:
        """The first half of the sequences (0) or the second (1), as a batch of its own."""
        half = self.whole // 2
        taken = self.take(np.flatnonzero(self.rows // half == number))
        return replace(taken, rows=taken.rows - number * half, whole=half)


class Texts(NamedTuple):
    """Text t is ids[starts[t]:ends[t]] of the corpus and stands for `tokens[t]` of it: what was left out counts too."""

    starts: np.ndarray
    ends: np.ndarray
    tokens: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    @classmethod
    def between(cls, bounds: np.ndarray, corpus: "EncodedCorpus", least: int) -> "Texts":
        """Between these bounds, those of at least so many tokens with a known word among them."""
        starts, ends = bounds[:-1], bounds[1:]
        known = np.asarray(corpus.ids) >= corpus.tokenizer.first_word_id
        kept = (ends - starts >= least) & np.logical_or.reduceat(known, starts)
        return cls(starts[kept], ends[kept], tokens_until_next(starts[kept], corpus.tokens))


def tokens_until_next(starts: np.ndarray, tokens: int) -> np.ndarray:
    """int64 [n]: from each start to the next, the first from the beginning and the last to the end."""
    return np.diff(np.concatenate([[0], starts[1:], [tokens]])) if len(starts) else np.zeros(0, np.int64)


def sentences_of(corpus: "EncodedCorpus", least: int) -> Texts:
    return Texts.between(np.unique(np.asarray(corpus.sentence_offsets)), corpus, least)


def blocks_of(corpus: "EncodedCorpus", longest: int, least: int) -> Texts:
    """Stretches of a document, of whole sentences where they fit, that two spans of up to `longest` tokens fill."""
    return Texts.between(cut_documents(corpus, 2 * longest), corpus, 2 * least)


class TextOrder:
    """Which texts are in the batch of a step; every epoch has all in a new order, in batches of nearly one size."""

    def __init__(self, texts: int, batch_size: int, epochs: int, seed: int) -> None:
        self._order = EpochOrder(texts, seed)
        self._per_epoch = -(-texts // batch_size)
        self._epochs = epochs

    def __len__(self) -> int:
        return self._per_epoch * self._epochs

    def __call__(self, step: int) -> tuple[np.ndarray, float, float]:
        """(texts, share of the run before them, after them)."""
        epoch, number = divmod(step, self._per_epoch)
        first, last = (self._order.items * n // self._per_epoch for n in (number, number + 1))
        return self._order(epoch)[first:last], step / len(self), (step + 1) / len(self)


class ViewBatches:
    """Two views of texts: the sentence twice, or the two sides of a place drawn in the middle half of a block."""

    def __init__(
        self, corpus: "EncodedCorpus", texts: Texts, views: Views, longest: int, order: TextOrder, seed: int
    ) -> None:
        self._corpus = corpus
        self._texts = texts
        self._views = views
        self._longest = longest
        self._order = order
        self._seed = seed

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, step: int) -> TextBatch:
        chosen, begin, end = self._order(step)
        starts, ends = self._texts.starts[chosen], self._texts.ends[chosen]
        count = len(chosen)
        if self._views == "dropout":
            bounds, pieces = np.stack([starts, ends], axis=1).ravel(), np.tile(2 * np.arange(count), 2)
        else:
            quarter = (ends - starts) // 4
            generator = numpy_generator(self._seed, "cuts", step)
            meet = generator.integers(starts + np.maximum(1, quarter), ends - quarter)
            left, right = np.maximum(starts, meet - self._longest), np.minimum(ends, meet + self._longest)
            bounds = np.stack([left, meet, right], axis=1).ravel()
            pieces = np.concatenate([3 * np.arange(count), 3 * np.arange(count) + 1])
        tokenizer = self._corpus.tokenizer
        frame = (tokenizer.classification_id, tokenizer.separator_id)
        ids, offsets = frame_pieces(self._corpus.ids, bounds, pieces, *frame, longest=self._longest)
        tokens = int(self._texts.tokens[chosen].sum())
        return TextBatch(ids, offsets, np.arange(2 * count), 2 * count, tokens, begin, end)
