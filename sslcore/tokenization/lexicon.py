"""Words to numbers and back, compiled: an open-addressing hash table over UTF-8 bytes, exact.

Counting or looking up a word costs some 25 ns, a different word 40 bytes and its own. Memory grows with
the number of different words (Heaps: a square root of the text), never with the text.

What is known of a word stands in one record of 32 bytes, half a cache line: its first eight bytes as a number (all
there is to compare for most), where its bytes begin, how many they are, and how often it was seen.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from llvmlite import ir
from numba import extending
from numba.core import types

from sslcore.kernels.compilation import compiled, inlined
from sslcore.kernels.lanes import address, int_in
from sslcore.tokenization.segments import Segments

EMPTY = -1
HEAD, BEGIN, LENGTH, COUNT = range(4)  # columns of a record
RECORD = 32  # bytes
_intrinsic: Any = extending.intrinsic  # its functions are called without the first argument, unknown to its type
SEED = np.uint64(0xCBF29CE484222325)


class Lexicon:
    """Every different word seen, numbered from 0 in the order of first sight, with how often it was seen."""

    def __init__(self) -> None:
        self.size = 0
        self._slots = np.full(1 << 12, EMPTY, np.int32)  # hash → number
        self._records = _records(1 << 11)
        self._data = np.zeros(1 << 15, np.uint8)

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
            done, self.size = _add(data, bounds, done, self._slots, self._records, self._data, self.size)
            if done == len(bounds) - 1:
                return
            self._grow(int(bounds[done + 1] - bounds[done]))

    def read(self, data: np.ndarray, ids: np.ndarray, line_ends: np.ndarray) -> tuple[int, int]:
        """Count the words of a piece of text that stand between ASCII spaces, and number them.

        data uint8, ending at a space or at the end of the text; ids int32, at least half as long as data and one more,
        and line_ends int64, as long as data, receive the number of every word and how many words stand before the end
        of each line. Returns how many words and lines there were.
        """
        at, words, lines = 0, 0, 0
        while True:
            at, words, lines, self.size, wanted = _read(
                data, at, words, lines, ids, line_ends,
                self._slots, self._records, self._data, self.size,
            )  # fmt: skip
            if at == len(data):
                return words, lines
            self._grow(wanted)

    def merge(self, other: "Lexicon") -> np.ndarray:
        """Count every word of the other as often as it did; our number of each, int32[other.size]."""
        numbers, done = np.empty(other.size, np.int32), 0
        while True:
            done, self.size, wanted = _merge(
                other._records, other._data, done, numbers, self._slots, self._records, self._data, self.size
            )
            if done == other.size:
                return numbers
            self._grow(wanted)

    def look_up(self, segments: Segments, unknown: int) -> np.ndarray:
        """The number of every word, int32[W]; `unknown` for those never seen."""
        ids = np.empty(len(segments.bounds) - 1, np.int32)
        _look_up(segments.data, segments.bounds, self._slots, self._records, self._data, np.int32(unknown), ids)
        return ids

    def words(self) -> pa.LargeStringArray:
        lengths = self._records[: self.size, LENGTH].astype(np.int64)
        bounds = np.concatenate([[0], np.cumsum(lengths)])
        return pa.LargeStringArray.from_buffers(
            self.size, pa.py_buffer(bounds), pa.py_buffer(self._data[: bounds[-1]].copy())
        )

    def counts(self) -> np.ndarray:
        """How often each word was added, int64[size]."""
        return self._records[: self.size, COUNT].astype(np.int64)

    def _grow(self, bytes_wanted: int) -> None:
        """Make room for as many words again, and for one of `bytes_wanted` bytes."""
        if self.size * 2 >= len(self._slots):
            self._slots = np.full(2 * len(self._slots), EMPTY, np.int32)
            longer = _records(len(self._slots) // 2)
            longer[: self.size] = self._records[: self.size]
            self._records = longer
            _place(self._slots, self._records, self._data, self.size)
        last = self._records[self.size - 1]
        used = int(last[BEGIN] + last[LENGTH]) if self.size else 0
        if used + bytes_wanted > len(self._data):
            longer_data = np.zeros(max(2 * len(self._data), used + bytes_wanted), np.uint8)
            longer_data[:used] = self._data[:used]
            self._data = longer_data


@compiled
def renumber(numbers: np.ndarray, ids: np.ndarray) -> None:
    """Each number n becomes ids[n], in place; both int32. Five times as fast as numpy's indexing."""
    table = address(ids, 0)
    for i in range(len(numbers)):
        numbers[i] = int_in(table, numbers[i])


