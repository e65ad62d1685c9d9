"""How good predictions are: the one definition that training, evaluation and the report share."""

from collections.abc import Callable
from typing import Any

import numpy as np


def macro_f1(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Mean over the classes that occur in `truth` of F1 = 2·tp / (predicted + true), in 0..1.

    Both are class numbers, int[n], n ≥ 1. A predicted class without a true row has no F1 of its own: it already cost
    the classes whose rows it took. Equal to scikit-learn's `f1_score(average="macro")` over the labels of `truth`.
    """
    size = int(max(truth.max(), prediction.max())) + 1
    true = np.bincount(truth, minlength=size)
    predicted = np.bincount(prediction, minlength=size)
    hits = np.bincount(truth[truth == prediction], minlength=size)
    occurs = true > 0
    return float(np.mean(2 * hits[occurs] / (true + predicted)[occurs]))


def accuracy(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Share of rows predicted right, in 0..1."""
    return float(np.mean(truth == prediction))


def cross_entropy(truth: np.ndarray, logits: np.ndarray) -> float:
    """Mean −ln p(true class), nats, of logits float[n, classes]."""
    highest = logits.max(axis=1, keepdims=True)
    normaliser = np.log(np.exp(logits - highest).sum(axis=1)) + highest[:, 0]
    return float(np.mean(normaliser - logits[np.arange(len(truth)), truth]))


def selection_score(truth: np.ndarray, logits: np.ndarray) -> tuple[float, float]:
    """What a validation set chooses by, higher is better: macro-F1, and the log-likelihood where that ties.

    With two labels per class most settings tie on F1; the likelihood then still knows which is surer of the right one.
    """
    return macro_f1(truth, logits.argmax(axis=1)), -cross_entropy(truth, logits)


def matthews(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Matthews' correlation coefficient of any number of classes, −1..1 (Gorodkin 2004, equation 8; CoLA's metric).

    Both are class numbers, int[n], n ≥ 1. 0 where all rows have, or all are given, one class. Equal to scikit-learn's
    `matthews_corrcoef`.
    """
    size = int(max(truth.max(), prediction.max())) + 1
    rows = len(truth)
    true = np.bincount(truth, minlength=size).astype(float)
    predicted = np.bincount(prediction, minlength=size).astype(float)
    covariance = np.sum(truth == prediction) * rows - true @ predicted
    scale = np.sqrt((rows**2 - true @ true) * (rows**2 - predicted @ predicted))
    return float(covariance / scale) if scale else 0.0


def f1_of(positive: int, truth: np.ndarray, prediction: np.ndarray) -> float:
    """F1 = 2·tp / (predicted + true) of one class, 0..1; 0 where it neither occurs nor is predicted."""
    true, predicted = truth == positive, prediction == positive
    return float(2 * np.sum(true & predicted) / max(1, np.sum(true) + np.sum(predicted)))


def micro_f1_of_labels(truth: np.ndarray, prediction: np.ndarray) -> float:
    """F1 of all answers "this text has this label" in one, 0..1; both are bool [n, labels]."""
    return float(2 * np.sum(truth & prediction) / max(1, np.sum(truth) + np.sum(prediction)))


def macro_f1_of_labels(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Mean of the labels' F1, over those that occur in `truth`, 0..1; both are bool [n, labels].

    0 where none occurs. Equal to scikit-learn's `f1_score(average="macro")` over the labels of `truth`.
    """
    true, predicted, hits = truth.sum(axis=0), prediction.sum(axis=0), (truth & prediction).sum(axis=0)
    occurs = true > 0
    return float(np.mean(2 * hits[occurs] / (true + predicted)[occurs])) if occurs.any() else 0.0


def binary_cross_entropy(truth: np.ndarray, logits: np.ndarray) -> float:
    """Mean over texts and labels of −ln p(what is so), nats, of bool and logits float, both [n, labels]."""
    return float(np.mean(np.logaddexp(0, np.where(truth, -logits, logits))))


def spearman(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Correlation of the ranks of two float[n], −1..1; 0 where either is the same for all rows."""
    from scipy.stats import spearmanr

    return _correlation(spearmanr, truth, prediction)


def pearson(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Correlation of two float[n], −1..1; 0 where either is the same for all rows."""
    from scipy.stats import pearsonr

    return _correlation(pearsonr, truth, prediction)


def _correlation(of: Callable[..., Any], truth: np.ndarray, prediction: np.ndarray) -> float:
    if len(truth) < 2 or np.ptp(truth) == 0 or np.ptp(prediction) == 0:
        return 0.0
    return float(of(truth, prediction).statistic)
