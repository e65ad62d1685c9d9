"""Learning rates: functions of the share of the run that is done, 0 to 1, so they need not know its length."""

import math
from collections.abc import Callable

Schedule = Callable[[float], float]


def linear_decay(start: float, end: float) -> Schedule:
    """word2vec's: from start to end in a straight line."""
    return lambda done: start + (end - start) * done


def constant(rate: float) -> Schedule:
    return lambda done: rate


def warmup_cosine(peak: float, warmup: float = 0.05) -> Schedule:
    """In a line to `peak` over the first `warmup` of the run, then a half cosine to 0 (Loshchilov, Hutter 2017)."""

    def rate(done: float) -> float:
        if done < warmup:
            return peak * (done + 1e-3) / (warmup + 1e-3)
        return peak * 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))

    return rate
