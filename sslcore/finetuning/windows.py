"""Passages that are too long, in windows that overlap, and the best answer over all windows of a row.

Each window has a place for "no answer", the first token of its sequence, and then one for each of its passage tokens;
the places of all windows of all rows lie one after another.

Letters: n rows, V windows, T places of all windows.
"""

from typing import NamedTuple

import numpy as np


class Windows(NamedTuple):
    """V windows, those of a row one after another: tokens begins[v]:ends[v] of the passage of row rows[v]."""

    rows: np.ndarray  # int64 [V], rising
    begins: np.ndarray  # int64 [V]
    ends: np.ndarray  # int64 [V]

    @property
    def offsets(self) -> np.ndarray:
        """int64 [V + 1]: the places of window v are offsets[v]:offsets[v + 1]; the first is that of no answer."""
        return np.concatenate([[0], np.cumsum(self.ends - self.begins + 1)])

    def targets(self, first_n: np.ndarray, last_n: np.ndarray, unplaced: int) -> tuple[np.ndarray, np.ndarray]:
        """int64 [V] each: the places in its window of the first and the last token of the row's answer.

        0, no answer, where it is not wholly within the window; `unplaced` where first is.
        """
        first, last = first_n[self.rows], last_n[self.rows]
        inside = (first >= self.begins) & (last < self.ends) & (first >= 0)
        starts, stops = (np.where(inside, token - self.begins + 1, 0) for token in (first, last))
        return np.where(first == unplaced, unplaced, starts), np.where(first == unplaced, unplaced, stops)


class Spans(NamedTuple):
    """The best answer of each row."""

    first: np.ndarray  # int64 [n]: token of the passage; -1 where it has none
    last: np.ndarray  # int64 [n]
    score: np.ndarray  # float [n]: of its ends together; -inf without a token
    null_score: np.ndarray  # float [n]: the least of its windows


def windows_of(lengths_n: np.ndarray, room_n: np.ndarray, *, stride: int, answer: int) -> Windows:
    """The windows of passages of these lengths, in each of which so many tokens have room.

    One begins `stride` tokens after the other, or fewer, so that every `answer` tokens are together in one of them.
    """
    step_n = np.maximum(1, np.minimum(stride, room_n - answer))
    count_n = 1 + np.maximum(0, -(-(lengths_n - room_n) // step_n))
    rows = np.repeat(np.arange(len(lengths_n)), count_n)
    number = np.arange(len(rows)) - np.repeat(np.cumsum(count_n) - count_n, count_n)
    begins = number * step_n[rows]
    return Windows(rows, begins, np.minimum(begins + room_n[rows], lengths_n[rows]))


def best_spans(scores_T2: np.ndarray, windows: Windows, rows: int, *, longest: int) -> Spans:
    """start score + end score at its highest, over all spans of at most `longest` tokens of all windows of a row.

    The score of no answer is the least of what the windows give their first token (BERT's run_squad.py).
    """
    offsets = windows.offsets
    places = len(scores_T2)
    starts_T = scores_T2[:, 0].astype(np.float64)
    starts_T[offsets[:-1]] = -np.inf  # no answer begins there
    left_T = np.repeat(offsets[1:], np.diff(offsets)) - np.arange(places)  # to the end of its window
    best_T, tokens_T = np.full(places, -np.inf), np.ones(places, np.int64)
    for more in range(min(longest, places)):
        sums = starts_T[: places - more] + scores_T2[more:, 1]
        better = (sums > best_T[: places - more]) & (left_T[: places - more] > more)
        best_T[: places - more][better] = sums[better]
        tokens_T[: places - more][better] = more + 1
    null_V = scores_T2[offsets[:-1]].sum(axis=1)
    first, last = np.full(rows, -1), np.full(rows, -1)
    score, null_score = np.full(rows, -np.inf), np.full(rows, np.inf)
    np.minimum.at(null_score, windows.rows, null_V)
    bounds = offsets[np.searchsorted(windows.rows, np.arange(rows + 1))]
    window_T = np.repeat(np.arange(len(windows.rows)), np.diff(offsets))
    for row in range(rows):
        begin, end = bounds[row], bounds[row + 1]
        place = begin + int(best_T[begin:end].argmax())
        if best_T[place] > -np.inf:
            window = window_T[place]
            first[row] = windows.begins[window] + place - offsets[window] - 1
            last[row] = first[row] + tokens_T[place] - 1
            score[row] = best_T[place]
    return Spans(first, last, score, null_score)