def _records(n: int) -> np.ndarray:
    """Room for n records, none of which lies across two cache lines."""
    room = np.zeros(4 * n + 8, np.uint64)
    start = -room.ctypes.data % 64 // 8
    return room[start : start + 4 * n].reshape(n, 4)


# Texts, words, slots and records are given by their addresses, and what is called from a loop is given nothing else:
# numba counts references to arrays there, with locked instructions, which took a third of the time.


def _loaded(kind: Any, bits: int) -> Any:
    @_intrinsic
    def load(typing, place):  # type: ignore[no-untyped-def]
        """The number that begins at an address, wherever that is."""

        def lower(context, builder, sig, args):  # type: ignore[no-untyped-def]
            return builder.load(builder.inttoptr(args[0], ir.IntType(bits).as_pointer()), align=1)

        return kind(types.int64), lower

    return load


_load, _byte = _loaded(types.uint64, 64), _loaded(types.uint8, 8)


@inlined
def _chunk(at, stop, end):  # type: ignore[no-untyped-def]
    """The bytes from `at` to `stop`, eight at most, as one uint64; zeros where there are fewer. None lie past `end`."""
    if at + 8 <= end:
        chunk = _load(at)
        if stop - at < 8:
            chunk &= (np.uint64(1) << np.uint64(8 * (stop - at))) - np.uint64(1)
        return chunk
    chunk = np.uint64(0)
    for i in range(min(stop - at, 8)):
        chunk |= np.uint64(_byte(at + i)) << np.uint64(8 * i)
    return chunk


@inlined
def _step(h, chunk):  # type: ignore[no-untyped-def]
    h = (h ^ chunk) * np.uint64(0x9E3779B97F4A7C15)
    return h ^ (h >> np.uint64(29))


@inlined
def _mixed(h, length):  # type: ignore[no-untyped-def]
    """The bits of a hash mixed once more, because the table takes the low ones."""
    h = (h ^ np.uint64(length)) * np.uint64(0xD6E8FEB86659FD93)
    return h ^ (h >> np.uint64(32))


@inlined
def _hash(start, stop, end):  # type: ignore[no-untyped-def]
    """Of a word, eight bytes at a time."""
    h = SEED
    for at in range(start, stop, 8):
        h = _step(h, _chunk(at, stop, end))
    return _mixed(h, stop - start)


@inlined
def _find(start, stop, end, h, slots, mask, records, words, words_end):  # type: ignore[no-untyped-def]
    """The slot that holds the word, or the empty one where it belongs."""
    s = np.int64(h & mask)
    head, length = _chunk(start, stop, end), np.uint64(stop - start)
    while True:
        w = int_in(slots, s)
        if w == EMPTY:
            return s
        record = records + np.int64(w) * RECORD
        if _load(record + 8 * HEAD) == head and _load(record + 8 * LENGTH) == length:
            a = words + np.int64(_load(record + 8 * BEGIN)) - start
            same = True
            for at in range(start + 8, stop, 8):
                if _chunk(a + at, a + stop, words_end) != _chunk(at, stop, end):
                    same = False
                    break
            if same:
                return s
        s = np.int64(np.uint64(s + 1) & mask)


@inlined
def _is_space(byte):  # type: ignore[no-untyped-def]
    return byte == 32 or 9 <= byte <= 13


@inlined
def _word_end(start, end):  # type: ignore[no-untyped-def]
    """(where the word ends that begins at `start`, its hash): eight bytes are looked at together.

    A byte of 32 or less has its high bit set in (x - 33) & ~x; above the lowest such byte that may be wrong, so only
    that one is looked at (Mycroft 1987).
    """
    at, h = start, SEED
    while at + 8 <= end:
        chunk = _load(at)
        low = (chunk - np.uint64(0x2121212121212121)) & ~chunk & np.uint64(0x8080808080808080)
        if low == np.uint64(0):
            h = _step(h, chunk)
            at += 8
            continue
        inside = ((low & (~low + np.uint64(1))) >> np.uint64(7)) - np.uint64(1)  # ones over the bytes before it
        ones = np.uint64(0x0101010101010101)
        stop = at + np.int64(((inside & ones) * ones) >> np.uint64(56))
        if not _is_space(_byte(stop)):  # a control character within a word
            break
        if stop > at:
            h = _step(h, chunk & inside)
        return stop, _mixed(h, stop - start)
    while at < end and not _is_space(_byte(at)):
        at += 1
    return at, _hash(start, at, end)


@inlined
def _used(records, size):  # type: ignore[no-untyped-def]
    """Bytes of all words so far."""
    last = records + (size - 1) * RECORD
    return np.int64(_load(last + 8 * BEGIN) + _load(last + 8 * LENGTH)) if size else 0


