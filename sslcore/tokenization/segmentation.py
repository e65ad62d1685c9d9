"""Unicode-aware words from UTF-8, compiled: one pass over the bytes that segments, folds case and copies the words out.

The rules are those of `characters.py`; `word_pattern()` there says the same as a regular expression and the tests hold
the two against each other. Why not a library: Hugging Face's regular expressions split 3 MB/s, `uniseg` is pure Python.
"""

import unicodedata
from collections.abc import Sequence
from functools import cache

import numpy as np
from numba import njit

from sslcore.tokenization.characters import (
    APOSTROPHE,
    CODE_POINTS,
    CONNECTOR,
    EMOJI,
    EXTEND,
    FLAG,
    JOINER,
    KATAKANA,
    LETTER,
    MIDDLE_OF_DIGITS,
    MIDDLE_OF_LETTERS,
    NUMERIC,
    OTHER,
    SINGLE,
    WHITE_SPACE,
    character_classes,
    folding,
    unfolded,
)
from sslcore.tokenization.segments import Segments, utf8


def normalised(texts: Sequence[str]) -> list[str]:
    """The texts in Unicode's form NFC, in which the same letter is always the same characters.

    Raises UserError, naming the position, for what is not a str.
    """
    try:
        return [
            text if text.isascii() or unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)
            for text in texts
        ]
    except AttributeError:
        utf8(texts)  # says which
        raise


def segment_words(texts: Sequence[str], *, lowercase: bool) -> Segments:
    """The words of each text, in NFC; `ends` counts the characters of the NFC form."""
    return _segments(normalised(texts), character_classes(), folding(lowercase))


def segment_at_spaces(texts: Sequence[str]) -> Segments:
    """What stands between the spaces of each text, as it stands."""
    return _segments(texts, _spaces_and_letters(), unfolded())


