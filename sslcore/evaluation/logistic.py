"""Logistic regression on fixed features, its regularisation chosen on validation rows.

Minimises C · Σ cross-entropy + ½‖W‖² (softmax over the classes, free intercepts) for a rising path of C, each fit
starting from the one before, and keeps the C that the validation rows prefer. L-BFGS where it takes seconds; SAGA
(Defazio et al. 2014) with few passes for a large sparse problem, where L-BFGS would take a minute per C for a score
that differs in the third digit.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sslcore.finetuning.scores import selection_score
from sslcore.randomness import derive_seed

SPARSE_STRENGTHS = (1.0, 10.0, 100.0)
DENSE_STRENGTHS = (0.01, 0.1, 1.0)
SAGA_ROWS = 4000  # sparse problems with more rows are solved by SAGA
SAGA_PASSES = 6  # per C; the path has seen 18 passes at its end


class Regression(NamedTuple):
    """The chosen fit: logits of the rows it was asked for, and how it came about."""

    logits: np.ndarray  # float32 [rows to score, classes]
    validation_score: float | None  # macro-F1
    strength: float  # C
    iterations: int


def regress(
    train: Any,
    classes: np.ndarray,
    validation: Any,
    validation_classes: np.ndarray,
    scored: Any,
    *,
    number_of_classes: int,
    strengths: Sequence[float],
    seed: int,
) -> Regression:
    """Fit on `train` (matrix [n, D], dense or CSR) with classes int[n], choose C on validation, score `scored`.

    Without validation rows the middle C is taken. Every class number below `number_of_classes` must occur in `classes`.
    """
    from scipy.sparse import issparse
    from sklearn.linear_model import LogisticRegression

    if issparse(train):
        # The weights of a term that no training row holds are zero at the optimum: leave it out.
        held = np.flatnonzero(np.bincount(train.indices, minlength=train.shape[1]))
        train, validation, scored = train[:, held], validation[:, held], scored[:, held]
    saga = issparse(train) and train.shape[0] > SAGA_ROWS
    model = LogisticRegression(
        solver="saga" if saga else "lbfgs",
        max_iter=SAGA_PASSES if saga else 200,
        tol=1e-3,
        warm_start=True,
        random_state=derive_seed(seed, "saga") % 2**32,
    )
    best: tuple[tuple[float, float], Regression] | None = None
    iterations = 0
    ordered = sorted(strengths)
    for strength in ordered if len(validation_classes) else [ordered[len(ordered) // 2]]:
        model.C = strength
        model.fit(train, classes)
        assert len(model.classes_) == number_of_classes
        iterations += int(np.max(model.n_iter_))
        score = (
            selection_score(validation_classes, class_logits(model, validation)) if len(validation_classes) else None
        )
        if best is None or (score is not None and score > best[0]):
            fit = Regression(class_logits(model, scored), score[0] if score else None, strength, iterations)
            best = (score or (0.0, 0.0), fit)
    assert best is not None
    return best[1]._replace(iterations=iterations)


def class_logits(model: Any, features: Any) -> np.ndarray:
    """float32 [n, classes]; scikit-learn gives two classes one column."""
    logits = model.decision_function(features).astype(np.float32)
    return np.stack([np.zeros_like(logits), logits], axis=1) if logits.ndim == 1 else logits
