"""Intervals for scores: a bootstrap over test rows and seeds, the same draws for every contender.

R resamples, n test rows, C classes, S seeds. A resample draws n test rows and S seeds with replacement (hierarchical
bootstrap; Davison & Hinkley 1997, §3.8) and every contender is scored on those very rows and seeds, so that a
difference between two contenders does not carry the luck of the test set twice. One resample of the rows is a vector of
counts, and F1 is a ratio of sums over rows: all resamples of a cell are one product [R, n] × [n, 2C].
"""

import numpy as np

from sslcore.randomness import numpy_generator


def row_counts(rows: int, resamples: int, seed: int) -> np.ndarray:
    """float32 [resamples, rows]: how often each resample drew each row; every line sums to `rows`."""
    generator = numpy_generator(seed, "bootstrap", "rows")
    counts = np.empty((resamples, rows), np.float32)
    for resample in range(resamples):
        counts[resample] = np.bincount(generator.integers(rows, size=rows), minlength=rows)
    return counts


def seed_shares(seeds: int, resamples: int, seed: int) -> np.ndarray:
    """float64 [resamples, seeds]: the share of each seed in each resample; every line sums to 1."""
    draws = numpy_generator(seed, "bootstrap", "seeds").integers(seeds, size=(resamples, seeds))
    return (draws[:, :, None] == np.arange(seeds)).mean(axis=1)


def resampled_scores(truth: np.ndarray, prediction: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Macro-F1 and accuracy of one cell in every resample, float64 [R] each.

    truth and prediction are class numbers, int[n]. As `macro_f1`: the mean over the classes of the resampled truth.
    """
    classes = int(max(truth.max(), prediction.max())) + 1
    hit = truth == prediction
    indicators = np.zeros((len(truth), 2 * classes), np.float32)
    indicators[np.arange(len(truth)), prediction] = 1
    indicators[np.flatnonzero(hit), classes + truth[hit]] = 1
    sums = (counts @ indicators).astype(np.float64)  # counts are whole numbers below 2²⁴: float32 sums are exact
    predicted, hits = sums[:, :classes], sums[:, classes:]
    true = true_counts(truth, counts, classes)
    occurs = true > 0
    f1 = np.divide(2 * hits, true + predicted, out=np.zeros_like(hits), where=occurs)
    return f1.sum(axis=1) / occurs.sum(axis=1), hits.sum(axis=1) / true.sum(axis=1)


def true_counts(truth: np.ndarray, counts: np.ndarray, classes: int) -> np.ndarray:
    """float64 [R, classes]: resampled rows of each class."""
    order = np.argsort(truth, kind="stable")
    present, starts = np.unique(truth[order], return_index=True)
    result = np.zeros((len(counts), classes))
    result[:, present] = np.add.reduceat(counts[:, order], starts, axis=1)
    return result


def interval(draws: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The central percentile interval of bootstrap draws."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def seed_noise(per_seed: np.ndarray) -> float | None:
    """Half-width of the 95 % t interval of a mean over seeds, from scores (or paired differences) per seed, float[S].

    The bootstrap of three seeds understates how much a fourth could differ; a difference smaller than this is not
    called a win. None with one seed: then nothing is known about it.
    """
    if len(per_seed) < 2:
        return None
    from scipy.stats import t

    return float(t.ppf(0.975, len(per_seed) - 1) * per_seed.std(ddof=1) / np.sqrt(len(per_seed)))
