"""The fingerprints of a batch of documents: MinHash signatures over 5-grams of words, and the hash of all words.

The signatures come from rensa (128 permutations of 32-bit hashes, vectorised Rust), fed with shingles hashed here.
"""

import numpy as np
from numpy.typing import NDArray

from sslcore.corpus.characters import codes_of
from sslcore.corpus.deduplication import BANDS, HASHES, SHINGLE_WORDS, Fingerprints
from sslcore.corpus.words import Words, hash_ngram, mix, words_of
from sslcore.kernels.compilation import compiled_in_order

_SEED = 1


def fingerprints_of(ids: NDArray[np.uint64], words: Words) -> Fingerprints:
    """One per document; `ids` [n, 2]. A document without words resembles only itself."""
    shingles, offsets = _shingles_of(words, ids[:, 0])
    from rensa import RMinHash

    matrix = RMinHash.digest_matrix_from_flat_token_hashes(shingles, offsets.astype(np.uint64), HASHES, _SEED)
    # The low bits of a minimum are as good as random, the high ones are mostly zero.
    signatures = np.array(matrix.to_rows(), np.uint32).reshape(-1, HASHES).astype(np.uint16).view(np.uint64)
    all_words = np.empty(len(ids), np.uint64)
    _write_hashes_of_all(words.hashes, words.offsets, ids[:, 0], all_words)
    return Fingerprints(ids, all_words, signatures.reshape(-1, BANDS))


def shingle_set(text: str) -> NDArray[np.uint64]:
    """The sorted, distinct shingles of one clean text."""
    shingles, _ = _shingles_of(words_of(codes_of([text])), np.zeros(1, np.uint64))
    return np.unique(shingles)


def _shingles_of(words: Words, ids: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The shingles of all documents, flat, and where those of each begin. Few words make one shingle."""
    counts = np.maximum(np.diff(words.offsets) - (SHINGLE_WORDS - 1), 1)
    offsets = np.zeros(len(words.offsets), np.int64)
    np.cumsum(counts, out=offsets[1:])
    shingles = np.empty(offsets[-1], np.uint64)
    _write_shingles(words.hashes, words.offsets, ids, offsets, shingles)
    return shingles, offsets


@compiled_in_order
def _write_shingles(hashes, word_offsets, ids, offsets, shingles):  # type: ignore[no-untyped-def]
    for d in range(len(offsets) - 1):
        first = word_offsets[d]
        words = word_offsets[d + 1] - first
        if words == 0:
            shingles[offsets[d]] = mix(ids[d])
        else:
            for k in range(offsets[d + 1] - offsets[d]):
                shingles[offsets[d] + k] = hash_ngram(hashes, first + k, min(words, SHINGLE_WORDS))


@compiled_in_order
def _write_hashes_of_all(hashes, offsets, ids, all_words):  # type: ignore[no-untyped-def]
    for d in range(len(offsets) - 1):
        words = offsets[d + 1] - offsets[d]
        all_words[d] = hash_ngram(hashes, offsets[d], words) if words else mix(ids[d])
