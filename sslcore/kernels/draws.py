"""Everything random of skip-gram, drawn into small arrays before the arithmetic: subsampling, window sizes, negatives.

So the arithmetic is checked against the reference on the very same draws, and what is drawn for a stretch of text
depends only on its seed, never on which thread runs it or when.
"""

import numpy as np

from sslcore.kernels.compilation import compiled


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
    """Draw the windows of whole documents into words, first, last [≥ len(ids)] and negatives [≥ len(ids), K]; how many.

    ids are the tokens of the documents, boundaries their n + 1 offsets; keep float64 [V]. Subsampled
    words leave before windows are laid, so windows reach further, as in word2vec.c. Documents are never crossed.
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
