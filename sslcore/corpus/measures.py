"""The counts behind the quality rules, for a batch of documents at a time, in compiled loops.

One pass over the characters (letters, lines, pieces between spaces) and one per n over the words (n-grams of 2 to 10).
In scripts without spaces, where a word of this package is one character and a word of the language nearly two, an
n-gram is 2n characters: with n, one name of five characters said twice would count as repetition.
"""

import numpy as np

from sslcore.corpus.characters import (
    BULLET,
    ELLIPSIS,
    LETTER,
    MARK,
    NEWLINE,
    SPACE,
    UNSPACED,
    Codes,
    character_table,
)
from sslcore.corpus.quality import Measures
from sslcore.corpus.words import Words, hash_ngram, hash_words, mix
from sslcore.kernels.compilation import compiled_in_order

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")

(
    _WORDS, _UNSPACED_WORDS, _PIECES, _PIECE_CHARACTERS, _PIECES_WITH_LETTER, _LETTERS, _SYMBOLS, _BROKEN, _LINES,
    _BULLET_LINES, _ELLIPSIS_LINES, _STOP_WORDS, _REPEATED_LINES, _REPEATED_LINE_CHARACTERS, _COUNTS,
) = range(15)  # fmt: skip
_SHARES = 9  # top 2-, 3-, 4-gram, repeated 5- to 10-gram


def measures_of(batch: Codes, words: Words, *, repetition_from_words: int) -> list[Measures]:
    """One per document. N-grams are counted in documents of at least `repetition_from_words` words; else they are 0."""
    documents = len(batch.offsets) - 1
    counts = np.zeros((documents, _COUNTS), np.int64)
    _write_counts(batch.codes, batch.offsets, character_table().flags, counts)
    shares = np.zeros((documents, _SHARES), np.float64)
    stop_words = np.sort(hash_words(*STOP_WORDS))
    _write_word_counts(words.hashes, words.lengths, words.offsets, stop_words, repetition_from_words, counts, shares)
    characters = np.diff(batch.offsets).tolist()
    return [
        Measures(length, *row, *share)
        for length, row, share in zip(characters, counts.tolist(), shares.tolist(), strict=True)
    ]


@compiled_in_order
def _write_counts(codes, offsets, flags, counts):  # type: ignore[no-untyped-def]
    """Everything that is counted by character, piece or line."""
    line_hashes = np.empty(64, np.uint64)
    line_lengths = np.empty(64, np.int64)
    for d in range(len(offsets) - 1):
        row = counts[d]
        lines = 0
        i = offsets[d]
        stop = offsets[d + 1]
        while i < stop:  # a line
            value = np.uint64(0)
            length = 0
            begins_with_bullet = False
            last = 0  # character that is not space
            last_three_dots = 0
            in_piece = False
            piece_has_letter = False
            while i < stop and flags[codes[i]] & NEWLINE == 0:
                code = codes[i]
                flag = flags[code]
                i += 1
                if flag & SPACE:
                    in_piece = False
                    continue
                if not in_piece:
                    in_piece = True
                    piece_has_letter = False
                    row[_PIECES] += 1
                if flag & LETTER:
                    row[_LETTERS] += 1
                    row[_UNSPACED_WORDS] += flag & UNSPACED > 0
                    if not piece_has_letter:
                        piece_has_letter = True
                        row[_PIECES_WITH_LETTER] += 1
                elif flag & MARK:
                    row[_LETTERS] += 1
                elif code == 0x23 or (flag & ELLIPSIS and flags[last] & ELLIPSIS == 0):
                    row[_SYMBOLS] += 1
                elif code == 0xFFFD:
                    row[_BROKEN] += 1
                if length == 0:
                    begins_with_bullet = flag & BULLET > 0
                length += 1
                last = code
                last_three_dots = last_three_dots + 1 if code == 0x2E else 0
                if last_three_dots == 3:
                    row[_SYMBOLS] += 1
                value = mix(value ^ np.uint64(code))
            i += 1  # the line end
            if length == 0:
                continue
            row[_PIECE_CHARACTERS] += length
            row[_BULLET_LINES] += begins_with_bullet
            row[_ELLIPSIS_LINES] += flags[last] & ELLIPSIS > 0 or last_three_dots >= 3
            if lines == len(line_hashes):
                line_hashes = np.concatenate((line_hashes, np.empty(lines, np.uint64)))
                line_lengths = np.concatenate((line_lengths, np.empty(lines, np.int64)))
            line_hashes[lines] = value
            line_lengths[lines] = length
            lines += 1
        row[_LINES] = lines
        if lines > 1:
            order = np.argsort(line_hashes[:lines])
            for k in range(1, lines):
                if line_hashes[order[k]] == line_hashes[order[k - 1]]:
                    row[_REPEATED_LINES] += 1
                    row[_REPEATED_LINE_CHARACTERS] += line_lengths[order[k]]


