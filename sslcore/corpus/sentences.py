"""Where the sentences of a text are.

Rules in the spirit of UAX #29 (sentence boundaries), in one compiled pass over the batch; uniseg, which follows the
annex to the letter, does 12 thousand characters a second in Python, this does 200 million. A sentence ends

* at an empty line, and at a line end unless the next line starts with a small letter (text wrapped at a column);
* after . ! ? and the quotes or brackets that close it, when space follows and what comes next is not a small letter;
  but a full stop does not count after a single letter (J. Smith, e.g., U.S.) or after a title (Dr. Smith);
* after 。！？… and the quotes or brackets that close it, whatever follows.

Spans are trimmed of space, do not overlap, come in order, and together hold every character that is not space.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sslcore.corpus.characters import (
    CLOSER,
    DIGIT,
    FULL_STOP,
    LETTER,
    LOWER,
    NEWLINE,
    SPACE,
    STOP,
    UPPER,
    Codes,
    character_table,
)
from sslcore.kernels.compilation import compiled_in_order

_TITLES = (
    "mr", "mrs", "ms", "dr", "prof", "st", "mt", "vs", "fig", "figs", "eq", "eqs", "cf", "jr", "sr", "gen", "col",
    "capt", "sen", "rep", "rev", "hon", "approx",
)  # fmt: skip
_LONGEST_TITLE = max(map(len, _TITLES))
_DOT = ord(".")


class Sentences(NamedTuple):
    """Those of document d are `offsets[d]` to `offsets[d + 1]`; starts and ends count characters from its beginning."""

    starts: NDArray[np.int32]
    ends: NDArray[np.int32]  # exclusive
    offsets: NDArray[np.int32]


def sentences_of(batch: Codes) -> Sentences:
    """Every sentence of the batch."""
    starts = np.empty(len(batch.codes), np.int32)
    ends = np.empty(len(batch.codes), np.int32)
    offsets = np.zeros(len(batch.offsets), np.int32)
    table = character_table()
    count = _write_sentences(batch.codes, batch.offsets, table.flags, table.lower, _TITLE_KEYS, starts, ends, offsets)
    return Sentences(starts[:count].copy(), ends[:count].copy(), offsets)


def _title_key(word: str) -> int:
    """The letters as one number, base 32: exact for up to 12 of them."""
    key = 0
    for letter in word:
        key = key * 32 + ord(letter) - ord("a") + 1
    return key


_TITLE_KEYS = np.sort(np.array([_title_key(word) for word in _TITLES], np.int64))


@compiled_in_order
def _write_sentences(codes, offsets, flags, lower, title_keys, starts, ends, sentence_offsets):  # type: ignore[no-untyped-def]
    """Fill `starts`, `ends` and `sentence_offsets`; return how many sentences there are."""
    count = 0
    for document in range(len(offsets) - 1):
        first, stop = offsets[document], offsets[document + 1]
        start = first  # of the sentence being read
        i = first
        while i < stop:
            flag = flags[codes[i]]
            i += 1
            if flag & (STOP | FULL_STOP):
                is_end = flag & FULL_STOP > 0
                is_dot = codes[i - 1] == _DOT
                dot = i - 1
                while i < stop and flags[codes[i]] & (STOP | FULL_STOP):
                    is_end = is_end or flags[codes[i]] & FULL_STOP > 0
                    is_dot = False  # several in a row abbreviate nothing
                    i += 1
                while i < stop and flags[codes[i]] & CLOSER:
                    i += 1
                if not is_end:
                    is_end = _next_begins(codes, flags, i, stop) and not (
                        is_dot and _abbreviates(codes, flags, lower, title_keys, first, dot)
                    )
            elif flag & NEWLINE:
                is_end = i < stop and (flags[codes[i]] & NEWLINE > 0 or flags[codes[i]] & LOWER == 0)
            else:
                continue
            if is_end:
                count = _close(codes, flags, first, start, i, starts, ends, count)
                start = i
        count = _close(codes, flags, first, start, stop, starts, ends, count)
        sentence_offsets[document + 1] = count
    return count


@compiled_in_order
def _next_begins(codes, flags, i, stop):  # type: ignore[no-untyped-def]
    """Whether space follows at i, and then something a sentence can begin with."""
    if i == stop or flags[codes[i]] & SPACE == 0:
        return False
    while i < stop and flags[codes[i]] & (SPACE | CLOSER):  # a straight quote opens as well as closes
        i += 1
    return i == stop or flags[codes[i]] & LOWER == 0


@compiled_in_order
def _abbreviates(codes, flags, lower, title_keys, first, dot):  # type: ignore[no-untyped-def]
    """Whether the word that ends before the full stop at `dot` is one letter or a title."""
    key = 0
    length = 0
    i = dot
    while i > first and flags[codes[i - 1]] & (LETTER | DIGIT):
        i -= 1
        length += 1
        if length > _LONGEST_TITLE:
            return False
    if length == 1:
        return flags[codes[i]] & (LOWER | UPPER) > 0
    for k in range(i, dot):
        code = codes[k]
        if code < len(lower):
            code = lower[code]
        if code < 97 or code > 122:
            return False
        key = key * 32 + int(code) - 96
    position = np.searchsorted(title_keys, key)
    return length > 0 and position < len(title_keys) and title_keys[position] == key


@compiled_in_order
def _close(codes, flags, first, start, end, starts, ends, count):  # type: ignore[no-untyped-def]
    """Write the sentence between start and end without the space around it; return how many there are now."""
    while start < end and flags[codes[start]] & SPACE:
        start += 1
    while end > start and flags[codes[end - 1]] & SPACE:
        end -= 1
    if start < end:
        starts[count] = start - first
        ends[count] = end - first
        count += 1
    return count
