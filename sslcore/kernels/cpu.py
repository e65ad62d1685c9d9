"""Skip-gram with negative sampling on the CPU: the mathematics of `reference`, compiled.

A stretch of text is handled in two parts: `draw_windows` draws everything random (subsampling, window sizes, negatives)
into small arrays, `update_windows` does the arithmetic they ask for. So the arithmetic is checked against the reference
on the very same draws, and what is drawn for a stretch depends only on its seed, never on which thread runs it.

Per window the contexts and outputs are gathered into scratch rows (they then sit in L1, apart from the matrices that
are being changed), the dot products run two contexts × six outputs at a time in registers, and each matrix row is read
and written once per group. Rows are padded to a multiple of 8 floats so that no loop has a scalar remainder.

Letters: V words, D padded dimensions, K negatives, J = 1 + K outputs padded to a multiple of 6.
"""

import math

import numpy as np

from sslcore.kernels.compilation import compiled, compiled_in_order

OUTPUTS_AT_ONCE = 6  # 2 × 6 accumulators and the three loads they need fill the 16 vector registers
LANES = 8  # float32 in an AVX2 register
ONE, LOG2_E, LOG_2 = np.float32(1), np.float32(1.4426950408889634), np.float32(0.6931471805599453)
LARGEST = np.float32(40 * 1.4426950408889634)
ROUNDING = np.float32(1.5 * 2**23)


