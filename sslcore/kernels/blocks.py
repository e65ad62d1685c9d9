"""The arithmetic of every word2vec update: a few input rows against a few output rows, held in registers.

With X [M, D] the input rows, Y [J, D] the output rows, s [J] in {+1, -1} what each output should say and w [M, J] how
often the pair counts:

    q = sigmoid(s * (X Yᵀ))          the probability of what should be said; the loss is -Σ w log q
    E = rate * w * s * (1 - q)       minus its gradient with respect to X Yᵀ, times the rate
    X += E Y,   Y += Eᵀ X            with the X and Y from before

Where each row of X is a window of its own (CBOW), the first output differs from row to row and the others are shared.
Six outputs are taken at a time: two input rows × six outputs are twelve accumulators, and six outputs with their six
sums leave room for a row, which fills the sixteen registers of AVX2. All arrays are given by their addresses (`lanes`
says why), and so are rows: they are read and written where they lie, whichever matrix that is. D is a multiple of LANES
and what is beyond the dimensions is 0. What is not said to be an address is float32.
"""

import numpy as np

from sslcore.kernels.compilation import inlined
from sslcore.kernels.lanes import (
    LANES,
    OCTET,
    address_in,
    broadcast,
    broadcast16,
    load,
    load16,
    log2,
    prefetch,
    sigmoid,
    spread,
    spread16,
    store,
    sums8,
    sums16,
    twice16,
    zeros,
    zeros16,
)

OUTPUTS = 6
APART = 4  # rows of input that may have an output of their own
LINE = 16  # float32 in a cache line


@inlined
def forward(
    D: int,
    rows: int,
    many: int,
    m: int,
    targets: int,
    own: int,
    apart: int,
    blocks: int,
    signs: int,
    weights: int,
    rate: float,
    E: int,
    wide: int,
) -> float:
    """Fill E; Σ w log2 q as a pair of octets.

    rows [≥ m] and targets [6 blocks] hold addresses. w is many [≥ m and even, the rest 0] times weights. What belongs
    to the outputs stands in octets, six of them and two places left free: signs [blocks · 8], weights
    [blocks · APART · 8] and E [blocks, wide], wide ≥ 8 · (m made even). With apart = 1 each of m = APART rows has
    weights of its own that are w, and the address of its first target in own [APART]; with apart = 0 the rows share the
    first octet of weights, and own is targets.
    """
    for b in range(blocks):
        t0, t1 = address_in(targets, b * OUTPUTS), address_in(targets, b * OUTPUTS + 1)
        t2, t3 = address_in(targets, b * OUTPUTS + 2), address_in(targets, b * OUTPUTS + 3)
        t4, t5 = address_in(targets, b * OUTPUTS + 4), address_in(targets, b * OUTPUTS + 5)
        for a in range(0, m - 1, 2):
            x0, x1 = address_in(rows, a), address_in(rows, a + 1)
            t00, t10 = (address_in(own, a * apart), address_in(own, (a + 1) * apart)) if b == 0 else (t0, t0)
            s00 = s01 = s02 = s03 = s04 = s05 = zeros()
            s10 = s11 = s12 = s13 = s14 = s15 = zeros()
            for d in range(0, D, LANES):
                u, v = load(x0, d), load(x1, d)
                s00, s10 = s00 + u * load(t00, d), s10 + v * load(t10, d)
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
            store(E, b * wide + a * OCTET, sums16(s00, s01, s02, s03, s04, s05, s10, s11, s12, s13, s14, s15))
        if m % 2:
            x0, t00 = address_in(rows, m - 1), address_in(own, (m - 1) * apart) if b == 0 else t0
            s00 = s01 = s02 = s03 = s04 = s05 = zeros()
            for d in range(0, D, LANES):
                u = load(x0, d)
                s00, s01, s02 = s00 + u * load(t00, d), s01 + u * load(t1, d), s02 + u * load(t2, d)
                s03, s04, s05 = s03 + u * load(t3, d), s04 + u * load(t4, d), s05 + u * load(t5, d)
            store(E, b * wide + (m - 1) * OCTET, sums8(s00, s01, s02, s03, s04, s05))
    one, step, found = broadcast16(np.float32(1)), broadcast16(np.float32(rate)), zeros16()
    for b in range(blocks):  # apart from the products: each hides the other's latency better than their sequence would
        s = twice16(signs, b * OCTET)
        for a in range(0, m, 2):
            here, first = b * wide + a * OCTET, b * APART * OCTET
            w = load16(weights, first + a * OCTET) if apart else twice16(weights, first) * spread16(many, a)
            q = sigmoid(s * load16(E, here))
            store(E, here, (one - q) * (step * s * w))
            found = found + log2(q) * w
    return found


