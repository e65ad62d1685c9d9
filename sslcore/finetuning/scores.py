"""How good a classifier's predictions are: the one definition that training, evaluation and the report share."""

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
