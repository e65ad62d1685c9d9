"""Skip-gram with negative sampling on the CPU: the mathematics of `reference`, compiled.

A stretch of text is handled in two parts: `draws.draw_windows` draws everything random, `update_windows` does the
arithmetic that the draws ask for.

Per window the contexts and outputs are gathered into scratch rows (they then sit in L1, apart from the matrices that
are being changed), the dot products run two contexts × six outputs at a time in registers, and each matrix row is read
and written once per group. Rows are padded to a multiple of 8 floats so that no loop has a scalar remainder.

Letters: V words, D padded dimensions, K negatives, J = 1 + K outputs padded to a multiple of 6.
"""

import math

import numpy as np

from sslcore.kernels.compilation import compiled, compiled_in_order
from sslcore.kernels.draws import draw_windows

OUTPUTS_AT_ONCE = 6  # 2 × 6 accumulators and the three loads they need fill the 16 vector registers
LANES = 8  # float32 in an AVX2 register
ONE, LOG2_E, LOG_2 = np.float32(1), np.float32(1.4426950408889634), np.float32(0.6931471805599453)
LARGEST = np.float32(40 * 1.4426950408889634)
ROUNDING = np.float32(1.5 * 2**23)


def padded(dimensions: int) -> int:
    """The row length that holds `dimensions` floats."""
    return -(-dimensions // LANES) * LANES


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
def update_logits(X: np.ndarray, Y: np.ndarray, E: np.ndarray, m: int, n: int) -> None:
    """E[:m, :n] = X[:m] Y[:n]ᵀ, float32 [M, J]; m rounded up to 2 and n to 6."""
    for a in range(0, m, 2):
        x0, x1, e0, e1 = X[a], X[a + 1], E[a], E[a + 1]
        for b in range(0, n, OUTPUTS_AT_ONCE):
            y0, y1, y2, y3, y4, y5 = Y[b], Y[b + 1], Y[b + 2], Y[b + 3], Y[b + 4], Y[b + 5]
            s00 = s01 = s02 = s03 = s04 = s05 = np.float32(0)
            s10 = s11 = s12 = s13 = s14 = s15 = np.float32(0)
            for d in range(X.shape[1]):
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
            e0[b], e0[b + 1], e0[b + 2], e0[b + 3], e0[b + 4], e0[b + 5] = s00, s01, s02, s03, s04, s05
            e1[b], e1[b + 1], e1[b + 2], e1[b + 3], e1[b + 4], e1[b + 5] = s10, s11, s12, s13, s14, s15


@compiled
def update_contexts(inputs: np.ndarray, contexts: np.ndarray, Y: np.ndarray, E: np.ndarray, m: int, n: int) -> None:
    """inputs[contexts[:m]] += E[:m, :n] Y[:n], six outputs for each time a row is read and written."""
    for a in range(m):
        row, e = inputs[contexts[a]], E[a]
        for b in range(0, n, OUTPUTS_AT_ONCE):
            e0, e1, e2, e3, e4, e5 = e[b], e[b + 1], e[b + 2], e[b + 3], e[b + 4], e[b + 5]
            y0, y1, y2, y3, y4, y5 = Y[b], Y[b + 1], Y[b + 2], Y[b + 3], Y[b + 4], Y[b + 5]
            for d in range(len(row)):
                row[d] += e0 * y0[d] + e1 * y1[d] + e2 * y2[d] + e3 * y3[d] + e4 * y4[d] + e5 * y5[d]


@compiled
def update_targets(outputs: np.ndarray, targets: np.ndarray, X: np.ndarray, E: np.ndarray, m: int, n: int) -> None:
    """outputs[targets[:n]] += E[:m, :n]ᵀ X[:m], two contexts for each time a row is read and written."""
    for b in range(n):
        row = outputs[targets[b]]
        for a in range(0, m, 2):
            e0, e1, x0, x1 = E[a, b], E[a + 1, b], X[a], X[a + 1]
            for d in range(len(row)):
                row[d] += e0 * x0[d] + e1 * x1[d]


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
    D, K = inputs.shape[1], negatives.shape[1]
    J = -(-(K + 1) // OUTPUTS_AT_ONCE) * OUTPUTS_AT_ONCE
    most = 3  # contexts of a window, and a row to fill up pairs
    for i in range(len(words)):
        most = max(most, last[i] - first[i] + 1)
    X, Y = np.zeros((most, D), np.float32), np.zeros((J, D), np.float32)
    E = np.zeros((most + LANES, J), np.float32)  # a few rows more than used, so that flat loops may run over the end
    P, Q = np.zeros_like(E), np.zeros_like(E)
    contexts, targets = np.zeros(most, np.int64), np.zeros(J, np.int64)
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
        targets[0] = words[i]
        copy_row(outputs[words[i]], Y[0])
        n = 1
        for k in range(K):
            if negatives[i, k] != words[i]:
                targets[n] = negatives[i, k]
                copy_row(outputs[negatives[i, k]], Y[n])
                n += 1
        X[m].fill(0)  # what fills up the last pair of contexts
        Y[n:].fill(0)
        update_logits(X, Y, E, m, n)
        positive_and_negative_probabilities(E, P, Q, m)
        rate = np.float32(rate_begin + (rate_end - rate_begin) * i / len(words))
        for a in range(m):
            e, p, q = E[a], P[a], Q[a]
            e.fill(0)
            e[0], q[0] = rate * q[0], p[0]  # q: now the probability of what each output should say
            for b in range(1, n):
                e[b] = -rate * p[b]
            for b in range(n):
                likelihood *= q[b]
                if likelihood < 1e-100:  # one logarithm for many factors
                    loss -= math.log(likelihood)
                    likelihood = 1.0
        E[m].fill(0)
        update_contexts(inputs, contexts, Y, E, m, n)
        update_targets(outputs, targets, X, E, m, n)
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