@inlined
def backward(D: int, rows: int, between: int, m: int, targets: int, blocks: int, E: int, wide: int) -> None:
    """X += E Y and Y += Eᵀ X, row by row in place, X being the first m `rows`.

    `between`, addresses of m rows, keep what is unfinished from one block of outputs to the next. The rows must differ
    from each other, and so must the targets, except that one may be the first target again if its E is 0.
    """
    for b in range(blocks):
        t0, t1 = address_in(targets, b * OUTPUTS), address_in(targets, b * OUTPUTS + 1)
        t2, t3 = address_in(targets, b * OUTPUTS + 2), address_in(targets, b * OUTPUTS + 3)
        t4, t5 = address_in(targets, b * OUTPUTS + 4), address_in(targets, b * OUTPUTS + 5)
        read = rows if b == 0 else between
        write = rows if b == blocks - 1 else between
        for d in range(0, D, LANES):
            y0, y1, y2, y3, y4, y5 = load(t0, d), load(t1, d), load(t2, d), load(t3, d), load(t4, d), load(t5, d)
            c0, c1, c2, c3, c4, c5 = y0, y1, y2, y3, y4, y5
            for a in range(m):
                here = b * wide + a * OCTET
                x, moved = load(address_in(rows, a), d), load(address_in(read, a), d)
                g = spread(E, here)
                c0, moved = c0 + g * x, moved + g * y0
                g = spread(E, here + 1)
                c1, moved = c1 + g * x, moved + g * y1
                g = spread(E, here + 2)
                c2, moved = c2 + g * x, moved + g * y2
                g = spread(E, here + 3)
                c3, moved = c3 + g * x, moved + g * y3
                g = spread(E, here + 4)
                c4, moved = c4 + g * x, moved + g * y4
                g = spread(E, here + 5)
                c5, moved = c5 + g * x, moved + g * y5
                store(address_in(write, a), d, moved)
            store(t1, d, c1)
            store(t2, d, c2)
            store(t3, d, c3)
            store(t4, d, c4)
            store(t5, d, c5)
            store(t0, d, c0)  # last: it may be among the others, unchanged


