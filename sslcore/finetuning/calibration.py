"""Whether probabilities can be taken at their word, and the one number that mends them: the temperature.

A network that was trained to be right is seldom as right as it says. Dividing its logits by a temperature T, fitted on
validation rows, corrects the confidence and leaves every decision as it was: q_C = softmax(z_C / T) (Guo et al. 2017,
eq. 9, "On Calibration of Modern Neural Networks").

n rows, C classes. Logits float [n, C], classes int [n].
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from sslcore.errors import UserError
from sslcore.finetuning.scores import accuracy, cross_entropy
from sslcore.randomness import numpy_generator

BOUNDS = (0.01, 100.0)
"""The temperatures that are tried; at the higher one all classes are about equally likely."""
FEW = 100  # rows: with fewer, T is uncertain by a tenth and more
Z = 1.959964  # the normal's 97.5 % quantile


class Temperature(BaseModel):
    """The temperature of a model, and what it rests on."""

    model_config = ConfigDict(frozen=True)

    temperature: float
    rows: int  # that it was fitted on
    mistakes: int  # among them
    at_bound: Literal["low", "high"] | None = None
    note: str = ""  # what is to be known of it


class Bin(BaseModel):
    """Rows of about one confidence: what the model said and what came true."""

    model_config = ConfigDict(frozen=True)

    rows: int
    confidence: float  # mean probability of the predicted class
    accuracy: float
    low: float  # 95 % interval of the accuracy (Wilson 1927)
    high: float


class Calibration(BaseModel):
    """How far the probabilities of some rows are from what came true."""

    model_config = ConfigDict(frozen=True)

    rows: int
    accuracy: float
    confidence: float  # mean probability of the predicted class: above the accuracy, the model is too sure
    expected_error: float  # ECE, 0 to 1
    expected_error_low: float
    expected_error_high: float
    brier: float  # 0 to 2
    negative_log_likelihood: float  # nats
    reliability: tuple[Bin, ...]


def fit_temperature(logits_nC: np.ndarray, classes_n: np.ndarray) -> Temperature:
    """The T that makes the true classes likeliest: argmin_T −1/n Σ log softmax(z / T)[y].

    In β = 1/T the loss is convex, so its slope E_β[z] − z_y, averaged over the rows, crosses zero once: bisection finds
    that however logits are scaled. Rows without a mistake have no such T, the surer the likelier. Then T is where the
    mean confidence is (n + 1)/(n + 2), which is what n successes of n say of the next (Laplace's rule of succession;
    Platt 1999 bounds the targets of his sigmoid by it). Without rows, and where all logits are equal, T is 1.
    """
    logits, classes = _checked(logits_nC, classes_n)
    rows = len(classes)
    if not rows:
        return Temperature(
            temperature=1, rows=0, mistakes=0, note="no labelled validation rows: probabilities are as trained"
        )
    mistakes = int((logits[np.arange(rows), classes] < logits.max(axis=1)).sum())
    if np.ptp(logits, axis=1).max() == 0:
        return Temperature(
            temperature=1, rows=rows, mistakes=mistakes, note="all classes have equal logits: no temperature matters"
        )
    notes = [f"only {rows:,} validation rows: the temperature is uncertain"] if rows < FEW else []
    if len(np.unique(classes)) == 1:
        notes.append("all validation rows have one class: the temperature may be wrong for the others")
    true_logits = logits[np.arange(rows), classes]

    def slope(inverse: float) -> float:
        return float(np.mean((_softmax(logits * inverse) * logits).sum(axis=1) - true_logits))

    def too_sure(inverse: float) -> float:
        return float(_softmax(logits * inverse).max(axis=1).mean() - (rows + 1) / (rows + 2))

    inverse, bound = _root(slope if mistakes else too_sure, 1 / BOUNDS[1], 1 / BOUNDS[0])
    if not mistakes:
        share = f"{rows + 1:,}/{rows + 2:,}"
        notes.append(f"no mistake among {rows:,} rows: they are taken to be {share} sure, as the next may be one")
    if bound == "high":
        notes.append(f"the logits say less than chance does: the temperature is the highest tried, {BOUNDS[1]:g}")
    if bound == "low":
        notes.append(f"the temperature is the lowest tried, {BOUNDS[0]:g}")
    return Temperature(temperature=1 / inverse, rows=rows, mistakes=mistakes, at_bound=bound, note="; ".join(notes))


def calibration(
    logits_nC: np.ndarray, classes_n: np.ndarray, *, seed: int, bins: int = 15, resamples: int = 1000
) -> Calibration:
    """All of the above of rows whose logits, divided by a temperature or not, are these. n ≥ 1."""
    logits, classes = _checked(logits_nC, classes_n)
    if not len(classes):
        raise UserError("no rows to measure calibration on; give labelled rows that were not trained on")
    confidence, right = confidence_and_success(logits, classes)
    low, high = expected_error_interval(confidence, right, bins=bins, resamples=resamples, seed=seed)
    return Calibration(
        rows=len(classes),
        accuracy=accuracy(classes, logits.argmax(axis=1)),
        confidence=float(confidence.mean()),
        expected_error=expected_error(confidence, right, bins=bins),
        expected_error_low=low,
        expected_error_high=high,
        brier=brier(logits, classes),
        negative_log_likelihood=cross_entropy(classes, logits),
        reliability=reliability(confidence, right, bins=bins),
    )


def confidence_and_success(logits_nC: np.ndarray, classes_n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probability float64 [n] of the predicted class, and whether it is the true one, bool [n]."""
    logits = np.asarray(logits_nC, np.float64)
    return _softmax(logits).max(axis=1), logits.argmax(axis=1) == classes_n


