"""Words to numbers and back, compiled: an open-addressing hash table over UTF-8 bytes, exact.

Counting or looking up a word costs some 60 ns, a different word 30 bytes and its own. Memory grows with
the number of different words (Heaps: a square root of the text), never with the text.
"""

import numpy as np
import pyarrow as pa
from numba import njit

from sslcore.tokenization.segments import Segments

EMPTY = -1


class Lexicon:
    """Every different word seen, numbered from 0 in the order of first sight, with how often it was seen."""

    def __init__(self) -> None:
        self.size = 0
        self._slots = np.full(1 << 12, EMPTY, np.int32)  # hash → number
        self._hashes = np.empty(1 << 11, np.uint64)
        self._counts = np.zeros(1 << 11, np.int64)
        self._bounds = np.zeros((1 << 11) + 1, np.int64)
        self._data = np.empty(1 << 15, np.uint8)

    @classmethod
    def of(cls, words: list[str]) -> "Lexicon":
        """The lexicon in which word w has the number w. The words must differ."""
        from sslcore.tokenization.segments import utf8

        data, bounds = utf8(words, "word")
        lexicon = cls()
        lexicon.add(Segments(data, bounds, np.array([0, len(words)]), np.zeros(len(words), np.int64)))
        assert lexicon.size == len(words), "words repeat"
        return lexicon

    def add(self, segments: Segments) -> None:
        """Count every word of `segments`."""
        data, bounds = segments.data, segments.bounds
        done = 0
        while True:
            done, self.size = _add(
                data, bounds, done, self._slots, self._hashes, self._counts, self._bounds, self._data, self.size
            )
            if done == len(bounds) - 1:
                return
            self._grow(int(bounds[done + 1] - bounds[done]))

    def read(self, data: np.ndarray, ids: np.ndarray, line_ends: np.ndarray) -> tuple[int, int]:
        """Count the words of a piece of text that stand between ASCII spaces, and number them.

        data uint8, ending at a space or at the end of the text; ids int32 and line_ends int64, both at least half as
        long as data and one more, receive the number of every word and how many words stand before each line's end.
        Returns how many words and lines there were.
        """
        at, words, lines = 0, 0, 0
        while True:
            at, words, lines, self.size, wanted = _read(
                data, at, words, lines, ids, line_ends,
                self._slots, self._hashes, self._counts, self._bounds, self._data, self.size,
            )  # fmt: skip
            if at == len(data):
                return words, lines
            self._grow(wanted)

    def merge(self, other: "Lexicon") -> np.ndarray:
        """Count every word of the other as often as it did; our number of each, int32[other.size]."""
        bounds = other._bounds[: other.size + 1]
        segments = Segments(other._data, bounds, np.array([0, other.size]), np.zeros(0, np.int64))
        self.add(segments)
        numbers = self.look_up(segments, EMPTY)
        self._counts[numbers] += other._counts[: other.size] - 1
        return numbers

    def look_up(self, segments: Segments, unknown: int) -> np.ndarray:
        """The number of every word, int32[W]; `unknown` for those never seen."""
        ids = np.empty(len(segments.bounds) - 1, np.int32)
        _look_up(
            segments.data, segments.bounds, self._slots, self._hashes, self._bounds, self._data, np.int32(unknown), ids
        )
        return ids

    def words(self) -> pa.LargeStringArray:
        bounds = self._bounds[: self.size + 1].copy()
        return pa.LargeStringArray.from_buffers(
            self.size, pa.py_buffer(bounds), pa.py_buffer(self._data[: bounds[-1]].copy())
        )

    def counts(self) -> np.ndarray:
        """How often each word was added, int64[size]."""
        return self._counts[: self.size].copy()

    def _grow(self, bytes_wanted: int) -> None:
        """Make room for as many words again, and for one of `bytes_wanted` bytes."""
        if self.size * 2 >= len(self._slots):
            self._slots = np.full(2 * len(self._slots), EMPTY, np.int32)
            _place(self._slots, self._hashes, self.size)
            room = len(self._slots) // 2
            self._hashes = _longer(self._hashes, room)
            self._counts = _longer(self._counts, room)
            self._bounds = _longer(self._bounds, room + 1)
        used = int(self._bounds[self.size])
        if used + bytes_wanted > len(self._data):
            self._data = _longer(self._data, max(2 * len(self._data), used + bytes_wanted))