@inlined
def backward_one(D: int, x: int, moved: int, targets: int, blocks: int, E: int, wide: int) -> None:
    """moved = E Y and Y += Eᵀ X for one row x: what each of the rows that it was made of is to move by."""
    for b in range(blocks):
        t0, t1 = address_in(targets, b * OUTPUTS), address_in(targets, b * OUTPUTS + 1)
        t2, t3 = address_in(targets, b * OUTPUTS + 2), address_in(targets, b * OUTPUTS + 3)
        t4, t5 = address_in(targets, b * OUTPUTS + 4), address_in(targets, b * OUTPUTS + 5)
        g0, g1, g2 = spread(E, b * wide), spread(E, b * wide + 1), spread(E, b * wide + 2)
        g3, g4, g5 = spread(E, b * wide + 3), spread(E, b * wide + 4), spread(E, b * wide + 5)
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
def backward_apart(D: int, X: int, moved: int, targets: int, own: int, blocks: int, E: int, wide: int) -> None:
    """moved = E Y and Y += Eᵀ X for APART rows, each with a first target of its own: own [APART].

    X and moved [APART, D] are matrices. The first target of a row may be any other target too. No product is taken with
    what has changed; what goes beyond one block is done without haste.
    """
    t1, t2, t3 = address_in(targets, 1), address_in(targets, 2), address_in(targets, 3)
    t4, t5 = address_in(targets, 4), address_in(targets, 5)
    for a in range(APART):
        for d in range(0, D, LANES):
            total = zeros()
            for k in range(OUTPUTS, blocks * OUTPUTS):
                g = spread(E, k // OUTPUTS * wide + a * OCTET + k % OUTPUTS)
                total = total + g * load(address_in(targets, k), d)
            store(moved, a * D + d, total)
    for d in range(0, D, LANES):
        y1, y2, y3, y4, y5 = load(t1, d), load(t2, d), load(t3, d), load(t4, d), load(t5, d)
        c1, c2, c3, c4, c5 = y1, y2, y3, y4, y5
        for a in range(APART):
            x, here = load(X, a * D + d), a * OCTET
            total = load(moved, a * D + d) + spread(E, here) * load(address_in(own, a), d)
            g = spread(E, here + 1)
            c1, other = c1 + g * x, g * y1
            g = spread(E, here + 2)
            c2, total = c2 + g * x, total + g * y2
            g = spread(E, here + 3)
            c3, other = c3 + g * x, other + g * y3
            g = spread(E, here + 4)
            c4, total = c4 + g * x, total + g * y4
            g = spread(E, here + 5)
            c5, other = c5 + g * x, other + g * y5
            store(moved, a * D + d, total + other)
        store(t1, d, c1)
        store(t2, d, c2)
        store(t3, d, c3)
        store(t4, d, c4)
        store(t5, d, c5)
        for a in range(APART):  # read again: it may be one of those above, or that of another row
            t0 = address_in(own, a)
            store(t0, d, load(t0, d) + spread(E, a * OCTET) * load(X, a * D + d))
    for k in range(OUTPUTS, blocks * OUTPUTS):
        t0 = address_in(targets, k)
        for d in range(0, D, LANES):
            y = load(t0, d)
            for a in range(APART):
                y = y + spread(E, k // OUTPUTS * wide + a * OCTET + k % OUTPUTS) * load(X, a * D + d)
            store(t0, d, y)


@inlined
def fetch(row: int, D: int) -> None:
    """Ask for a row that will be needed soon."""
    for d in range(0, D, LINE):
        prefetch(row, d)


@inlined
def sum_rows(rows: int, begin: int, end: int, scale: float, total: int, D: int) -> None:
    """total = scale Σ row over rows[begin:end]; a row may come twice. Four or three registers wide, then one."""
    factor = broadcast(np.float32(scale))
    d = 0
    while d + 4 * LANES <= D:
        s0 = s1 = s2 = s3 = zeros()
        for a in range(begin, end):
            x = address_in(rows, a)
            s0, s1 = s0 + load(x, d), s1 + load(x, d + LANES)
            s2, s3 = s2 + load(x, d + 2 * LANES), s3 + load(x, d + 3 * LANES)
        store(total, d, factor * s0)
        store(total, d + LANES, factor * s1)
        store(total, d + 2 * LANES, factor * s2)
        store(total, d + 3 * LANES, factor * s3)
        d += 4 * LANES
    if d + 3 * LANES == D:
        s0 = s1 = s2 = zeros()
        for a in range(begin, end):
            x = address_in(rows, a)
            s0, s1, s2 = s0 + load(x, d), s1 + load(x, d + LANES), s2 + load(x, d + 2 * LANES)
        store(total, d, factor * s0)
        store(total, d + LANES, factor * s1)
        store(total, d + 2 * LANES, factor * s2)
        d = D
    while d < D:
        s0 = zeros()
        for a in range(begin, end):
            s0 = s0 + load(address_in(rows, a), d)
        store(total, d, factor * s0)
        d += LANES


@inlined
def add_to_rows(rows: int, begin: int, end: int, scale: float, added: int, D: int) -> None:
    """Each of rows[begin:end] += scale * added, as often as it comes. Four or three registers wide, then one."""
    factor = broadcast(np.float32(scale))
    d = 0
    while d + 4 * LANES <= D:
        m0, m1 = factor * load(added, d), factor * load(added, d + LANES)
        m2, m3 = factor * load(added, d + 2 * LANES), factor * load(added, d + 3 * LANES)
        for a in range(begin, end):
            x = address_in(rows, a)
            store(x, d, load(x, d) + m0)
            store(x, d + LANES, load(x, d + LANES) + m1)
            store(x, d + 2 * LANES, load(x, d + 2 * LANES) + m2)
            store(x, d + 3 * LANES, load(x, d + 3 * LANES) + m3)
        d += 4 * LANES
    if d + 3 * LANES == D:
        m0, m1, m2 = (
            factor * load(added, d),
            factor * load(added, d + LANES),
            factor * load(added, d + 2 * LANES),
        )
        for a in range(begin, end):
            x = address_in(rows, a)
            store(x, d, load(x, d) + m0)
            store(x, d + LANES, load(x, d + LANES) + m1)
            store(x, d + 2 * LANES, load(x, d + 2 * LANES) + m2)
        d = D
    while d < D:
        m0 = factor * load(added, d)
        for a in range(begin, end):
            x = address_in(rows, a)
            store(x, d, load(x, d) + m0)
        d += LANES