@compiled_in_order
def _write_word_counts(hashes, lengths, offsets, stop_words, repetition_from_words, counts, shares):  # type: ignore[no-untyped-def]
    """Everything that is counted by word or n-gram of words."""
    largest = 0
    for d in range(len(offsets) - 1):
        largest = max(largest, offsets[d + 1] - offsets[d])
    size = 2
    while size < 2 * largest:
        size *= 2
    keys = np.zeros(size, np.uint64)
    occurrences = np.zeros(size, np.int32)
    for d in range(len(offsets) - 1):
        first, stop = offsets[d], offsets[d + 1]
        counts[d, _WORDS] = stop - first
        characters = 0
        for k in range(first, stop):
            characters += lengths[k]
            at = np.searchsorted(stop_words, hashes[k])
            if at < len(stop_words) and stop_words[at] == hashes[k]:
                counts[d, _STOP_WORDS] += 1
        stretch = 2 if counts[d, _UNSPACED_WORDS] * 2 > counts[d, _WORDS] else 1
        if stop - first < max(repetition_from_words * stretch, 1):
            continue
        for n in (2, 3, 4):
            shares[d, n - 2] = _top(hashes, lengths, first, stop, n * stretch, keys, occurrences) / characters
        for n in range(5, 11):
            shares[d, n - 2] = _repeated(hashes, lengths, first, stop, n * stretch, keys) / characters
            if shares[d, n - 2] == 0:  # then no longer one repeats either
                break


@compiled_in_order
def _slot(keys, mask, key):  # type: ignore[no-untyped-def]
    """Where the key is in the open hash table, or the free place (0) where it goes."""
    at = np.int64(key & np.uint64(mask))
    while keys[at] != 0 and keys[at] != key:
        at = (at + 1) & mask
    return at


@compiled_in_order
def _clear(keys, words):  # type: ignore[no-untyped-def]
    """Empty as much of the table as that many words need, at most half full; return its mask."""
    size = 2
    while size < 2 * words:
        size *= 2
    keys[:size] = 0
    return size - 1


@compiled_in_order
def _top(hashes, lengths, first, stop, n, keys, occurrences):  # type: ignore[no-untyped-def]
    """Characters in the n-gram that comes most often (the longest of several); 0 when none comes twice."""
    mask = _clear(keys, stop - first)
    most = 1
    characters = 0
    for k in range(first, stop - n + 1):
        key = hash_ngram(hashes, k, n) | np.uint64(1)  # never 0
        at = _slot(keys, mask, key)
        if keys[at] == 0:
            keys[at] = key
            occurrences[at] = 0
        occurrences[at] += 1
        if occurrences[at] >= most and occurrences[at] > 1:
            length = 0
            for j in range(k, k + n):
                length += lengths[j]
            length *= occurrences[at]
            characters = max(characters, length) if occurrences[at] == most else length
            most = occurrences[at]
    return characters


@compiled_in_order
def _repeated(hashes, lengths, first, stop, n, keys):  # type: ignore[no-untyped-def]
    """Characters in n-grams that came before, none counted twice: after a repeated one the search goes on behind it."""
    mask = _clear(keys, stop - first)
    characters = 0
    k = first
    while k < stop - n + 1:
        key = hash_ngram(hashes, k, n) | np.uint64(1)
        at = _slot(keys, mask, key)
        if keys[at] == 0:
            keys[at] = key
            k += 1
            continue
        for j in range(k, k + n):
            characters += lengths[j]
        k += n
    return characters
