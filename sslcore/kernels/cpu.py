"""Skip-gram and CBOW on the CPU: the mathematics of `reference`, on the same draws, compiled.

What makes it fast (Ji et al. 2016, "Parallelizing Word2Vec in Shared and Distributed Memory", began it): the pairs of
a window are one small matrix product held in registers (`blocks`), and a few windows share their negatives, whose rows
are then in the nearest cache. Windows that share lie far apart in the text: neighbours have the same contexts, and
sharing among them costs accuracy on analogies. Rows of windows to come are asked for in time.

Letters: V words, D padded dimensions, K negatives.
"""

from typing import NamedTuple

import numpy as np

from sslcore.kernels.blocks import OUTPUTS, add_to_rows, backward, backward_one, fetch, forward, sum_rows
from sslcore.kernels.compilation import compiled_in_order, inlined
from sslcore.kernels.draws import Windows, draw_negatives, draw_windows
from sslcore.kernels.huffman import Paths
from sslcore.kernels.lanes import LANES, address, total, zeros

SKIP_GRAM, CBOW_MEAN, CBOW_SUM = 0, 1, 2
SHARING = 4  # windows that share their negatives
TOP = 64  # nodes of the Huffman tree, the most frequented, of which each thread has its own copy
NEAR = 256  # nodes of the tree that stay in the cache by themselves
LOG_2 = 0.6931471805599453
FLOAT_BYTES = 4


class Output(NamedTuple):
    """What a window is told apart from: K negatives by the alias table, or (K = 0) the turns on the center's path."""

    negatives: int
    noise: np.ndarray  # uint32 [V, 2], `draws.alias_table`
    paths: Paths


