"""Label-efficiency curves: score against labels per class, read on a logarithmic axis.

A curve is x float[K], labels per class, rising, and y float[K], scores. Between two budgets the score is a straight
line in log(labels): doubling the labels is the natural step.
"""

from typing import Literal, NamedTuple

import numpy as np


def area(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean score over the logarithm of labels: ∫ y d(log x) / (log x_K − log x_1), in the unit of the score.

    y is [..., K]; with one budget it is the score there.
    """
    if len(x) == 1:
        return y[..., 0]
    steps = np.diff(np.log(x))
    return ((y[..., 1:] + y[..., :-1]) / 2 * steps).sum(axis=-1) / steps.sum()


class LabelsNeeded(NamedTuple):
    """How many labels per class a curve needs for a score; `bound` says when the curve only gives a limit."""

    labels: float
    bound: Literal["about", "at most", "more than"]


def labels_needed(x: np.ndarray, y: np.ndarray, score: float) -> LabelsNeeded:
    """Where the curve (x, y) first reaches `score`, by interpolation in log(labels)."""
    if y[0] >= score:
        return LabelsNeeded(float(x[0]), "at most")
    for k in range(1, len(x)):
        if y[k] >= score:
            share = (score - y[k - 1]) / (y[k] - y[k - 1])
            return LabelsNeeded(float(np.exp(np.log(x[k - 1]) + share * np.log(x[k] / x[k - 1]))), "about")
    return LabelsNeeded(float(x[-1]), "more than")


def break_even(x: np.ndarray, gain: np.ndarray) -> LabelsNeeded:
    """The labels per class from which there is no gain any more, up to all of them.

    gain is the difference of two curves at x. "at most" x₁: never a gain. "more than" x_K: still a
    gain with all labels.
    """
    if gain[-1] > 0:
        return LabelsNeeded(float(x[-1]), "more than")
    k = len(x) - 1
    while k > 0 and gain[k - 1] <= 0:
        k -= 1
    if k == 0:
        return LabelsNeeded(float(x[0]), "at most")
    share = gain[k - 1] / (gain[k - 1] - gain[k])
    return LabelsNeeded(float(np.exp(np.log(x[k - 1]) + share * np.log(x[k] / x[k - 1]))), "about")