def _longer(array: np.ndarray, length: int) -> np.ndarray:
    longer = np.zeros(length, array.dtype)
    longer[: len(array)] = array
    return longer


@njit(cache=True, nogil=True, inline="always")
def _mixed(h):  # type: ignore[no-untyped-def]
    """The bits of a hash mixed once more, because the table takes the low ones."""
    h ^= h >> np.uint64(32)
    h *= np.uint64(0xD6E8FEB86659FD93)
    return h ^ (h >> np.uint64(32))


@njit(cache=True, nogil=True, inline="always")
def _hash(data, start, stop):  # type: ignore[no-untyped-def]
    """FNV-1a over a word."""
    h = np.uint64(0xCBF29CE484222325)
    for i in range(start, stop):
        h = (h ^ np.uint64(data[i])) * np.uint64(0x100000001B3)
    return _mixed(h)


@njit(cache=True, nogil=True, inline="always")
def _find(data, start, stop, h, slots, hashes, bounds, words):  # type: ignore[no-untyped-def]
    """The slot that holds the word, or the empty one where it belongs."""
    mask = np.uint64(len(slots) - 1)
    s = h & mask
    while True:
        w = slots[s]
        if w == EMPTY:
            return s
        if hashes[w] == h and bounds[w + 1] - bounds[w] == stop - start:
            a = bounds[w]
            same = True
            for i in range(stop - start):
                if words[a + i] != data[start + i]:
                    same = False
                    break
            if same:
                return s
        s = (s + np.uint64(1)) & mask


@njit(cache=True, nogil=True)
def _add(data, segment_bounds, done, slots, hashes, counts, bounds, words, size):  # type: ignore[no-untyped-def]
    """Count words from `done` on, until all are counted or there is no room; returns how far it came, and the size."""
    for n in range(done, len(segment_bounds) - 1):
        start, stop = segment_bounds[n], segment_bounds[n + 1]
        h = _hash(data, start, stop)
        s = _find(data, start, stop, h, slots, hashes, bounds, words)
        w = slots[s]
        if w == EMPTY:
            a = bounds[size]
            if 2 * size >= len(slots) or a + stop - start > len(words):
                return n, size
            w = size
            slots[s] = w
            hashes[w] = h
            counts[w] = 0
            for i in range(stop - start):
                words[a + i] = data[start + i]
            size += 1
            bounds[size] = a + stop - start
        counts[w] += 1
    return len(segment_bounds) - 1, size


@njit(cache=True, nogil=True)
def _read(data, at, n, lines, ids, line_ends, slots, hashes, counts, bounds, words, size):  # type: ignore[no-untyped-def]
    """One pass over the bytes: cut, hash, find and count. Stops before a new word of that many bytes without room."""
    while at < len(data):
        byte = data[at]
        if byte == 32 or 9 <= byte <= 13:
            if byte == 10:
                line_ends[lines] = n
                lines += 1
            at += 1
            continue
        start = at
        h = np.uint64(0xCBF29CE484222325)
        while at < len(data) and not (data[at] == 32 or 9 <= data[at] <= 13):
            h = (h ^ np.uint64(data[at])) * np.uint64(0x100000001B3)
            at += 1
        h = _mixed(h)
        s = _find(data, start, at, h, slots, hashes, bounds, words)
        w = slots[s]
        if w == EMPTY:
            a = bounds[size]
            if 2 * size >= len(slots) or a + at - start > len(words):
                return start, n, lines, size, at - start
            w = size
            slots[s], hashes[w], counts[w] = w, h, 0
            for i in range(at - start):
                words[a + i] = data[start + i]
            size += 1
            bounds[size] = a + at - start
        counts[w] += 1
        ids[n] = w
        n += 1
    return at, n, lines, size, 0


@njit(cache=True, nogil=True)
def _look_up(data, segment_bounds, slots, hashes, bounds, words, unknown, ids):  # type: ignore[no-untyped-def]
    for n in range(len(ids)):
        start, stop = segment_bounds[n], segment_bounds[n + 1]
        h = _hash(data, start, stop)
        w = slots[_find(data, start, stop, h, slots, hashes, bounds, words)]
        ids[n] = unknown if w == EMPTY else w


@njit(cache=True, nogil=True)
def _place(slots, hashes, size):  # type: ignore[no-untyped-def]
    mask = np.uint64(len(slots) - 1)
    for w in range(size):
        s = hashes[w] & mask
        while slots[s] != EMPTY:
            s = (s + np.uint64(1)) & mask
        slots[s] = w