def padded(dimensions: int) -> int:
    """The row length that holds `dimensions` floats."""
    return -(-dimensions // LANES) * LANES


@inlined
def different_rows(windows: Windows, i: int, matrix: int, row_bytes: int, rows: np.ndarray, many: np.ndarray) -> int:
    """Fill rows and many with the different words around words[i] and how often each occurs; how many they are."""
    m = 0
    first = windows.first[i]
    for j in range(first, windows.last[i]):
        if j != i:
            row = matrix + np.int64(windows.words[j]) * row_bytes
            earlier = windows.same[j] if windows.same[j] != i else windows.same[i]
            a = m
            if earlier >= first:
                a = 0
                while rows[a] != row:
                    a += 1
            if a == m:
                rows[m], many[m] = row, 0
                m += 1
            many[a] += 1
    return m


@inlined
def context_rows(windows: Windows, i: int, matrix: int, row_bytes: int, rows: np.ndarray) -> None:
    """Fill rows with the words around words[i]."""
    m = 0
    for j in range(windows.first[i], windows.last[i]):
        rows[m] = matrix + np.int64(windows.words[j]) * row_bytes
        m += j != i


@inlined
def negative_targets(
    center: int,
    negatives: np.ndarray,
    times: np.ndarray,
    matrix: int,
    row_bytes: int,
    nothing: int,
    targets: np.ndarray,
    weights: np.ndarray,
) -> None:
    """Fill targets and weights with the center and the negatives; one that is the center is left out."""
    targets[0] = matrix + np.int64(center) * row_bytes
    for k in range(len(negatives)):
        out = negatives[k] == center or times[k] == 0
        targets[k + 1] = nothing if out else matrix + np.int64(negatives[k]) * row_bytes
        weights[(k + 1) // OUTPUTS * LANES + (k + 1) % OUTPUTS] = np.float32(0) if out else times[k]


@inlined
def path_targets(
    center: int,
    paths: Paths,
    matrix: int,
    own: int,
    first_own: int,
    row_bytes: int,
    nothing: int,
    targets: np.ndarray,
    signs: np.ndarray,
    weights: np.ndarray,
) -> int:
    """Fill targets, signs and weights with the way from the root to the center; the blocks they take.

    Nodes from first_own on have their rows from `own` on.
    """
    start = paths.offsets[center]
    length = paths.offsets[center + 1] - start
    blocks = (length + OUTPUTS - 1) // OUTPUTS
    for k in range(blocks * OUTPUTS):
        place = k // OUTPUTS * LANES + k % OUTPUTS
        targets[k], weights[place] = nothing, 0
        if k < length:
            node = np.int64(paths.nodes[start + k])
            targets[k] = matrix + node * row_bytes if node < first_own else own + (node - first_own) * row_bytes
            weights[place] = 1
            signs[place] = paths.turns[start + k]
    return blocks


@inlined
def fetch_path(word: int, paths: Paths, matrix: int, row_bytes: int, D: int) -> None:
    """Ask for the nodes on a word's path, but for the most frequented, which are near anyway."""
    for k in range(paths.offsets[word], paths.offsets[word + 1]):
        if paths.nodes[k] < paths.inner - NEAR:
            fetch(matrix + np.int64(paths.nodes[k]) * row_bytes, D)


@compiled_in_order
def update_windows(
    kind: int,
    inputs: np.ndarray,
    outputs: np.ndarray,
    windows: Windows,
    negatives: np.ndarray,
    times: np.ndarray,
    paths: Paths,
    own: np.ndarray,
    first_own: int,
    rate_begin: float,
    rate_end: float,
) -> tuple[float, int]:
    """(loss in nats, pairs) of `reference.update_windows` on the same draws; inputs, outputs float32 [*, D] in place.

    negatives, times [groups, K] are those of `draw_negatives`; with K = 0 and as many groups as windows, the paths are
    taken, and own [*, D] are the rows of the nodes from first_own on. The loss is summed over every pair before its
    update: nothing is sampled, so it does not depend on how work is cut.
    """
    n, D = len(windows.words), inputs.shape[1]
    groups, K = negatives.shape
    row_bytes = D * FLOAT_BYTES
    widest, most = 1, 1 + K
    for i in range(n):
        widest = max(widest, int(windows.last[i] - windows.first[i]))
        if K == 0:
            most = max(most, int(paths.offsets[windows.words[i] + 1] - paths.offsets[windows.words[i]]))
    all_blocks = (most + OUTPUTS - 1) // OUTPUTS

    scratch = np.zeros((widest + 3, D), np.float32)
    between = np.array([address(scratch, a * D) for a in range(widest)])
    nothing, moved = address(scratch, widest * D), address(scratch, (widest + 1) * D)
    together = np.array([address(scratch, (widest + 2) * D)])
    E = np.zeros((widest, all_blocks * LANES), np.float32)
    rows, many, once = np.zeros(widest, np.int64), np.zeros(widest, np.float32), np.ones(1, np.float32)
    targets = np.full(all_blocks * OUTPUTS, nothing)
    signs, weights = np.full(all_blocks * LANES, -1, np.float32), np.zeros(all_blocks * LANES, np.float32)
    signs[0], weights[0] = 1, 1
    input_matrix, output_matrix, own_matrix = address(inputs, 0), address(outputs, 0), address(own, 0)

    bits, pairs = 0.0, 0
    for g in range(groups):
        found = zeros()
        if g + 1 < groups:
            for k in range(K):
                fetch(output_matrix + np.int64(negatives[g + 1, k]) * row_bytes, D)
        for i in range(g, n, groups):
            if i + 1 < n:
                if K > 0:
                    fetch(output_matrix + np.int64(windows.words[i + 1]) * row_bytes, D)
                else:
                    fetch_path(windows.words[i + 1], paths, output_matrix, row_bytes, D)
            if i + widest // 2 + 2 < n:  # what the widest window two words on takes in
                fetch(input_matrix + np.int64(windows.words[i + widest // 2 + 2]) * row_bytes, D)
            center, contexts = windows.words[i], windows.last[i] - windows.first[i] - 1
            if contexts == 0:
                continue
            blocks = all_blocks
            if K > 0:
                negative_targets(center, negatives[g], times[g], output_matrix, row_bytes, nothing, targets, weights)
            else:
                blocks = path_targets(
                    center, paths, output_matrix, own_matrix, first_own, row_bytes, nothing, targets, signs, weights
                )
            rate = rate_begin + (rate_end - rate_begin) * i / n
            if kind == SKIP_GRAM:
                X, count = rows, many
                x = different_rows(windows, i, input_matrix, row_bytes, rows, many)
                pairs += contexts
            else:
                X, count, x = together, once, 1
                context_rows(windows, i, input_matrix, row_bytes, rows)
                sum_rows(rows, contexts, 1 / contexts if kind == CBOW_MEAN else 1.0, together[0], D)
                pairs += 1
            found = found + forward(D, X, count, x, targets, blocks, signs, weights, rate, E)  # once: it is long
            if kind == SKIP_GRAM:
                backward(D, rows, between, x, targets, blocks, E)
            else:
                backward_one(D, together[0], moved, targets, blocks, E)
                add_to_rows(rows, contexts, 1 / contexts if kind == CBOW_SUM else 1.0, moved, D)
        bits += total(found)
    scratch.fill(0)  # numba frees an array after its last mention, and the addresses were in use until here
    return -bits * LOG_2, pairs


@compiled_in_order
def train_stretch(
    kind: int,
    ids: np.ndarray,
    boundaries: np.ndarray,
    keep: np.ndarray,
    window: int,
    output: Output,
    threads: int,
    seed: int,
    inputs: np.ndarray,
    outputs: np.ndarray,
    rate_begin: float,
    rate_end: float,
) -> tuple[float, int]:
    """Draw the windows of a stretch of text and update with them: (loss in nats, pairs).

    Every path goes through the top of the tree. Several `threads` that wrote the same rows would wait for each other at
    each; so each takes its own copy of the top for the stretch, and what it changed counts by its share of the threads.
    """
    windows, state = draw_windows(ids, boundaries, keep, window, np.uint64(seed))
    n = len(windows.words)
    groups = (n + SHARING - 1) // SHARING if output.negatives > 0 else n
    negatives, times = draw_negatives(output.noise, groups, output.negatives, state)
    nodes = output.paths.inner
    first_own = max(0, nodes - TOP) if threads > 1 else nodes
    before = outputs[first_own:nodes].copy()
    own = before.copy()
    loss, pairs = update_windows(
        kind, inputs, outputs, windows, negatives, times, output.paths, own, first_own, rate_begin, rate_end
    )
    for row in range(len(own)):  # loops: an expression of arrays takes five seconds more to compile
        for d in range(own.shape[1]):
            outputs[first_own + row, d] += (own[row, d] - before[row, d]) / np.float32(threads)
    return loss, pairs
