"""The words of a batch of documents as hashes, the currency of the quality rules and of deduplication.

A word is a run of letters, digits and their marks, lower-cased; in scripts that write no spaces (Chinese, Japanese,
Thai) every character is a word. So a "word 5-gram" is five words of English or five characters of Chinese, and text
that mixes them needs no special case. This is not the tokenizer: it only has to be the same for the same text.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sslcore.corpus.characters import DIGIT, LETTER, MARK, UNSPACED, Codes, character_table
from sslcore.kernels.compilation import compiled_in_order

_WORD = LETTER | DIGIT
_FNV_START = 0xCBF29CE484222325
_FNV_PRIME = 0x100000001B3
_ORDER = 0x9E3779B97F4A7C15  # odd: multiplying by it loses nothing


class Words(NamedTuple):
    """The words of document d are those from `offsets[d]` to `offsets[d + 1]`."""

    hashes: NDArray[np.uint64]
    lengths: NDArray[np.int32]  # characters
    offsets: NDArray[np.int64]


def words_of(batch: Codes) -> Words:
    """Every word of the batch, in order."""
    table = character_table()
    hashes = np.empty(len(batch.codes), np.uint64)
    lengths = np.empty(len(batch.codes), np.int32)
    offsets = np.zeros(len(batch.offsets), np.int64)
    count = _write_words(batch.codes, batch.offsets, table.flags, table.lower, hashes, lengths, offsets)
    return Words(hashes[:count], lengths[:count], offsets)


def hash_words(*words: str) -> NDArray[np.uint64]:
    """The hashes of these single words, to find them in `Words.hashes`."""
    from sslcore.corpus.characters import codes_of

    return words_of(codes_of([" ".join(words)])).hashes


@compiled_in_order
def mix(value: np.uint64) -> np.uint64:
    """The finalizer of splitmix64 (Steele et al. 2014): every bit of the input moves half the bits of the output."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@compiled_in_order
def hash_ngram(hashes: NDArray[np.uint64], start: int, length: int) -> np.uint64:
    """A hash of `length` words in their order."""
    value = np.uint64(length)
    for k in range(start, start + length):
        value = value * np.uint64(_ORDER) + hashes[k]
    return mix(value)


@compiled_in_order
def _write_words(codes, offsets, flags, lower, hashes, lengths, word_offsets):  # type: ignore[no-untyped-def]
    """Fill `hashes`, `lengths` and `word_offsets`; return how many words there are."""
    count = 0
    for document in range(len(offsets) - 1):
        i = offsets[document]
        stop = offsets[document + 1]
        while i < stop:
            flag = flags[codes[i]]
            if flag & _WORD == 0:
                i += 1
                continue
            start = i
            value = np.uint64(_FNV_START)
            unspaced = flag & UNSPACED
            while True:
                code = codes[i]
                if code < len(lower):
                    code = lower[code]
                value = (value ^ np.uint64(code)) * np.uint64(_FNV_PRIME)
                i += 1
                if i == stop:
                    break
                flag = flags[codes[i]]
                if flag & MARK == 0 and (unspaced or flag & _WORD == 0 or flag & UNSPACED):
                    break
            hashes[count] = mix(value)
            lengths[count] = i - start
            count += 1
        word_offsets[document + 1] = count
    return count
