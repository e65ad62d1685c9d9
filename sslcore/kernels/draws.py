"""Everything random of word2vec, drawn into small arrays before the arithmetic: subsampling, window sizes, negatives.

So the arithmetic is checked against the reference on the very same draws, and what is drawn for a stretch of text
depends only on its seed, never on which thread runs it or when.
"""

from typing import NamedTuple

import numpy as np

from sslcore.kernels.compilation import compiled

LATEST = 4096


class Windows(NamedTuple):
    """The words that subsampling left and the window of each: words[first[i]:last[i]] without words[i] itself.

    same[i] is where words[i] stood last, within the length of the longest window, or -1: what occurs twice in a window
    is found by it.
    """

    words: np.ndarray  # int32 [n]
    first: np.ndarray  # int32 [n]
    last: np.ndarray  # int32 [n]
    same: np.ndarray  # int32 [n]


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
    ids: np.ndarray, boundaries: np.ndarray, keep: np.ndarray, window: int, state: np.uint64
) -> tuple[Windows, np.uint64]:
    """Draw the windows of whole documents, and the new state.

    ids int32 are the tokens of the documents, boundaries their n + 1 offsets; keep float64 [V]. Subsampled words leave
    before windows are laid, so windows reach further, as in word2vec.c. Documents are never crossed.
    """
    words, first = np.empty(len(ids) + 1, np.int32), np.empty(len(ids), np.int32)
    last, same = np.empty(len(ids), np.int32), np.empty(len(ids), np.int32)
    latest = np.full(LATEST, -1, np.int32)  # by the low bits of a word: where one with those bits stood last
    low = np.uint64(0xFFFFFFFF)
    n = 0
    for s in range(len(boundaries) - 1):
        begin = n
        for t in range(boundaries[s], boundaries[s + 1]):
            state, bits = next_random(state)
            words[n] = ids[t]  # stays only if n moves on: no branch, it could not be predicted
            n += (bits >> np.uint64(11)) * (1.0 / 9007199254740992.0) < keep[ids[t]]
        for i in range(begin, n):
            state, bits = next_random(state)
            reach = 1 + int(((bits & low) * np.uint64(window)) >> np.uint64(32))
            first[i], last[i] = max(begin, i - reach), min(n, i + reach + 1)
            j, nearest = latest[words[i] % LATEST], max(begin, i - 2 * window)
            while j >= nearest and words[j] != words[i]:
                j -= 1
            same[i] = j if j >= nearest else -1
            latest[words[i] % LATEST] = i
    return Windows(words[:n], first[:n], last[:n], same[:n]), state


@compiled
def draw_negatives(noise: np.ndarray, groups: int, K: int, state: np.uint64) -> tuple[np.ndarray, np.ndarray]:
    """negatives int32 and times float32 [groups, K], drawn by the alias table.

    What is drawn twice in a group counts twice where it came first: its times is 2, and 0 in the second place.
    """
    negatives, times = np.empty((groups, K), np.int32), np.zeros((groups, K), np.float32)
    low, vocabulary = np.uint64(0xFFFFFFFF), np.uint64(len(noise))
    for g in range(groups):
        for k in range(K):
            state, bits = next_random(state)
            row = np.int64(((bits & low) * vocabulary) >> np.uint64(32))
            threshold, alias = noise[row, 0], np.int64(noise[row, 1])  # both, so that no branch is needed
            negatives[g, k] = row if (bits >> np.uint64(32)) < threshold else alias
            first = 0
            while negatives[g, first] != negatives[g, k]:
                first += 1
            times[g, first] += 1
    return negatives, times