def _segments(texts: Sequence[str], classes: np.ndarray, folded: np.ndarray) -> Segments:
    data, text_bounds = utf8(texts)
    # No character grows by more than half when folded; between two words of one byte stands another byte.
    words = np.empty(data.size + data.size // 2 + 4, np.uint8)
    most = (data.size + len(texts)) // 2 + 1
    bounds, ends = np.empty(most + 1, np.int64), np.empty(most, np.int64)
    offsets = np.zeros(len(texts) + 1, np.int64)
    size = _segment(data, text_bounds, classes, folded, words, bounds, ends, offsets)
    count = int(offsets[-1])
    return Segments(words[:size], bounds[: count + 1], offsets, ends[:count])


@cache
def _spaces_and_letters() -> np.ndarray:
    """Character classes for which only White_Space separates, uint8[0x110000]."""
    classes = np.full(CODE_POINTS, LETTER, np.uint8)
    classes[list(WHITE_SPACE)] = OTHER
    return classes


def holds_word(segments: Segments) -> np.ndarray:
    """Which of the segments have a character that makes a word (see `characters.py`), bool[W]."""
    return _holds_word(segments.data, segments.bounds, character_classes())


@njit(cache=True, nogil=True, inline="always")
def _decode(data, i):  # type: ignore[no-untyped-def]
    """The code point at byte i of valid UTF-8, and its bytes."""
    b = np.int32(data[i])
    if b < 0x80:
        return b, 1
    if b < 0xE0:
        return (b & 0x1F) << 6 | (np.int32(data[i + 1]) & 0x3F), 2
    if b < 0xF0:
        return (b & 0x0F) << 12 | (np.int32(data[i + 1]) & 0x3F) << 6 | (np.int32(data[i + 2]) & 0x3F), 3
    return (
        (b & 0x07) << 18
        | (np.int32(data[i + 1]) & 0x3F) << 12
        | (np.int32(data[i + 2]) & 0x3F) << 6
        | (np.int32(data[i + 3]) & 0x3F)
    ), 4


@njit(cache=True, nogil=True)
def _put(out, o, c):  # type: ignore[no-untyped-def]
    """Write a folded code point at out[o]; returns the position after it."""
    if c < 0:  # the dotted capital I: i and U+0307
        out[o], out[o + 1], out[o + 2] = 0x69, 0xCC, 0x87
        return o + 3
    if c < 0x80:
        out[o] = c
        return o + 1
    if c < 0x800:
        out[o], out[o + 1] = 0xC0 | c >> 6, 0x80 | c & 0x3F
        return o + 2
    if c < 0x10000:
        out[o], out[o + 1], out[o + 2] = 0xE0 | c >> 12, 0x80 | c >> 6 & 0x3F, 0x80 | c & 0x3F
        return o + 3
    out[o], out[o + 1] = 0xF0 | c >> 18, 0x80 | c >> 12 & 0x3F
    out[o + 2], out[o + 3] = 0x80 | c >> 6 & 0x3F, 0x80 | c & 0x3F
    return o + 4


@njit(cache=True, nogil=True)
def _joins(last, k, joined, paired):  # type: ignore[no-untyped-def]
    """Whether a character of class k goes on with the word whose last character has class `last` (WB3c–WB16)."""
    if last in (LETTER, NUMERIC):
        return k in (LETTER, NUMERIC, CONNECTOR)
    if last == KATAKANA:
        return k in (KATAKANA, CONNECTOR)
    if last == CONNECTOR:
        return k in (LETTER, NUMERIC, KATAKANA, CONNECTOR)
    if last == EMOJI:
        return k == EMOJI and joined
    return last == FLAG and k == FLAG and not paired


@njit(cache=True, nogil=True)
def _segment(data, text_bounds, classes, folded, out, bounds, ends, offsets):  # type: ignore[no-untyped-def]
    o = 0  # bytes written
    n = 0  # words found
    bounds[0] = 0
    for t in range(len(text_bounds) - 1):
        i = text_bounds[t]
        stop = text_bounds[t + 1]
        position = 0  # in characters
        while i < stop:
            c, width = _decode(data, i)
            last = classes[c]
            i += width
            position += 1
            if last == OTHER or last > FLAG:
                continue
            o = _put(out, o, folded[c])
            is_word = last != CONNECTOR
            joined = False  # the character before is a zero-width joiner
            paired = False  # this flag has its two letters
            while i < stop:
                c, width = _decode(data, i)
                k = classes[c]
                if k in (EXTEND, JOINER):
                    joined = k == JOINER
                elif _joins(last, k, joined, paired):
                    paired = k == FLAG
                    joined = False
                    last = k
                    is_word = is_word or k != CONNECTOR
                elif (last == LETTER and (k in (APOSTROPHE, MIDDLE_OF_LETTERS))) or (
                    last == NUMERIC and (k in (APOSTROPHE, MIDDLE_OF_DIGITS))
                ):
                    # Part of the word only if another letter (or digit) follows: look past its combining marks.
                    j = i + width
                    follows = OTHER
                    while j < stop:
                        following, its_width = _decode(data, j)
                        follows = classes[following]
                        if follows != EXTEND and follows != JOINER:
                            break
                        j += its_width
                    if j >= stop or follows != last:
                        break
                    while i < j:
                        c, width = _decode(data, i)
                        o = _put(out, o, folded[c])
                        i += width
                        position += 1
                    continue
                else:
                    break
                o = _put(out, o, folded[c])
                i += width
                position += 1
            if is_word:
                ends[n] = position
                n += 1
                bounds[n] = o
            else:
                o = bounds[n]
        offsets[t + 1] = n
    return o


@njit(cache=True, nogil=True)
def _holds_word(data, bounds, classes):  # type: ignore[no-untyped-def]
    found = np.zeros(len(bounds) - 1, np.bool_)
    for w in range(len(found)):
        i = bounds[w]
        while i < bounds[w + 1]:
            c, width = _decode(data, i)
            k = classes[c]
            if k != OTHER and k != CONNECTOR and k <= FLAG:
                found[w] = True
                break
            i += width
    return found


assert SINGLE < FLAG < EXTEND  # the classes up to FLAG begin a word
