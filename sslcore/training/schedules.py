"""Learning rates: functions of the share of the run that is done, 0 to 1, so they need not know its length."""

import math
from collections.abc import Callable

Schedule = Callable[[float], float]

COOLING = 0.2  # share of the run in which a trapezoid falls (Hägele et al. 2024, figure 5: a fifth is enough)


def linear_decay(start: float, end: float) -> Schedule:
    """word2vec's: from start to end in a straight line."""
    return lambda done: start + (end - start) * done


def constant(rate: float) -> Schedule:
    return lambda done: rate


def warmup_linear(peak: float, warmup: float = 0.05) -> Schedule:
    """In a line to `peak`, then in a line to 0 (Devlin et al. 2019)."""
    return _warmed(peak, warmup, lambda done: (1 - done) / (1 - warmup))


def warmup_cosine(peak: float, warmup: float = 0.05) -> Schedule:
    """In a line to `peak` over the first `warmup` of the run, then a half cosine to 0 (Loshchilov, Hutter 2017)."""
    return _warmed(peak, warmup, lambda done: 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup))))


def warmup_trapezoid(peak: float, warmup: float = 0.05) -> Schedule:
    """In a line to `peak`, there until the last fifth of the run, then in a line to 0 (Zhai et al. 2022)."""
    return _warmed(peak, warmup, lambda done: min(1.0, (1 - done) / COOLING))


def _warmed(peak: float, warmup: float, after: Schedule) -> Schedule:
    def rate(done: float) -> float:
        if done < warmup:
            return peak * (done + 1e-3) / (warmup + 1e-3)
        return peak * after(done)

    return rate


SCHEDULES: dict[str, Callable[[float, float], Schedule]] = {
    "linear": warmup_linear,
    "cosine": warmup_cosine,
    "trapezoid": warmup_trapezoid,
}
