"""Skip-gram and CBOW on the CPU: the mathematics of `reference`, on the same draws, compiled.

What makes it fast (Ji et al. 2016, "Parallelizing Word2Vec in Shared and Distributed Memory", began it): the pairs of
a window are one small matrix product held in registers (`blocks`), and a few windows, a group, share their negatives,
whose rows are then in the nearest cache; of CBOW the whole group is one product. Windows of a group lie far apart in
the text: neighbours have the same contexts, and sharing among them costs accuracy on analogies. Rows of windows to come
are asked for in time.

Letters: V words, D padded dimensions, K negatives.
"""

from typing import NamedTuple

import numpy as np

from sslcore.kernels.blocks import (
    APART,
    OUTPUTS,
    add_to_rows,
    backward,
    backward_apart,
    backward_one,
    fetch,
    forward,
    sum_rows,
)
from sslcore.kernels.compilation import compiled_in_order, inlined
from sslcore.kernels.draws import Windows, draw_negatives, draw_windows
from sslcore.kernels.hot import FLOAT_BYTES, NODES, Hot, add_changes, hot_rows, row_address
from sslcore.kernels.huffman import Paths
from sslcore.kernels.lanes import LANES, OCTET, address, address_in, load8, store, total, zeros16

SKIP_GRAM, CBOW_MEAN, CBOW_SUM = 0, 1, 2
SHARING = APART  # windows that share their negatives
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
def different_rows(windows: Windows, i: int, places: np.ndarray, rows: np.ndarray, many: np.ndarray) -> int:
    """Fill rows and many with the different words around words[i] and how often each occurs; how many they are.

    places [n] are the addresses of the words' rows.
    """
    place, row = address(places, 0), address(rows, 0)
    m = 0
    first = windows.first[i]
    for j in range(first, windows.last[i]):
        if j != i:
            here = address_in(place, j)
            earlier = windows.same[j] if windows.same[j] != i else windows.same[i]
            a = m
            if earlier >= first:
                a = 0
                while address_in(row, a) != here:
                    a += 1
            if a == m:
                rows[m], many[m] = here, 0
                m += 1
            many[a] += 1
    return m


@inlined
def context_rows(windows: Windows, i: int, places: np.ndarray, rows: np.ndarray, begin: int) -> int:
    """Fill rows from `begin` on with those of the words around words[i]; where they end."""
    place = address(places, 0)
    m = begin
    for j in range(windows.first[i], windows.last[i]):
        rows[m] = address_in(place, j)
        m += j != i
    return m


