"""The binary tree of hierarchical softmax: frequent words near the root.

Morin, Bengio 2005, "Hierarchical Probabilistic Neural Network Language Model"; with Huffman's code as in Mikolov et al.
2013b, section 2.1.
"""

from typing import NamedTuple

import numpy as np

from sslcore.kernels.compilation import compiled


class Paths(NamedTuple):
    """The way from the root to each word: inner nodes nodes[offsets[w]:offsets[w + 1]], and the turn at each."""

    offsets: np.ndarray  # int64 [V + 1]
    nodes: np.ndarray  # int32 [Σ lengths]: rows of the output matrix, the root is row 0 and the rarest ways come last
    turns: np.ndarray  # float32 [Σ lengths]: +1 or -1, the sign of the dot product that leads on


NO_PATHS = Paths(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))


def huffman_paths(counts: np.ndarray) -> Paths:
    """The paths of all words with a count, by the Huffman tree over them; the others have none. counts int64 [V].

    W words have W - 1 inner nodes, so V - 1 output rows always suffice.
    """
    present = np.flatnonzero(counts > 0)
    order = present[np.argsort(counts[present], kind="stable")]
    parents, turns = _tree(counts[order])
    offsets, nodes, signs = _paths(order, parents, turns, len(counts))
    return Paths(offsets, nodes, signs)


@compiled
def _tree(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """parents int32, turns float32 [2W - 1] of leaves by rising count, then inner nodes, the root last.

    Two queues, both sorted: the leaves not yet joined and the inner nodes made so far (van Leeuwen 1976); linear time.
    """
    n = len(counts)
    weights = np.empty(2 * n - 1, np.int64)
    weights[:n] = counts
    parents, turns = np.zeros(2 * n - 1, np.int32), np.zeros(2 * n - 1, np.float32)
    leaf, inner = 0, n
    for made in range(n, 2 * n - 1):
        weights[made] = 0
        for turn in (np.float32(1), np.float32(-1)):
            if leaf < n and (inner >= made or weights[leaf] <= weights[inner]):
                child, leaf = leaf, leaf + 1
            else:
                child, inner = inner, inner + 1
            weights[made] += weights[child]
            parents[child], turns[child] = made, turn
    return parents, turns


@compiled
def _paths(
    order: np.ndarray, parents: np.ndarray, turns: np.ndarray, vocabulary: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n = len(order)
    root = 2 * n - 2
    offsets = np.zeros(vocabulary + 1, np.int64)
    for leaf in range(n):
        at = leaf
        while at != root:
            at = parents[at]
            offsets[order[leaf] + 1] += 1
    for word in range(vocabulary):
        offsets[word + 1] += offsets[word]
    nodes, signs = np.empty(offsets[vocabulary], np.int32), np.empty(offsets[vocabulary], np.float32)
    for leaf in range(n):
        at, place = leaf, offsets[order[leaf] + 1]
        while at != root:
            place -= 1
            nodes[place], signs[place] = root - parents[at], turns[at]
            at = parents[at]
    return offsets, nodes, signs
