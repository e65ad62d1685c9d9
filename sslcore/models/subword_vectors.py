"""Word vectors with an answer for words never seen: the mean of their n-grams' vectors.

The table holds one row a token of the vocabulary, its finished vector, and behind them one row for each bucket that
some n-gram of the vocabulary falls into. A text's ids are its words; for an unknown word, the rows of its n-grams. A
bucket that no word of the vocabulary has was never trained and is left out.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sslcore.models.word_vectors import WordVectors

if TYPE_CHECKING:
    from gensim.models.fasttext import FastTextKeyedVectors

    from sslcore.kernels.subwords import Bags
    from sslcore.tokenization.tokenizer import Tokenizer


class NgramSpace(NamedTuple):
    """Which n-grams count and in how many buckets they fall."""

    shortest: int
    longest: int
    buckets: int

    def of(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """offsets int64 [W + 1] and buckets int32 of the n-grams of each word."""
        from sslcore.kernels.subwords import ngram_buckets
        from sslcore.tokenization.segments import utf8

        data, bounds = utf8(words, "word")
        return ngram_buckets(data, bounds, *self)


class SubwordVectors(WordVectors):
    """WordVectors over V tokens and the R buckets of their n-grams."""

    def __init__(
        self, counts: np.ndarray, weights: np.ndarray, dimensions: int, space: NgramSpace, tokens: list[str]
    ) -> None:
        self.space = space
        trained = np.flatnonzero(counts > 0)
        offsets, buckets = space.of([tokens[i] for i in trained])
        used, places = np.unique(buckets, return_inverse=True)
        self.used = used  # int32 [R], sorted: which bucket each row behind the vocabulary is
        self.bags = _bags(trained, len(counts), offsets, places)
        share = len(trained) / max(1, len(buckets))  # an unknown word should count about as much as a rare one
        super().__init__(np.concatenate([weights, np.full(len(used), share, np.float32)]), dimensions)
        self.vocabulary = len(counts)
        self.known_ids = len(counts) + len(used)

    def word_vectors(self) -> np.ndarray:
        """float32 [V, dimensions], one row a token id."""
        return super().word_vectors()[: self.vocabulary]

    def empty_keyed_vectors(self) -> "FastTextKeyedVectors":
        """gensim's container with the n-grams, yet without words; untrained buckets are zeros there."""
        from gensim.models.fasttext import FastTextKeyedVectors

        keyed = FastTextKeyedVectors(self.dimensions, *self.space)
        keyed.vectors_ngrams = np.zeros((self.space.buckets, self.dimensions), np.float32)
        keyed.vectors_ngrams[self.used] = super().word_vectors()[self.vocabulary :]
        return keyed

    def ids_with_unseen(self, tokenizer: "Tokenizer", texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """As `tokenizer.encode_batch`, with each unknown word replaced by the rows of its n-grams."""
        ids, offsets = tokenizer.encode_batch(texts)
        unknown = np.flatnonzero(ids == tokenizer.unknown_id)
        if not len(unknown):
            return ids, offsets
        of_text = np.searchsorted(offsets, unknown, "right") - 1
        words = [""] * len(unknown)
        for text in np.unique(of_text):
            here = np.flatnonzero(of_text == text)
            cut = tokenizer.words(texts[text])
            if len(cut) != offsets[text + 1] - offsets[text]:  # pieces of words: an unknown piece has no spelling
                continue
            for place in here:
                words[place] = cut[unknown[place] - offsets[text]]
        bounds, rows = self.rows_of(words)
        sizes = np.ones(len(ids), np.int64)
        sizes[unknown] = np.diff(bounds)
        ends = np.concatenate([[0], np.cumsum(sizes)])
        expanded = np.empty(ends[-1], np.int32)
        known = np.flatnonzero(ids != tokenizer.unknown_id)
        expanded[ends[known]] = ids[known]
        expanded[np.repeat(ends[unknown] - bounds[:-1], np.diff(bounds)) + np.arange(len(rows))] = rows
        return expanded, ends[offsets]

    def rows_of(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """offsets int64 [W + 1] and the rows of each word's n-grams, as far as they were trained; none for ""."""
        bounds, buckets = self.space.of(words)
        places = np.searchsorted(self.used, buckets).clip(max=len(self.used) - 1)
        trained = self.used[places] == buckets
        empty = np.repeat([not word for word in words], np.diff(bounds))
        kept = trained & ~empty
        before = np.concatenate([[0], np.cumsum(kept)])
        return before[bounds], places[kept].astype(np.int32) + self.vocabulary


def _bags(trained: np.ndarray, vocabulary: int, offsets: np.ndarray, places: np.ndarray) -> "Bags":
    """The rows of each token: its own and those of its n-grams; none for tokens that are not trained."""
    from sslcore.kernels.subwords import Bags

    sizes = np.zeros(vocabulary, np.int64)
    sizes[trained] = np.diff(offsets) + 1
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    rows = np.empty(bounds[-1], np.int32)
    own = bounds[trained]
    rows[own] = trained
    inside = np.repeat(own + 1 - offsets[:-1], np.diff(offsets)) + np.arange(len(places))
    rows[inside] = places + vocabulary
    return Bags(bounds, rows)