def expected_error(confidence_n: np.ndarray, right_n: np.ndarray, *, bins: int = 15) -> float:
    """ECE = Σ_b n_b/n · |accuracy_b − confidence_b| over bins of equal mass: sorted by confidence, cut in equal parts.

    Bins of equal width (Guo et al. 2017, eq. 3) leave most of a good classifier's rows in one bin, and one of few rows
    beside it; equal mass (Nixon et al. 2019, "Measuring Calibration in Deep Learning") has the least noise in each.
    """
    gaps = [right_n[rows].sum() - confidence_n[rows].sum() for rows in _bins(confidence_n, bins)]
    return float(np.abs(gaps).sum() / len(confidence_n))


def expected_error_interval(
    confidence_n: np.ndarray, right_n: np.ndarray, *, bins: int = 15, resamples: int = 1000, seed: int
) -> tuple[float, float]:
    """The 95 % interval of ECE: all errors t·ECE at which what was seen lies in the middle 95 % of what would be.

    An ECE is too high by the noise of its bins: even true probabilities have one above 0. The quantiles of resampled
    rows add that noise once more; in simulations of 300 to 3,000 rows they held the true error in 0 to 96 % of cases.
    So the bootstrap is parametric and turned round (test inversion, Carpenter 1999): gaps of the bins t times the seen
    ones, noise as of binomial counts. That held it in 87 to 98 %, also where it is 0.
    """
    gaps, shares, spreads = [], [], []
    for rows in _bins(confidence_n, bins):
        smoothed = (right_n[rows].sum() + 1) / (len(rows) + 2)  # a bin without a mistake has noise, too
        gaps.append(right_n[rows].mean() - confidence_n[rows].mean())
        shares.append(len(rows) / len(confidence_n))
        spreads.append(np.sqrt(smoothed * (1 - smoothed) / len(rows)))
    noise_Rb = numpy_generator(seed, "bootstrap", "calibration").normal(size=(resamples, len(gaps))) * spreads
    seen = np.abs(gaps) @ np.array(shares)

    def would_be(times: float) -> np.ndarray:
        return np.abs(times * np.array(gaps) + noise_Rb) @ np.array(shares)

    low = _crossing(lambda times: np.mean(would_be(times) >= seen) - 0.025, 0.0, 1.0)
    high = _crossing(lambda times: 0.025 - np.mean(would_be(times) <= seen), 0.0, 10.0)
    return float(low * seen), float(min(1.0, max(1.0, high) * seen))


