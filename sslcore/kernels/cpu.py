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
from sslcore.kernels.lanes import (
    LANES,
    OCTET,
    address,
    address_in,
    float_in,
    int_in,
    load8,
    put_address,
    put_float,
    store,
    total,
    zeros16,
)
from sslcore.kernels.workspace import workspace

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
def different_rows(i: int, first: int, last: int, same: int, places: int, rows: int, many: int) -> int:
    """Fill rows and many with the different rows of words[first:last] but words[i], and how often each occurs.

    places [n] holds the address of each word's row, same is that of `draws.Windows`. Returns how many they are.
    """
    m = 0
    for j in range(first, last):
        if j != i:
            here, earlier = address_in(places, j), int_in(same, j)
            if earlier == i:
                earlier = int_in(same, i)
            a = m
            if earlier >= first:
                a = 0
                while address_in(rows, a) != here:
                    a += 1
            if a == m:
                put_address(rows, m, here)
                put_float(many, m, np.float32(0))
                m += 1
            put_float(many, a, float_in(many, a) + np.float32(1))
    return m


@inlined
def context_rows(i: int, first: int, last: int, places: int, rows: int, begin: int) -> int:
    """Fill rows from `begin` on with those of words[first:last] but words[i]; where they end."""
    m = begin
    for j in range(first, last):
        put_address(rows, m, address_in(places, j))
        m += j != i
    return m