@inlined
def negative_targets(
    negatives: np.ndarray,
    times: np.ndarray,
    matrix: int,
    row_bytes: int,
    nothing: int,
    targets: np.ndarray,
    weights: np.ndarray,
) -> None:
    """Fill targets and weights with the negatives of a group; the first place is left for the center."""
    for k in range(1, len(negatives) + 1):
        targets[k] = matrix + np.int64(negatives[k - 1]) * row_bytes if times[k - 1] > 0 else nothing
        weights[k // OUTPUTS * OCTET + k % OUTPUTS] = times[k - 1]


@inlined
def center_weights(center: int, negatives: np.ndarray, group: np.ndarray, weights: np.ndarray, a: int) -> None:
    """Fill the a-th octets of weights with those of the group; a negative that is the center counts for nothing."""
    blocks = len(group) // OCTET
    whole, own = address(group, 0), address(weights, 0)
    for b in range(blocks):
        store(own, (b * APART + a) * OCTET, load8(whole, b * OCTET))
    for k in range(1, len(negatives) + 1):
        if negatives[k - 1] == center:
            weights[(k // OUTPUTS * APART + a) * OCTET + k % OUTPUTS] = 0


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
    """Fill targets, signs and the first octets of weights with the way from the root to the center; their blocks."""
    start = paths.offsets[center]
    length = paths.offsets[center + 1] - start
    blocks = (length + OUTPUTS - 1) // OUTPUTS
    for b in range(blocks):
        for place in range(OUTPUTS):
            k = b * OUTPUTS + place
            targets[k], weights[b * APART * OCTET + place] = nothing, 0
            if k < length:
                targets[k] = row_address(paths.nodes[start + k], matrix, own, hot, row_bytes)
                weights[b * APART * OCTET + place] = 1
                signs[b * OCTET + place] = paths.turns[start + k]
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

    input_matrix, output_matrix = address(inputs, 0), address(outputs, 0)
    own_inputs, own_outputs = address(hot.inputs, 0), address(hot.outputs, 0)
    hot_inputs, hot_outputs = len(hot.inputs), len(hot.outputs)
    places = np.empty(n, np.int64)
    for i in range(n):
        places[i] = row_address(windows.words[i], input_matrix, own_inputs, hot_inputs, row_bytes)

    scratch = np.zeros((1 + widest + 2 * APART, D), np.float32)
    nothing, together, moved = address(scratch, 0), address(scratch, D), address(scratch, (1 + APART) * D)
    X = np.array([together + a * row_bytes for a in range(APART)])
    between = np.array([address(scratch, (1 + 2 * APART + a) * D) for a in range(widest)])
    rows, ends = np.zeros(APART * widest, np.int64), np.zeros(APART + 1, np.int64)
    many, once = np.zeros(widest + 1, np.float32), np.array([1, 0], np.float32)
    E = np.zeros((all_blocks, max(widest + widest % 2, APART), OCTET), np.float32)
    targets, own = np.full(all_blocks * OUTPUTS, nothing), np.full(APART, nothing)
    signs, group = np.full(all_blocks * OCTET, -1, np.float32), np.zeros(all_blocks * OCTET, np.float32)
    weights, nothing_counts = np.zeros(all_blocks * APART * OCTET, np.float32), np.zeros(all_blocks * OCTET, np.float32)
    signs[0], group[0] = 1, 1

    bits, pairs = 0.0, 0
    for g in range(groups):
        found = zeros16()
        rate = rate_begin + (rate_end - rate_begin) * g / groups
        if K > 0:
            negative_targets(negatives[g], times[g], output_matrix, row_bytes, nothing, targets, group)
        if g + 1 < groups:
            for k in range(K):
                fetch(output_matrix + np.int64(negatives[g + 1, k]) * row_bytes, D)
        x = 0  # windows that are ready
        for i in range(g, n, groups):
            if i + 1 < n:
                if K > 0:
                    fetch(output_matrix + np.int64(windows.words[i + 1]) * row_bytes, D)
                else:
                    fetch_path(windows.words[i + 1], paths, output_matrix, row_bytes, D)
            if i + widest // 2 + 2 < n:  # what the widest window two words on takes in
                fetch(places[i + widest // 2 + 2], D)
            center, contexts = windows.words[i], windows.last[i] - windows.first[i] - 1
            if contexts > 0:
                blocks = all_blocks
                if K == 0:
                    blocks = path_targets(
                        center,
                        paths,
                        output_matrix,
                        own_outputs,
                        hot_outputs,
                        row_bytes,
                        nothing,
                        targets,
                        signs,
                        weights,
                    )
                else:
                    center_weights(center, negatives[g], group, weights, x)
                    own[x] = output_matrix + np.int64(center) * row_bytes
                if kind == SKIP_GRAM:
                    pairs += contexts
                else:
                    ends[x + 1] = context_rows(windows, i, places, rows, ends[x])
                    scale = 1 / contexts if kind == CBOW_MEAN else 1.0
                    sum_rows(rows, ends[x], ends[x + 1], scale, together + x * row_bytes, D)
                    pairs += 1
                x += 1
            if x == 0 or (kind != SKIP_GRAM and i + groups < n):
                continue  # CBOW takes the windows of a group at once
            own_weights, of, count, first, size = 0, rows, many, targets, x
            if kind == SKIP_GRAM:
                size = different_rows(windows, i, places, rows, many)
                many[size] = 0
                if K > 0:
                    targets[0] = own[0]
            else:
                of, count = X, once
                if K > 0:
                    own_weights, first, size = 1, own, APART
                    for a in range(x, APART):  # a word alone, or the end of the text
                        own[a], ends[a + 1] = nothing, ends[a]
                        center_weights(-1, negatives[g], nothing_counts, weights, a)
            found = found + forward(
                D, of, count, size, targets, first, own_weights, blocks, signs, weights, rate, E
            )  # once: it is long
            if kind == SKIP_GRAM:
                backward(D, rows, between, size, targets, blocks, E)
            else:
                if K > 0:
                    backward_apart(D, together, moved, targets, own, blocks, E)
                else:
                    backward_one(D, together, moved, targets, blocks, E)
                for a in range(x):
                    scale = 1 / (ends[a + 1] - ends[a]) if kind == CBOW_SUM else 1.0
                    add_to_rows(rows, ends[a], ends[a + 1], scale, moved + a * row_bytes, D)
            x = 0
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
