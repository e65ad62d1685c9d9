"""The arithmetic of every word2vec update: a few input rows against a few output rows, held in registers.

With X [M, D] the input rows, Y [J, D] the output rows, s [J] in {+1, -1} what each output should say and w [M, J] how
often the pair counts:

    q = sigmoid(s * (X Yᵀ))          the probability of what should be said; the loss is -Σ w log q
    E = rate * w * s * (1 - q)       minus its gradient with respect to X Yᵀ, times the rate
    X += E Y,   Y += Eᵀ X            with the X and Y from before

Six outputs are taken at a time: two input rows × six outputs are twelve accumulators, and six outputs with their six
sums leave room for a row, which fills the sixteen registers of AVX2. Rows are given by their addresses, so they are
read and written where they lie, whichever matrix that is; D is a multiple of LANES and what is beyond the dimensions
is 0.
"""

import numpy as np

from sslcore.kernels.compilation import inlined
from sslcore.kernels.lanes import (
    LANES,
    OCTET,
    address,
    broadcast,
    broadcast8,
    load,
    load8,
    log2,
    prefetch,
    sigmoid,
    spread,
    spread8,
    store,
    sums,
    zeros,
    zeros8,
)

OUTPUTS = 6
LINE = 16  # float32 in a cache line


@inlined
def forward(
    D: int,
    rows: np.ndarray,
    many: np.ndarray,
    m: int,
    targets: np.ndarray,
    blocks: int,
    signs: np.ndarray,
    weights: np.ndarray,
    rate: float,
    E: np.ndarray,
) -> float:
    """Fill E; Σ w log2 q as an octet.

    rows [≥ m] and targets [6 blocks] are addresses; w is many [≥ m] times weights, which as signs is float32
    [8 blocks]: six outputs and two places left free in each block. E is float32 [≥ m, 8 blocks].
    """
    one, nothing, found = broadcast8(np.float32(1)), zeros(), zeros8()
    step = broadcast8(np.float32(rate))
    e, sign, weight, count = address(E, 0), address(signs, 0), address(weights, 0), address(many, 0)
    for b in range(blocks):
        t0, t1, t2 = targets[b * OUTPUTS], targets[b * OUTPUTS + 1], targets[b * OUTPUTS + 2]
        t3, t4, t5 = targets[b * OUTPUTS + 3], targets[b * OUTPUTS + 4], targets[b * OUTPUTS + 5]
        s, w = load8(sign, b * OCTET), load8(weight, b * OCTET)
        for a in range(0, m - 1, 2):
            x0, x1 = rows[a], rows[a + 1]
            s00 = s01 = s02 = s03 = s04 = s05 = zeros()
            s10 = s11 = s12 = s13 = s14 = s15 = zeros()
            for d in range(0, D, LANES):
                u, v = load(x0, d), load(x1, d)
                y = load(t0, d)
                s00, s10 = s00 + u * y, s10 + v * y
                y = load(t1, d)
                s01, s11 = s01 + u * y, s11 + v * y
                y = load(t2, d)
                s02, s12 = s02 + u * y, s12 + v * y
                y = load(t3, d)
                s03, s13 = s03 + u * y, s13 + v * y
                y = load(t4, d)
                s04, s14 = s04 + u * y, s14 + v * y
                y = load(t5, d)
                s05, s15 = s05 + u * y, s15 + v * y
            q0 = sigmoid(s * sums(s00, s01, s02, s03, s04, s05, nothing, nothing))
            q1 = sigmoid(s * sums(s10, s11, s12, s13, s14, s15, nothing, nothing))
            w0, w1 = w * spread8(count, a), w * spread8(count, a + 1)
            store(e, (a * blocks + b) * OCTET, (one - q0) * (step * s * w0))
            store(e, ((a + 1) * blocks + b) * OCTET, (one - q1) * (step * s * w1))
            found = found + log2(q0) * w0 + log2(q1) * w1
        if m % 2:
            x0 = rows[m - 1]
            s00 = s01 = s02 = s03 = s04 = s05 = zeros()
            for d in range(0, D, LANES):
                u = load(x0, d)
                s00, s01, s02 = s00 + u * load(t0, d), s01 + u * load(t1, d), s02 + u * load(t2, d)
                s03, s04, s05 = s03 + u * load(t3, d), s04 + u * load(t4, d), s05 + u * load(t5, d)
            q0 = sigmoid(s * sums(s00, s01, s02, s03, s04, s05, nothing, nothing))
            w0 = w * spread8(count, m - 1)
            store(e, ((m - 1) * blocks + b) * OCTET, (one - q0) * (step * s * w0))
            found = found + log2(q0) * w0
    return found