def padded(dimensions: int) -> int:
    """The row length that holds `dimensions` floats."""
    return -(-dimensions // LANES) * LANES


@compiled
def next_random(state: np.uint64) -> tuple[np.uint64, np.uint64]:
    """(new state, 64 random bits): splitmix64 (Steele, Lea, Flood 2014). Any uint64 is a state; the period is 2^64."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    z = state
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state, z ^ (z >> np.uint64(31))


@compiled
def alias_table(probabilities: np.ndarray) -> np.ndarray:
    """uint32 [V, 2] (threshold, alias): Walker's alias method (Vose 1991), exact for any vocabulary, one access a draw.

    Draw i uniformly; keep it if 32 random bits are below its threshold, else take its alias.
    """
    n = len(probabilities)
    table = np.empty((n, 2), np.uint32)
    scaled = probabilities * n
    small, large = np.empty(n, np.int64), np.empty(n, np.int64)
    n_small, n_large = 0, 0
    for i in range(n):
        if scaled[i] < 1.0:
            small[n_small] = i
            n_small += 1
        else:
            large[n_large] = i
            n_large += 1
    while n_small and n_large:
        n_small -= 1
        lesser, greater = small[n_small], large[n_large - 1]
        table[lesser, 0] = np.uint32(min(4294967295.0, scaled[lesser] * 4294967296.0))
        table[lesser, 1] = np.uint32(greater)
        scaled[greater] -= 1.0 - scaled[lesser]
        if scaled[greater] < 1.0:
            n_large -= 1
            small[n_small] = greater
            n_small += 1
    for left, count in ((small, n_small), (large, n_large)):  # what is 1 up to rounding
        for k in range(count):
            table[left[k], 0] = np.uint32(4294967295)
            table[left[k], 1] = np.uint32(left[k])
    return table


@compiled
def draw_windows(
    ids: np.ndarray,
    boundaries: np.ndarray,
    keep: np.ndarray,
    noise: np.ndarray,
    window: int,
    seed: int,
    words: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    negatives: np.ndarray,
) -> int:
    """Draw the windows of whole sentences into words, first, last [≥ len(ids)] and negatives [≥ len(ids), K]; how many.

    ids are the tokens of the sentences, boundaries their n + 1 offsets; keep float64 [V]. Subsampled
    words leave before windows are laid, so windows reach further, as in word2vec.c. Sentences are never crossed.
    """
    state = np.uint64(seed)
    vocabulary = np.uint64(len(noise))
    low = np.uint64(0xFFFFFFFF)
    n = 0
    for s in range(len(boundaries) - 1):
        begin = n
        for t in range(boundaries[s], boundaries[s + 1]):
            probability = keep[ids[t]]
            if probability < 1.0:
                state, bits = next_random(state)
                if (bits >> np.uint64(11)) * (1.0 / 9007199254740992.0) >= probability:
                    continue
            words[n] = ids[t]
            n += 1
        for i in range(begin, n):
            state, bits = next_random(state)
            reach = 1 + np.int64(((bits & low) * np.uint64(window)) >> np.uint64(32))
            first[i] = max(begin, i - reach)
            last[i] = min(n, i + reach + 1)
            for k in range(negatives.shape[1]):
                state, bits = next_random(state)
                row = np.int64(((bits & low) * vocabulary) >> np.uint64(32))
                negatives[i, k] = row if (bits >> np.uint64(32)) < noise[row, 0] else noise[row, 1]
    return n


@compiled_in_order
def positive_and_negative_probabilities(X: np.ndarray, P: np.ndarray, Q: np.ndarray, rows: int) -> None:
    """P = sigmoid(X) and Q = 1 - P of the first rows (and up to 7 values more), float32 [M, J]; |x| is cut at 40.

    Relative error below 3e-6. exp(x) = 2^k 2^f with |f| ≤ 1/2: adding 1.5 * 2^23 rounds to the integer k and leaves it
    in the low bits, a shift makes it the exponent; 2^f is its Taylor polynomial. Three plain loops over flat arrays,
    because those vectorise: math.exp would cost more than the rest of the window.
    """
    n = -(-rows * X.shape[1] // LANES) * LANES
    x, p, q = X.reshape(-1), P.reshape(-1), Q.reshape(-1)
    bits = p.view(np.int32)
    for i in range(n):
        t = x[i] * LOG2_E
        t = t if t < LARGEST else LARGEST
        t = t if t > -LARGEST else -LARGEST
        p[i] = t + ROUNDING
        f = (t - (p[i] - ROUNDING)) * LOG_2
        series = ONE / np.float32(120) + f * (ONE / np.float32(720))
        series = ONE / np.float32(24) + f * series
        series = ONE / np.float32(6) + f * series
        series = ONE / np.float32(2) + f * series
        series = ONE + f * series
        q[i] = ONE + f * series
    for i in range(n):
        bits[i] = (bits[i] << 23) + (127 << 23)
    for i in range(n):
        exponential = p[i] * q[i]
        q[i] = ONE / (ONE + exponential)
        p[i] = exponential * q[i]


@compiled
def copy_row(source: np.ndarray, target: np.ndarray) -> None:
    """A plain loop: assigning a slice would first ask whether the two overlap."""
    for d in range(len(target)):
        target[d] = source[d]


@compiled
def update_windows(
    inputs: np.ndarray,
    outputs: np.ndarray,
    words: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    negatives: np.ndarray,
    rate_begin: float,
    rate_end: float,
) -> tuple[float, int]:
    """(loss in nats, pairs) of `reference.update_windows` on the same draws; inputs, outputs float32 [V, D] in place.

    The loss is summed over every pair before its update: nothing is sampled, so it does not depend on how work is cut.
    """
    D = inputs.shape[1]
    K = negatives.shape[1]
    J = -(-(K + 1) // 6) * 6
    most = 2
    for i in range(len(words)):
        most = max(most, last[i] - first[i] + 1)
    X, Y = np.zeros((most, D), np.float32), np.zeros((J, D), np.float32)
    E = np.zeros((most + LANES, J), np.float32)  # a few rows more than used, so that flat loops may run over the end
    contexts, targets = np.zeros(most, np.int64), np.zeros(J, np.int64)
    P, Q = np.zeros_like(E), np.zeros_like(E)
    loss, likelihood, pairs = 0.0, 1.0, 0
    for i in range(len(words)):
        m = 0
        for j in range(first[i], last[i]):
            if j != i:
                contexts[m] = words[j]
                copy_row(inputs[words[j]], X[m])
                m += 1
        if m == 0:
            continue
        if m % 2:
            X[m].fill(0)
        targets[0] = words[i]
        copy_row(outputs[words[i]], Y[0])
        n = 1
        for k in range(K):
            if negatives[i, k] != words[i]:
                targets[n] = negatives[i, k]
                copy_row(outputs[negatives[i, k]], Y[n])
                n += 1
        for j in range(n, J):
            Y[j].fill(0)
        for a in range(0, m, 2):
            x0, x1 = X[a], X[a + 1]
            for b in range(0, n, 6):
                y0, y1, y2, y3, y4, y5 = Y[b], Y[b + 1], Y[b + 2], Y[b + 3], Y[b + 4], Y[b + 5]
                s00 = s01 = s02 = s03 = s04 = s05 = np.float32(0)
                s10 = s11 = s12 = s13 = s14 = s15 = np.float32(0)
                for d in range(D):
                    s00 += x0[d] * y0[d]
                    s01 += x0[d] * y1[d]
                    s02 += x0[d] * y2[d]
                    s03 += x0[d] * y3[d]
                    s04 += x0[d] * y4[d]
                    s05 += x0[d] * y5[d]
                    s10 += x1[d] * y0[d]
                    s11 += x1[d] * y1[d]
                    s12 += x1[d] * y2[d]
                    s13 += x1[d] * y3[d]
                    s14 += x1[d] * y4[d]
                    s15 += x1[d] * y5[d]
                E[a, b], E[a, b + 1], E[a, b + 2], E[a, b + 3], E[a, b + 4], E[a, b + 5] = s00, s01, s02, s03, s04, s05
                e1 = E[a + 1]
                e1[b], e1[b + 1], e1[b + 2], e1[b + 3], e1[b + 4], e1[b + 5] = s10, s11, s12, s13, s14, s15
        rate = np.float32(rate_begin + (rate_end - rate_begin) * i / len(words))
        positive_and_negative_probabilities(E, P, Q, m)
        for a in range(m):
            e, p, q = E[a], P[a], Q[a]
            likelihood *= p[0]
            e[0] = rate * q[0]
            for b in range(1, n):
                likelihood *= q[b]
                e[b] = -rate * p[b]
                if likelihood < 1e-100:  # one logarithm for many pairs: their likelihoods multiply
                    loss -= math.log(likelihood)
                    likelihood = 1.0
            for b in range(n, J):
                e[b] = 0.0
            if likelihood < 1e-100:  # again, for pairs without a negative
                loss -= math.log(likelihood)
                likelihood = 1.0
        if m % 2:
            E[m].fill(0)
        for a in range(m):
            row, e = inputs[contexts[a]], E[a]
            for b in range(0, n, 6):
                e0, e1, e2, e3, e4, e5 = e[b], e[b + 1], e[b + 2], e[b + 3], e[b + 4], e[b + 5]
                y0, y1, y2, y3, y4, y5 = Y[b], Y[b + 1], Y[b + 2], Y[b + 3], Y[b + 4], Y[b + 5]
                for d in range(D):
                    row[d] += e0 * y0[d] + e1 * y1[d] + e2 * y2[d] + e3 * y3[d] + e4 * y4[d] + e5 * y5[d]
        for b in range(n):
            row = outputs[targets[b]]
            for a in range(0, m, 2):
                e0, e1 = E[a, b], E[a + 1, b]
                x0, x1 = X[a], X[a + 1]
                for d in range(D):
                    row[d] += e0 * x0[d] + e1 * x1[d]
        pairs += m
    return loss - math.log(likelihood), pairs


@compiled
def train_stretch(
    ids: np.ndarray,
    boundaries: np.ndarray,
    keep: np.ndarray,
    noise: np.ndarray,
    window: int,
    n_negatives: int,
    seed: int,
    inputs: np.ndarray,
    outputs: np.ndarray,
    rate_begin: float,
    rate_end: float,
) -> tuple[float, int]:
    """Draw the windows of a stretch of text and update with them: (loss in nats, pairs)."""
    words, first, last = np.empty(len(ids), np.int32), np.empty(len(ids), np.int32), np.empty(len(ids), np.int32)
    negatives = np.empty((len(ids), n_negatives), np.int32)
    n = draw_windows(ids, boundaries, keep, noise, window, seed, words, first, last, negatives)
    return update_windows(inputs, outputs, words[:n], first[:n], last[:n], negatives[:n], rate_begin, rate_end)