def reliability(confidence_n: np.ndarray, right_n: np.ndarray, *, bins: int = 15) -> tuple[Bin, ...]:
    """The bins of ECE, the least confident first: what a reliability diagram draws. Fewer where rows are few."""
    found = []
    for rows in _bins(confidence_n, bins):
        low, high = share_interval(int(right_n[rows].sum()), len(rows))
        found.append(
            Bin(
                rows=len(rows),
                confidence=float(confidence_n[rows].mean()),
                accuracy=float(right_n[rows].mean()),
                low=low,
                high=high,
            )
        )
    return tuple(found)


def brier(logits_nC: np.ndarray, classes_n: np.ndarray) -> float:
    """Mean Σ_C (p_C − [C is true])², 0 to 2 (Brier 1950): scikit-learn's with `scale_by_half=False`."""
    probabilities = _softmax(np.asarray(logits_nC, np.float64))
    probabilities[np.arange(len(classes_n)), classes_n] -= 1
    return float(np.mean((probabilities**2).sum(axis=1)))


def share_interval(hits: int, rows: int) -> tuple[float, float]:
    """95 % interval of a share, `hits` of `rows` (Wilson 1927): good for few rows and near 0 and 1, too."""
    if not rows:
        return 0.0, 1.0
    share = hits / rows
    middle = (share + Z**2 / (2 * rows)) / (1 + Z**2 / rows)
    half = Z / (1 + Z**2 / rows) * np.sqrt(share * (1 - share) / rows + Z**2 / (4 * rows**2))
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))


def _bins(confidence_n: np.ndarray, bins: int) -> list[np.ndarray]:
    """The rows in bins of equal mass, the least confident first."""
    return np.array_split(np.argsort(confidence_n, kind="stable"), min(bins, len(confidence_n)))


def _root(function: Callable[[float], float], low: float, high: float) -> tuple[float, Literal["low", "high"] | None]:
    """Where a rising function of 1/T crosses zero; a bound of T, and which, if it does not."""
    if function(low) >= 0:
        return low, "high"
    if function(high) <= 0:
        return high, "low"
    logarithm = _crossing(lambda x: function(float(np.exp(x))), float(np.log(low)), float(np.log(high)))
    return float(np.exp(logarithm)), None


def _crossing(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function crosses zero, by halving; the end that is nearer to it, if it does not."""
    if function(low) >= 0:
        return low
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if function(middle) > 0 else (middle, high)
    return (low + high) / 2


def _softmax(logits_nC: np.ndarray) -> np.ndarray:
    odds = np.exp(logits_nC - logits_nC.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def _checked(logits_nC: np.ndarray, classes_n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float64 logits and int classes that fit each other; UserError for those that do not."""
    logits, classes = np.asarray(logits_nC, np.float64), np.asarray(classes_n)
    if logits.ndim != 2 or len(logits) != len(classes):
        raise UserError(
            f"logits of shape {list(logits.shape)} do not fit {len(classes):,} classes; one line of logits is expected "
            "for each row"
        )
    unknown = np.flatnonzero((classes < 0) | (classes >= logits.shape[1]))
    if len(unknown):
        raise UserError(
            f"{len(unknown):,} rows have a class that the {logits.shape[1]} logits do not have, as row "
            f"{int(unknown[0]):,} (class {classes[unknown[0]]}); leave out the rows whose label the model does not know"
        )
    strange = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(strange):
        raise UserError(
            f"the logits of {len(strange):,} rows are not finite, as those of row {int(strange[0]):,}; the model has "
            "diverged: train it with a lower learning rate"
        )
    return logits, classes
