"""Rows whose label is probably wrong, by confident learning (Northcutt, Jiang & Chuang 2021, JAIR 70).

A class has a threshold of its own: the mean probability that the rows labelled so are given of it. A row that reaches
another class's threshold, and that class's probability is the highest of those reached, counts as confidently of it
(their eq. 1 and 2, the confident joint). Off the diagonal lie the likely label errors. That corrects for classes that
the model is always surer, or less sure, of. `cleanlab` does the same with `filter_by="confident_learning"`.

The probabilities must come from a model that has not seen the row's label: of rows held out, or cross-validated.
n rows, C classes, D dimensions.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sslcore.errors import UserError
from sslcore.randomness import derive_seed

if TYPE_CHECKING:
    import pyarrow as pa


def confident_classes(probabilities_nC: np.ndarray, classes_n: np.ndarray) -> np.ndarray:
    """int64 [n]: the class that each row is confidently of; −1 where it reaches no threshold.

    A class without a row has no threshold, and no row is of it.
    """
    number = probabilities_nC.shape[1]
    own_n = probabilities_nC[np.arange(len(classes_n)), classes_n]
    rows_C = np.bincount(classes_n, minlength=number)
    sums_C = np.bincount(classes_n, weights=own_n, minlength=number)
    thresholds_C = np.where(rows_C > 0, sums_C / np.maximum(rows_C, 1), np.inf)
    # A hair below: rows of one probability reach their own mean, whatever the rounding of its sum.
    reached_nC = probabilities_nC >= thresholds_C - 1e-6
    best_n = np.where(reached_nC, probabilities_nC, -1).argmax(axis=1)
    return np.where(reached_nC.any(axis=1), best_n, -1)


def confident_joint(probabilities_nC: np.ndarray, classes_n: np.ndarray) -> np.ndarray:
    """int64 [C, C]: rows by given label (line) and confident class (column)."""
    found = confident_classes(probabilities_nC, classes_n)
    number = probabilities_nC.shape[1]
    sure = found >= 0
    return np.bincount(classes_n[sure] * number + found[sure], minlength=number**2).reshape(number, number)


def likely_label_errors(
    probabilities_nC: np.ndarray,
    classes_n: np.ndarray,
    labels: Sequence[str],
    *,
    texts: Sequence[str] | None = None,
    most: int = 1000,
) -> "pa.Table":
    """Rows that are confidently of another class than their label, the likeliest errors first.

    Columns: row (from 0), label, suggested, probability_of_label, probability_of_suggested, and text where texts are
    given. Rows whose label is the model's own first choice are not among them.
    """
    import pyarrow as pa

    found = confident_classes(probabilities_nC, classes_n)
    doubtful = np.flatnonzero((found >= 0) & (found != classes_n) & (probabilities_nC.argmax(axis=1) != classes_n))
    label, suggested = (probabilities_nC[doubtful, places[doubtful]] for places in (classes_n, found))
    order = np.argsort(label - suggested, kind="stable")[:most]
    rows = doubtful[order]
    columns = {
        "row": pa.array(rows, pa.int64()),
        "label": pa.array([labels[place] for place in classes_n[rows]], pa.string()),
        "suggested": pa.array([labels[place] for place in found[rows]], pa.string()),
        "probability_of_label": pa.array(label[order], pa.float64()),
        "probability_of_suggested": pa.array(suggested[order], pa.float64()),
    }
    if texts is not None:
        columns["text"] = pa.array([texts[row] for row in rows], pa.string())
    return pa.table(columns)


def cross_validated_probabilities(
    features_nD: np.ndarray, classes_n: np.ndarray, *, seed: int, folds: int = 5
) -> np.ndarray:
    """float64 [n, C] of each row by logistic regression on the others' features: for rows that a model was trained on.

    The features are to be those of an encoder that has not learnt from the labels. Raises UserError for a class with
    fewer rows than folds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    counts = np.bincount(classes_n)
    if (few := np.flatnonzero((counts > 0) & (counts < folds))).size or (counts > 0).sum() < 2:
        said = f"class {few[0]} has {counts[few[0]]} rows" if few.size else "all rows have one class"
        raise UserError(
            f"{said}; cross-validation in {folds} parts needs two classes of {folds} rows or more: leave rarer ones out"
        )
    parts = StratifiedKFold(folds, shuffle=True, random_state=derive_seed(seed, "folds") % 2**32)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200, tol=1e-3))
    said = cross_val_predict(model, features_nD, classes_n, cv=parts, method="predict_proba")
    probabilities = np.zeros((len(classes_n), len(counts)))
    probabilities[:, counts > 0] = said
    return probabilities