@compiled
def _insert(start, stop, end, s, slots, records, words, size):  # type: ignore[no-untyped-def]
    """A new word into an empty slot."""
    slots[s] = size
    a = np.int64(records[size - 1, BEGIN] + records[size - 1, LENGTH]) if size else 0
    for i in range(stop - start):
        words[a + i] = _byte(start + i)
    records[size, HEAD], records[size, BEGIN] = _chunk(start, stop, end), a
    records[size, LENGTH], records[size, COUNT] = stop - start, 0


@compiled
def _add(data, segment_bounds, done, slots, records, words, size):  # type: ignore[no-untyped-def]
    """Count words from `done` on, until all are counted or there is no room; returns how far it came, and the size."""
    begin, slot, record, word = address(data, 0), address(slots, 0), address(records, 0), address(words, 0)
    end, word_end, mask = begin + len(data), word + len(words), np.uint64(len(slots) - 1)
    for n in range(done, len(segment_bounds) - 1):
        start, stop = begin + segment_bounds[n], begin + segment_bounds[n + 1]
        s = _find(start, stop, end, _hash(start, stop, end), slot, mask, record, word, word_end)
        w = slots[s]
        if w == EMPTY:
            if 2 * size >= len(slots) or _used(record, size) + stop - start > len(words):
                return n, size
            w = size
            _insert(start, stop, end, s, slots, records, words, size)
            size += 1
        records[w, COUNT] += np.uint64(1)
    return len(segment_bounds) - 1, size


@compiled
def _merge(others, other_words, done, numbers, slots, records, words, size):  # type: ignore[no-untyped-def]
    """The same for the records of another lexicon; our numbers go to `numbers`. Says the bytes of what had no room."""
    begin, slot, record, word = address(other_words, 0), address(slots, 0), address(records, 0), address(words, 0)
    end, word_end, mask = begin + len(other_words), word + len(words), np.uint64(len(slots) - 1)
    for n in range(done, len(numbers)):
        start = begin + np.int64(others[n, BEGIN])
        stop = start + np.int64(others[n, LENGTH])
        s = _find(start, stop, end, _hash(start, stop, end), slot, mask, record, word, word_end)
        w = slots[s]
        if w == EMPTY:
            if 2 * size >= len(slots) or _used(record, size) + stop - start > len(words):
                return n, size, stop - start
            w = size
            _insert(start, stop, end, s, slots, records, words, size)
            size += 1
        records[w, COUNT] += others[n, COUNT]
        numbers[n] = w
    return len(numbers), size, 0


@compiled
def _read(data, at, n, lines, ids, line_ends, slots, records, words, size):  # type: ignore[no-untyped-def]
    """One pass over the bytes: cut, hash, find and count. Stops before a new word of that many bytes without room."""
    begin, slot, record, word = address(data, 0), address(slots, 0), address(records, 0), address(words, 0)
    end, word_end, mask = begin + len(data), word + len(words), np.uint64(len(slots) - 1)
    here = begin + at
    while here < end:
        if _is_space(_byte(here)):
            if _byte(here) == 10:
                line_ends[lines] = n
                lines += 1
            here += 1
            continue
        start = here
        here, h = _word_end(start, end)
        s = _find(start, here, end, h, slot, mask, record, word, word_end)
        w = slots[s]
        if w == EMPTY:
            if 2 * size >= len(slots) or _used(record, size) + here - start > len(words):
                return start - begin, n, lines, size, here - start
            w = size
            _insert(start, here, end, s, slots, records, words, size)
            size += 1
        records[w, COUNT] += np.uint64(1)
        ids[n] = w
        n += 1
    return here - begin, n, lines, size, 0


@compiled
def _look_up(data, segment_bounds, slots, records, words, unknown, ids):  # type: ignore[no-untyped-def]
    begin, slot, record, word = address(data, 0), address(slots, 0), address(records, 0), address(words, 0)
    end, word_end, mask = begin + len(data), word + len(words), np.uint64(len(slots) - 1)
    for n in range(len(ids)):
        start, stop = begin + segment_bounds[n], begin + segment_bounds[n + 1]
        w = slots[_find(start, stop, end, _hash(start, stop, end), slot, mask, record, word, word_end)]
        ids[n] = unknown if w == EMPTY else w


@compiled
def _place(slots, records, words, size):  # type: ignore[no-untyped-def]
    begin, mask = address(words, 0), np.uint64(len(slots) - 1)
    for w in range(size):
        start = begin + np.int64(records[w, BEGIN])
        s = np.int64(_hash(start, start + np.int64(records[w, LENGTH]), begin + len(words)) & mask)
        while slots[s] != EMPTY:
            s = np.int64(np.uint64(s + 1) & mask)
        slots[s] = w
