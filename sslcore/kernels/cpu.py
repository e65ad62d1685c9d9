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
from sslcore.kernels.hot import FLOAT_BYTES, NODES, Hot, add_changes, hot_rows, row_address
from sslcore.kernels.huffman import Paths
from sslcore.kernels.lanes import LANES, OCTET, address, total, zeros8

SKIP_GRAM, CBOW_MEAN, CBOW_SUM = 0, 1, 2
SHARING = 4  # windows that share their negatives
LOG_2 = 0.6931471805599453


class Output(NamedTuple):
    """What a window is told apart from: K negatives by the alias table, or (K = 0) the turns on the center's path."""

    negatives: int
    noise: np.ndarray  # uint32 [V, 2], `draws.alias_table`
    paths: Paths


def padded(dimensions: int) -> int:
    """The row length that holds `dimensions` floats."""
    return -(-dimensions // LANES) * LANES


@inlined
def different_rows(
    windows: Windows, i: int, matrix: int, own: int, hot: int, row_bytes: int, rows: np.ndarray, many: np.ndarray
) -> int:
    """Fill rows and many with the different words around words[i] and how often each occurs; how many they are."""
    m = 0
    first = windows.first[i]
    for j in range(first, windows.last[i]):
        if j != i:
            row = row_address(windows.words[j], matrix, own, hot, row_bytes)
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
def context_rows(windows: Windows, i: int, matrix: int, own: int, hot: int, row_bytes: int, rows: np.ndarray) -> None:
    """Fill rows with the words around words[i]."""
    m = 0
    for j in range(windows.first[i], windows.last[i]):
        rows[m] = row_address(windows.words[j], matrix, own, hot, row_bytes)
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
        weights[(k + 1) // OUTPUTS * OCTET + (k + 1) % OUTPUTS] = np.float32(0) if out else times[k]


@inlined
def path_targets(
    center: int,
    paths: Paths,
    matrix: int,
    own: int,
    hot: int,
    row_bytes: int,
    nothing: int,
    targets: np.ndarray,
    signs: np.ndarray,
    weights: np.ndarray,
) -> int:
    """Fill targets, signs and weights with the way from the root to the center; the blocks they take."""
    start = paths.offsets[center]
    length = paths.offsets[center + 1] - start
    blocks = (length + OUTPUTS - 1) // OUTPUTS
    for k in range(blocks * OUTPUTS):
        place = k // OUTPUTS * OCTET + k % OUTPUTS
        targets[k], weights[place] = nothing, 0
        if k < length:
            targets[k] = row_address(paths.nodes[start + k], matrix, own, hot, row_bytes)
            weights[place] = 1
            signs[place] = paths.turns[start + k]
    return blocks


@inlined
def fetch_path(word: int, paths: Paths, matrix: int, row_bytes: int, D: int) -> None:
    """Ask for the nodes on a word's path, but for the hot ones: they are near anyway."""
    for k in range(paths.offsets[word], paths.offsets[word + 1]):
        if paths.nodes[k] >= NODES:
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
    hot: Hot,
    rate_begin: float,
    rate_end: float,
) -> tuple[float, int]:
    """(loss in nats, pairs) of `reference.update_windows` on the same draws; inputs, outputs float32 [*, D] in place.

    negatives, times [groups, K] are those of `draw_negatives`; with K = 0 and as many groups as windows, the paths are
    taken. The rows in `hot` (of outputs only with the paths) are read and changed there, not in inputs and outputs. The
    loss is summed over every pair before its update: nothing is sampled, so it does not depend on how work is cut.
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
    E = np.zeros((widest, all_blocks * OCTET), np.float32)
    rows, many, once = np.zeros(widest, np.int64), np.zeros(widest, np.float32), np.ones(1, np.float32)
    targets = np.full(all_blocks * OUTPUTS, nothing)
    signs, weights = np.full(all_blocks * OCTET, -1, np.float32), np.zeros(all_blocks * OCTET, np.float32)
    signs[0], weights[0] = 1, 1
    input_matrix, output_matrix = address(inputs, 0), address(outputs, 0)
    own_inputs, own_outputs = address(hot.inputs, 0), address(hot.outputs, 0)
    hot_inputs, hot_outputs = len(hot.inputs), len(hot.outputs)

    bits, pairs = 0.0, 0
    for g in range(groups):
        found = zeros8()
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
                coming = windows.words[i + widest // 2 + 2]
                fetch(row_address(coming, input_matrix, own_inputs, hot_inputs, row_bytes), D)
            center, contexts = windows.words[i], windows.last[i] - windows.first[i] - 1
            if contexts == 0:
                continue
            blocks = all_blocks
            if K > 0:
                negative_targets(center, negatives[g], times[g], output_matrix, row_bytes, nothing, targets, weights)
            else:
                blocks = path_targets(
                    center, paths, output_matrix, own_outputs, hot_outputs, row_bytes, nothing, targets, signs, weights
                )
            rate = rate_begin + (rate_end - rate_begin) * i / n
            if kind == SKIP_GRAM:
                X, count = rows, many
                x = different_rows(windows, i, input_matrix, own_inputs, hot_inputs, row_bytes, rows, many)
                pairs += contexts
            else:
                X, count, x = together, once, 1
                context_rows(windows, i, input_matrix, own_inputs, hot_inputs, row_bytes, rows)
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

    Several `threads` have each their own copy of the hot rows for the stretch (`hot`).
    """
    windows, state = draw_windows(ids, boundaries, keep, window, np.uint64(seed))
    n = len(windows.words)
    groups = (n + SHARING - 1) // SHARING if output.negatives > 0 else n
    negatives, times = draw_negatives(output.noise, groups, output.negatives, state)
    hot, before = hot_rows(inputs, outputs, threads, output.negatives == 0)
    loss, pairs = update_windows(
        kind, inputs, outputs, windows, negatives, times, output.paths, hot, rate_begin, rate_end
    )
    add_changes(inputs, hot.inputs, before.inputs, threads)
    add_changes(outputs, hot.outputs, before.outputs, threads)
    return loss, pairs