@inlined
def negative_targets(
    negatives: int, times: int, K: int, matrix: int, row_bytes: int, nothing: int, targets: int, weights: int
) -> None:
    """Fill targets and weights with the negatives of a group; the first place is left for the center."""
    for k in range(1, K + 1):
        row = matrix + np.int64(int_in(negatives, k - 1)) * row_bytes
        often = float_in(times, k - 1)
        put_address(targets, k, row if often > 0 else nothing)
        put_float(weights, k // OUTPUTS * OCTET + k % OUTPUTS, often)


@inlined
def center_weights(center: int, negatives: int, K: int, group: int, blocks: int, weights: int, a: int) -> None:
    """Fill the a-th octets of weights with those of the group; a negative that is the center counts for nothing."""
    for b in range(blocks):
        store(weights, (b * APART + a) * OCTET, load8(group, b * OCTET))
    for k in range(1, K + 1):
        if int_in(negatives, k - 1) == center:
            put_float(weights, (k // OUTPUTS * APART + a) * OCTET + k % OUTPUTS, np.float32(0))


@inlined
def path_targets(
    nodes: int, turns: int, length: int, matrix: int, own: int, hot: int, row_bytes: int, nothing: int,
    targets: int, signs: int, weights: int,
) -> int:  # fmt: skip
    """Fill targets, signs and the first octets of weights with the nodes and turns of a path; the blocks they take."""
    blocks = (length + OUTPUTS - 1) // OUTPUTS
    for b in range(blocks):
        for place in range(OUTPUTS):
            k = b * OUTPUTS + place
            put_address(targets, k, nothing)
            put_float(weights, b * APART * OCTET + place, np.float32(0))
            if k < length:
                put_address(targets, k, row_address(int_in(nodes, k), matrix, own, hot, row_bytes))
                put_float(weights, b * APART * OCTET + place, np.float32(1))
                put_float(signs, b * OCTET + place, float_in(turns, k))
    return blocks


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
    words, same = address(windows.words, 0), address(windows.same, 0)
    firsts, lasts = address(windows.first, 0), address(windows.last, 0)
    offsets, nodes, turns = address(paths.offsets, 0), address(paths.nodes, 0), address(paths.turns, 0)
    input_matrix, output_matrix = address(inputs, 0), address(outputs, 0)
    own_inputs, own_outputs = address(hot.inputs, 0), address(hot.outputs, 0)
    hot_inputs, hot_outputs = len(hot.inputs), len(hot.outputs)
    widest, most = 1, 1 + K
    for i in range(n):
        widest = max(widest, int_in(lasts, i) - int_in(firsts, i))
        if K == 0:
            most = max(most, address_in(offsets, int_in(words, i) + 1) - address_in(offsets, int_in(words, i)))
    all_blocks, wide = (most + OUTPUTS - 1) // OUTPUTS, OCTET * max(widest + widest % 2, APART)

    space = workspace(n, D, widest, all_blocks, wide)
    nothing, places, rows, many = space.nothing, space.places, space.rows, space.many
    targets, own, weights = space.targets, space.own, space.weights
    ends = np.zeros(APART + 1, np.int64)
    for i in range(n):
        put_address(places, i, row_address(int_in(words, i), input_matrix, own_inputs, hot_inputs, row_bytes))

    bits, pairs = 0.0, 0
    for g in range(groups):
        found = zeros16()
        rate = rate_begin + (rate_end - rate_begin) * g / groups
        drawn, often = address(negatives, g * K), address(times, g * K)
        if K > 0:
            negative_targets(drawn, often, K, output_matrix, row_bytes, nothing, targets, space.group)
        if g + 1 < groups:
            for k in range(K, 2 * K):
                fetch(output_matrix + np.int64(int_in(drawn, k)) * row_bytes, D)
        x = 0  # windows that are ready
        for i in range(g, n, groups):
            if i + 1 < n:
                coming = np.int64(int_in(words, i + 1))
                if K > 0:
                    fetch(output_matrix + coming * row_bytes, D)
                else:
                    for k in range(address_in(offsets, coming), address_in(offsets, coming + 1)):
                        if int_in(nodes, k) >= NODES:  # others are near anyway
                            fetch(output_matrix + np.int64(int_in(nodes, k)) * row_bytes, D)
            if i + widest // 2 + 2 < n:  # what the widest window two words on takes in
                fetch(address_in(places, i + widest // 2 + 2), D)
            center, first, last = np.int64(int_in(words, i)), int_in(firsts, i), int_in(lasts, i)
            contexts = int(last - first - 1)
            if contexts > 0:
                blocks = all_blocks
                if K == 0:
                    start = address_in(offsets, center)
                    blocks = path_targets(
                        nodes + start * 4, turns + start * FLOAT_BYTES, address_in(offsets, center + 1) - start,
                        output_matrix, own_outputs, hot_outputs, row_bytes, nothing, targets, space.signs, weights,
                    )  # fmt: skip
                else:
                    center_weights(center, drawn, K, space.group, blocks, weights, x)
                    put_address(own, x, output_matrix + center * row_bytes)
                if kind == SKIP_GRAM:
                    pairs += contexts
                else:
                    ends[x + 1] = context_rows(i, first, last, places, rows, ends[x])
                    scale = 1 / contexts if kind == CBOW_MEAN else 1.0
                    sum_rows(rows, ends[x], ends[x + 1], scale, space.together + x * row_bytes, D)
                    pairs += 1
                x += 1
            if x == 0 or (kind != SKIP_GRAM and i + groups < n):
                continue  # CBOW takes the windows of a group at once
            apart, of, count, center_rows, size = 0, rows, many, targets, x
            if kind == SKIP_GRAM:
                size = different_rows(i, first, last, same, places, rows, many)
                put_float(many, size, np.float32(0))
                if K > 0:
                    put_address(targets, 0, address_in(own, 0))
            else:
                of, count = space.windows, space.once
                if K > 0:
                    apart, center_rows, size = 1, own, APART
                    for a in range(x, APART):  # a word alone, or the end of the text
                        ends[a + 1] = ends[a]
                        put_address(own, a, nothing)
                        center_weights(-1, drawn, K, space.no_weights, blocks, weights, a)
            found = found + forward(  # once: it is long
                D, of, count, size, targets, center_rows, apart, blocks, space.signs, weights, rate, space.E, wide
            )
            if kind == SKIP_GRAM:
                backward(D, rows, space.between, size, targets, blocks, space.E, wide)
            else:
                if K > 0:
                    backward_apart(D, space.together, space.moved, targets, own, blocks, space.E, wide)
                else:
                    backward_one(D, space.together, space.moved, targets, blocks, space.E, wide)
                for a in range(x):
                    scale = 1 / (ends[a + 1] - ends[a]) if kind == CBOW_SUM else 1.0
                    add_to_rows(rows, ends[a], ends[a + 1], scale, space.moved + a * row_bytes, D)
            x = 0
        bits += total(found)
    space.floats[0] = 0  # numba frees an array after its last mention, and it was in use until here
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
