"""Words as bags of character n-grams: the n-grams of a word, and skip-gram on them, compiled.

Bojanowski, Grave, Joulin, Mikolov 2017, "Enriching Word Vectors with Subword Information", section 3.2. A word is
itself and its n-grams between < and >; n-grams share buckets by a hash (the FNV-1a of fastText's code, so that its
files and gensim's mean the same buckets).

Letters: V words, R buckets in use, D padded dimensions, K negatives.
"""

from typing import NamedTuple

import numpy as np

from sslcore.kernels.blocks import APART, OUTPUTS, add_to_rows, backward_one, fetch, forward, sum_rows
from sslcore.kernels.compilation import compiled, compiled_in_order
from sslcore.kernels.cpu import LOG_2, different_rows
from sslcore.kernels.draws import Windows, draw_negatives, draw_windows
from sslcore.kernels.hot import FLOAT_BYTES
from sslcore.kernels.lanes import (
    OCTET,
    address,
    address_in,
    float_in,
    int_in,
    put_address,
    put_float,
    total,
    zeros16,
)
from sslcore.kernels.workspace import workspace

BEGIN, END = ord("<"), ord(">")
# All contexts of a window share its negatives, where fastText draws for each anew. So twice as many are drawn as asked
# for, and each counts half: .549 of Google's analogies in place of .509, at a tenth more time (docs/word2vec.md).
DRAWN = 2


class Bags(NamedTuple):
    """The rows whose mean is a word's vector: rows[offsets[w]:offsets[w + 1]]."""

    offsets: np.ndarray  # int64 [V + 1]
    rows: np.ndarray  # int32 [Σ sizes]


@compiled
def fnv1a(h: np.uint64, byte: int) -> np.uint64:
    """One byte more in a 32-bit hash; as in fastText's code a byte from 128 on counts as a negative number."""
    signed = np.uint64(byte) if byte < 128 else np.uint64(0xFFFFFF00) | np.uint64(byte)
    return ((h ^ signed) * np.uint64(16777619)) & np.uint64(0xFFFFFFFF)


@compiled
def ngram_buckets(
    data: np.ndarray, bounds: np.ndarray, shortest: int, longest: int, buckets: int
) -> tuple[np.ndarray, np.ndarray]:
    """(offsets int64 [W + 1], buckets int32): those of the n-grams of each word, in order, repeated ones repeated.

    Word w is data[bounds[w]:bounds[w + 1]] in UTF-8; n counts characters, < and > among them.
    """
    words = len(bounds) - 1
    offsets = np.zeros(words + 1, np.int64)
    found = np.empty(0, np.int32)
    for writing in (False, True):
        if writing:
            found = np.empty(offsets[words], np.int32)
        for w in range(words):
            n_bytes = bounds[w + 1] - bounds[w] + 2
            letters = np.empty(n_bytes, np.uint8)
            letters[0], letters[n_bytes - 1] = BEGIN, END
            letters[1 : n_bytes - 1] = data[bounds[w] : bounds[w + 1]]
            n = offsets[w]
            for start in range(n_bytes):
                if letters[start] & 0xC0 == 0x80:  # within a character
                    continue
                h, characters = np.uint64(2166136261), 0
                at = start
                while at < n_bytes and characters < longest:
                    h = fnv1a(h, letters[at])
                    at += 1
                    while at < n_bytes and letters[at] & 0xC0 == 0x80:
                        h = fnv1a(h, letters[at])
                        at += 1
                    characters += 1
                    alone = characters == 1 and (start == 0 or at == n_bytes)  # < or > says nothing by itself
                    if characters >= shortest and not alone:
                        if writing:
                            found[n] = h % np.uint64(buckets)
                        n += 1
            offsets[w + 1] = n
    return offsets, found


@compiled
def put_together(inputs: np.ndarray, bags: Bags) -> np.ndarray:
    """A copy of the rows in which each word's own row is the mean of its bag: its finished vector."""
    finished = inputs.copy()
    for w in range(len(bags.offsets) - 1):
        size = bags.offsets[w + 1] - bags.offsets[w]
        for r in range(bags.offsets[w] + 1, bags.offsets[w + 1]):
            finished[w] += inputs[bags.rows[r]]
        if size > 1:
            finished[w] /= np.float32(size)
    return finished


@compiled
def take_apart(inputs: np.ndarray, bags: Bags) -> None:
    """The other way, in place: each word's own row becomes what makes the mean of its bag the vector it was."""
    for w in range(len(bags.offsets) - 1):
        size = bags.offsets[w + 1] - bags.offsets[w]
        if size > 1:
            inputs[w] *= np.float32(size)
        for r in range(bags.offsets[w] + 1, bags.offsets[w + 1]):
            inputs[w] -= inputs[bags.rows[r]]


