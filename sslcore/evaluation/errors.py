"""What a classifier gets wrong: by class, by pair of classes, and row by row, the surest mistakes first.

n rows, C classes. Classes are numbers, int [n]; probabilities float [n, C], calibrated if they are to mean something.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

from sslcore.finetuning.calibration import share_interval

if TYPE_CHECKING:
    import pyarrow as pa


class ClassScores(BaseModel):
    """One class: how many of its rows are found, and how many of those called so are of it."""

    model_config = ConfigDict(frozen=True)

    label: str
    rows: int
    predicted: int  # rows that were called so
    precision: float | None  # None where no row was called so
    recall: float | None  # None where no row is of it
    recall_low: float | None  # 95 % interval (Wilson)
    recall_high: float | None
    f1: float | None  # None where it neither occurs nor was said


class Confused(BaseModel):
    """Rows of one class that were called another."""

    model_config = ConfigDict(frozen=True)

    label: str
    predicted: str
    rows: int
    share: float  # of the class's rows


def confusion_counts(truth_n: np.ndarray, predicted_n: np.ndarray, classes: int) -> np.ndarray:
    """int64 [C, C]: rows by true class (line) and predicted class (column)."""
    return np.bincount(truth_n * classes + predicted_n, minlength=classes**2).reshape(classes, classes)


def class_report(truth_n: np.ndarray, predicted_n: np.ndarray, labels: Sequence[str]) -> tuple[ClassScores, ...]:
    """Scores of every class, in the order of `labels`; as scikit-learn's `precision_recall_fscore_support`."""
    counts_CC = confusion_counts(truth_n, predicted_n, len(labels))
    found = []
    for place, label in enumerate(labels):
        hits, rows, predicted = (
            int(counts_CC[place, place]),
            int(counts_CC[place].sum()),
            int(counts_CC[:, place].sum()),
        )
        low, high = share_interval(hits, rows) if rows else (None, None)
        found.append(
            ClassScores(
                label=label,
                rows=rows,
                predicted=predicted,
                precision=hits / predicted if predicted else None,
                recall=hits / rows if rows else None,
                recall_low=low,
                recall_high=high,
                f1=2 * hits / (rows + predicted) if rows + predicted else None,
            )
        )
    return tuple(found)


def most_confused(counts_CC: np.ndarray, labels: Sequence[str], *, most: int = 20) -> tuple[Confused, ...]:
    """The pairs of classes with the most mistakes, the worst first."""
    wrong_CC = counts_CC - np.diag(np.diag(counts_CC))
    order = np.argsort(-wrong_CC, axis=None, kind="stable")[:most]
    pairs = [divmod(int(place), len(labels)) for place in order]
    return tuple(
        Confused(
            label=labels[true],
            predicted=labels[said],
            rows=int(wrong_CC[true, said]),
            share=float(wrong_CC[true, said] / counts_CC[true].sum()),
        )
        for true, said in pairs
        if wrong_CC[true, said]
    )


def confident_mistakes(
    probabilities_nC: np.ndarray,
    truth_n: np.ndarray,
    labels: Sequence[str],
    *,
    texts: Sequence[str] | None = None,
    most: int = 50,
) -> "pa.Table":
    """The wrong rows of which the model is surest: either it has learnt something odd, or the label is.

    Columns: row (from 0), label, predicted, probability, probability_of_label, and text where texts are given.
    """
    import pyarrow as pa

    predicted_n = probabilities_nC.argmax(axis=1)
    confidence_n = probabilities_nC.max(axis=1)
    wrong = np.flatnonzero(predicted_n != truth_n)
    rows = wrong[np.argsort(-confidence_n[wrong], kind="stable")][:most]
    columns = {
        "row": pa.array(rows, pa.int64()),
        "label": pa.array([labels[place] for place in truth_n[rows]], pa.string()),
        "predicted": pa.array([labels[place] for place in predicted_n[rows]], pa.string()),
        "probability": pa.array(confidence_n[rows], pa.float64()),
        "probability_of_label": pa.array(probabilities_nC[rows, truth_n[rows]], pa.float64()),
    }
    if texts is not None:
        columns["text"] = pa.array([texts[row] for row in rows], pa.string())
    return pa.table(columns)
