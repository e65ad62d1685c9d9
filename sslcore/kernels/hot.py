"""The most frequent rows, of which each thread has its own copy for a stretch of text.

Threads that write the same row hand its cache lines to and fro: on a Xeon, two threads took half as much CPU time again
as one for the same words. Ids count down from the most frequent word, and nodes of a Huffman tree from its root, so the
first rows of a matrix are the ones most in demand. Where they are not, nothing but speed is lost.

What a thread changed counts by its share of the threads. A frequent row settles within a stretch, in each thread, so
that the changes are steps to about the same place: their sum would go beyond it (16 threads diverged, now and then).
Output rows of frequent words are left out: as negatives they are moved most of all, and sharing them costs little.
"""

from typing import NamedTuple

import numpy as np

from sslcore.kernels.compilation import compiled, inlined
from sslcore.kernels.lanes import CACHE_LINE, address

FLOAT_BYTES = 4
WORDS = 256
NODES = 256
SMALLEST_SHARE = 16  # of a small vocabulary, one row in this many


class Hot(NamedTuple):
    """The first rows of the input and of the output matrix."""

    inputs: np.ndarray  # float32 [H, D]
    outputs: np.ndarray  # float32 [G, D]


@compiled
def hot_rows(inputs: np.ndarray, outputs: np.ndarray, threads: int, tree: bool) -> tuple[Hot, Hot]:
    """One of several threads' own copy, twice: to be changed, and as it was. One thread alone has none."""
    words = min(WORDS, len(inputs) // SMALLEST_SHARE) if threads > 1 else 0
    nodes = min(NODES, len(outputs)) if threads > 1 and tree else 0
    return (
        Hot(_first_rows(inputs, words), _first_rows(outputs, nodes)),
        Hot(_first_rows(inputs, words), _first_rows(outputs, nodes)),
    )


@compiled
def add_changes(matrix: np.ndarray, own: np.ndarray, before: np.ndarray, threads: int) -> None:
    """Add to the matrix what has changed in the copy of its first rows, by this thread's share."""
    for row in range(len(own)):
        for d in range(own.shape[1]):
            matrix[row, d] += (own[row, d] - before[row, d]) / np.float32(threads)


@inlined
def row_address(row: int, shared: int, own: int, hot: int, row_bytes: int) -> int:
    """Where a row lies: the first `hot` rows from `own` on, the others in the matrix at `shared`."""
    return (own if row < hot else shared) + int(row) * row_bytes


@compiled
def _first_rows(matrix: np.ndarray, n: int) -> np.ndarray:
    """A copy of the first n rows that begins at a cache line."""
    D = matrix.shape[1]
    room = np.empty(n * D + CACHE_LINE // FLOAT_BYTES, np.float32)
    start = -address(room, 0) % CACHE_LINE // FLOAT_BYTES
    copy = room[start : start + n * D].reshape(n, D)
    for row in range(n):  # loops: an expression of arrays takes seconds more to compile
        for d in range(D):
            copy[row, d] = matrix[row, d]
    return copy