@inlined
def backward(
    D: int, rows: np.ndarray, between: np.ndarray, m: int, targets: np.ndarray, blocks: int, E: np.ndarray
) -> None:
    """X += E Y and Y += Eᵀ X, row by row in place, X being the first m `rows`.

    `between` keeps what is unfinished from one block of outputs to the next. The rows must differ from each other, and
    so must the targets, except for targets whose E is 0.
    """
    e = address(E, 0)
    for b in range(blocks):
        t0, t1, t2 = targets[b * OUTPUTS], targets[b * OUTPUTS + 1], targets[b * OUTPUTS + 2]
        t3, t4, t5 = targets[b * OUTPUTS + 3], targets[b * OUTPUTS + 4], targets[b * OUTPUTS + 5]
        read = rows if b == 0 else between
        write = rows if b == blocks - 1 else between
        for d in range(0, D, LANES):
            y0, y1, y2, y3, y4, y5 = load(t0, d), load(t1, d), load(t2, d), load(t3, d), load(t4, d), load(t5, d)
            c0, c1, c2, c3, c4, c5 = y0, y1, y2, y3, y4, y5
            for a in range(m):
                here = (a * blocks + b) * OCTET
                x, moved = load(rows[a], d), load(read[a], d)
                g = spread(e, here)
                c0, moved = c0 + g * x, moved + g * y0
                g = spread(e, here + 1)
                c1, moved = c1 + g * x, moved + g * y1
                g = spread(e, here + 2)
                c2, moved = c2 + g * x, moved + g * y2
                g = spread(e, here + 3)
                c3, moved = c3 + g * x, moved + g * y3
                g = spread(e, here + 4)
                c4, moved = c4 + g * x, moved + g * y4
                g = spread(e, here + 5)
                c5, moved = c5 + g * x, moved + g * y5
                store(write[a], d, moved)
            store(t0, d, c0)
            store(t1, d, c1)
            store(t2, d, c2)
            store(t3, d, c3)
            store(t4, d, c4)
            store(t5, d, c5)


@inlined
def backward_one(D: int, x: int, moved: int, targets: np.ndarray, blocks: int, E: np.ndarray) -> None:
    """moved = E Y and Y += Eᵀ X for one row x: what each of the rows that it was made of is to move by."""
    e = address(E, 0)
    for b in range(blocks):
        t0, t1, t2 = targets[b * OUTPUTS], targets[b * OUTPUTS + 1], targets[b * OUTPUTS + 2]
        t3, t4, t5 = targets[b * OUTPUTS + 3], targets[b * OUTPUTS + 4], targets[b * OUTPUTS + 5]
        g0, g1, g2 = spread(e, b * OCTET), spread(e, b * OCTET + 1), spread(e, b * OCTET + 2)
        g3, g4, g5 = spread(e, b * OCTET + 3), spread(e, b * OCTET + 4), spread(e, b * OCTET + 5)
        for d in range(0, D, LANES):
            u = load(x, d)
            total = load(moved, d) if b > 0 else zeros()
            y = load(t0, d)
            total = total + g0 * y
            store(t0, d, y + g0 * u)
            y = load(t1, d)
            other = g1 * y
            store(t1, d, y + g1 * u)
            y = load(t2, d)
            total = total + g2 * y
            store(t2, d, y + g2 * u)
            y = load(t3, d)
            other = other + g3 * y
            store(t3, d, y + g3 * u)
            y = load(t4, d)
            total = total + g4 * y
            store(t4, d, y + g4 * u)
            y = load(t5, d)
            other = other + g5 * y
            store(t5, d, y + g5 * u)
            store(moved, d, total + other)


@inlined
def fetch(row: int, D: int) -> None:
    """Ask for a row that will be needed soon."""
    for d in range(0, D, LINE):
        prefetch(row, d)


@inlined
def sum_rows(rows: np.ndarray, m: int, scale: float, total: int, D: int) -> None:
    """total = scale Σ row over the first m rows; a row may come twice. Four registers wide, then one."""
    factor = broadcast(np.float32(scale))
    wide = D // (4 * LANES) * (4 * LANES)
    for d in range(0, wide, 4 * LANES):
        s0 = s1 = s2 = s3 = zeros()
        for a in range(m):
            row = rows[a]
            s0, s1 = s0 + load(row, d), s1 + load(row, d + LANES)
            s2, s3 = s2 + load(row, d + 2 * LANES), s3 + load(row, d + 3 * LANES)
        store(total, d, factor * s0)
        store(total, d + LANES, factor * s1)
        store(total, d + 2 * LANES, factor * s2)
        store(total, d + 3 * LANES, factor * s3)
    for d in range(wide, D, LANES):
        s0 = zeros()
        for a in range(m):
            s0 = s0 + load(rows[a], d)
        store(total, d, factor * s0)


@inlined
def add_to_rows(rows: np.ndarray, m: int, scale: float, added: int, D: int) -> None:
    """Each of the first m rows += scale * added, as often as it comes. Four registers wide, then one."""
    factor = broadcast(np.float32(scale))
    wide = D // (4 * LANES) * (4 * LANES)
    for d in range(0, wide, 4 * LANES):
        m0, m1 = factor * load(added, d), factor * load(added, d + LANES)
        m2, m3 = factor * load(added, d + 2 * LANES), factor * load(added, d + 3 * LANES)
        for a in range(m):
            row = rows[a]
            store(row, d, load(row, d) + m0)
            store(row, d + LANES, load(row, d + LANES) + m1)
            store(row, d + 2 * LANES, load(row, d + 2 * LANES) + m2)
            store(row, d + 3 * LANES, load(row, d + 3 * LANES) + m3)
    for d in range(wide, D, LANES):
        m0 = factor * load(added, d)
        for a in range(m):
            store(rows[a], d, load(rows[a], d) + m0)