@compiled_in_order
def update_subword_windows(
    inputs: np.ndarray,
    outputs: np.ndarray,
    bags: Bags,
    windows: Windows,
    negatives: np.ndarray,
    times: np.ndarray,
    rate_begin: float,
    rate_end: float,
) -> tuple[float, int]:
    """(loss in nats, pairs) of `reference.update_subwords` over the windows; inputs, outputs float32 [*, D] in place.

    negatives, times [n, K] are those of each window; each counts for every context of it.
    """
    n, D = len(windows.words), inputs.shape[1]
    K = negatives.shape[1]
    row_bytes = D * FLOAT_BYTES
    words, same = address(windows.words, 0), address(windows.same, 0)
    firsts, lasts = address(windows.first, 0), address(windows.last, 0)
    offsets, bag_rows = address(bags.offsets, 0), address(bags.rows, 0)
    drawn, often = address(negatives, 0), address(times, 0)
    input_matrix, output_matrix = address(inputs, 0), address(outputs, 0)
    widest, largest = 1, 1
    for i in range(n):
        widest = max(widest, int_in(lasts, i) - int_in(firsts, i))
        largest = max(largest, address_in(offsets, int_in(words, i) + 1) - address_in(offsets, int_in(words, i)))
    all_blocks, wide = (widest + K + OUTPUTS - 1) // OUTPUTS, 2 * OCTET

    space = workspace(n, D, largest, all_blocks, wide)
    places, rows, many, targets = space.places, space.rows, space.many, space.targets
    signs, weights, E, together = space.signs, space.weights, space.E, space.together
    for i in range(n):
        put_address(places, i, output_matrix + np.int64(int_in(words, i)) * row_bytes)

    bits, pairs = 0.0, 0
    for i in range(n):
        if i + 1 < n:
            coming = int_in(words, i + 1)
            for k in range((i + 1) * K, (i + 2) * K):
                fetch(output_matrix + np.int64(int_in(drawn, k)) * row_bytes, D)
            for r in range(address_in(offsets, coming), address_in(offsets, coming + 1)):
                fetch(input_matrix + np.int64(int_in(bag_rows, r)) * row_bytes, D)
        first, last = int_in(firsts, i), int_in(lasts, i)
        m = different_rows(i, first, last, same, places, targets, many)
        if m == 0:
            continue
        contexts = int(last - first - 1)
        used = m
        for k in range(i * K, (i + 1) * K):
            if float_in(often, k) > 0:
                row = output_matrix + np.int64(int_in(drawn, k)) * row_bytes
                a = 0
                while a < m and address_in(targets, a) != row:
                    a += 1
                if a == m:  # else it stands in this very window
                    put_address(targets, used, row)
                    put_float(many, used, float_in(often, k) * np.float32(contexts))
                    used += 1
        blocks = (used + OUTPUTS - 1) // OUTPUTS
        for b in range(blocks):
            for place in range(OUTPUTS):
                k = b * OUTPUTS + place
                if k >= used:
                    put_address(targets, k, space.nothing)
                    put_float(many, k, np.float32(0))
                put_float(signs, b * OCTET + place, np.float32(1 if k < m else -1))
                put_float(weights, b * APART * OCTET + place, float_in(many, k))
        begin = address_in(offsets, int_in(words, i))
        size = address_in(offsets, int_in(words, i) + 1) - begin
        for r in range(size):
            put_address(rows, r, input_matrix + np.int64(int_in(bag_rows, begin + r)) * row_bytes)
        rate = rate_begin + (rate_end - rate_begin) * i / n
        sum_rows(rows, 0, size, 1 / size, together, D)
        found = forward(D, space.windows, space.once, 1, targets, targets, 0, blocks, signs, weights, rate, E, wide)
        bits += total(zeros16() + found)
        backward_one(D, together, space.moved, targets, blocks, E, wide)
        add_to_rows(rows, 0, size, 1.0, space.moved, D)
        pairs += contexts
    space.floats[0] = 0  # numba frees an array after its last mention, and it was in use until here
    return -bits * LOG_2, pairs


@compiled_in_order
def train_subword_stretch(
    ids: np.ndarray,
    boundaries: np.ndarray,
    keep: np.ndarray,
    window: int,
    bags: Bags,
    noise: np.ndarray,
    negatives: int,
    seed: int,
    inputs: np.ndarray,
    outputs: np.ndarray,
    rate_begin: float,
    rate_end: float,
) -> tuple[float, int]:
    """Draw the windows of a stretch of text and update with them: (loss in nats, pairs)."""
    windows, state = draw_windows(ids, boundaries, keep, window, np.uint64(seed))
    drawn, times = draw_negatives(noise, len(windows.words), DRAWN * negatives, state)
    times /= np.float32(DRAWN)
    return update_subword_windows(inputs, outputs, bags, windows, drawn, times, rate_begin, rate_end)
