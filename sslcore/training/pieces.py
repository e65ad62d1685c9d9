"""A corpus cut into pieces that a model can take, and pieces into batches of about equal cost.

A piece is as many whole sentences of one document as fit; a sentence that is too long alone is cut. A batch is pieces
until it holds `batch_tokens` tokens, whatever their lengths: steps cost the same, and nothing is padded.
"""

from typing import TYPE_CHECKING

import numpy as np

from sslcore.training.epochs import EpochOrder

if TYPE_CHECKING:
    from sslcore.tokenization.encoding import EncodedCorpus


def cut_documents(corpus: "EncodedCorpus", longest: int) -> np.ndarray:
    """int64 [pieces + 1]: offsets of pieces of at most `longest` tokens, in the order of the corpus, none empty."""
    sentences = np.unique(np.asarray(corpus.sentence_offsets))
    documents = np.unique(np.asarray(corpus.document_offsets))
    cuts = [0]
    for end in documents[1:].tolist():
        while end - cuts[-1] > longest:
            fits = int(sentences[np.searchsorted(sentences, cuts[-1] + longest, side="right") - 1])
            cuts.append(fits if fits > cuts[-1] else cuts[-1] + longest)
        cuts.append(end)
    return np.array(cuts, np.int64)


class PieceOrder:
    """Which pieces are in the batch of a step; every epoch has all of them in a new order and as many batches."""

    def __init__(self, offsets: np.ndarray, batch_tokens: int, epochs: int, seed: int) -> None:
        self.offsets = offsets
        self.lengths = np.diff(offsets)
        self._order = EpochOrder(len(self.lengths), seed)
        total = int(self.lengths.sum())
        # In a stretch as long as the longest piece some piece begins, so no batch is empty.
        self._per_epoch = max(1, min(-(-total // batch_tokens), total // int(self.lengths.max())))
        self._tokens = total / self._per_epoch
        self._epochs = epochs
        self._bounds: tuple[int, np.ndarray, np.ndarray] = (-1, np.zeros(0), np.zeros(0))

    def __len__(self) -> int:
        return self._per_epoch * self._epochs

    def __call__(self, step: int) -> tuple[np.ndarray, float, float]:
        """(pieces, share of the run before them, after them)."""
        epoch, number = divmod(step, self._per_epoch)
        order, begins = self._epoch(epoch)
        # A piece is in the batch in whose tokens it begins.
        first, last = np.searchsorted(begins, [number * self._tokens, (number + 1) * self._tokens])
        return order[first:last], step / len(self), (step + 1) / len(self)

    def _epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        known, order, begins = self._bounds
        if known != epoch:
            order = self._order(epoch)
            lengths = self.lengths[order]
            begins = np.cumsum(lengths) - lengths
            self._bounds = (epoch, order, begins)
        return order, begins
