"""Which score of novelty to keep, when there are no novel rows: the model's own classes play their part.

What is novel to a served model is known to nobody when it is trained, so no validation can say which score will find
it best. What can be measured is how well each finds rows of classes that it was not told of. In each of four turns a
quarter of the classes is known: everything that a score learns is learnt of their training rows (for the scores of the
logits that is a head, by logistic regression), and their validation rows are told from those of all other classes.
A quarter, and not all but a quarter: the world is larger than a domain, so most of what is novel should have no sibling
among the classes that are known. docs/confidence.md has what it chose, and what was best: not always the same.

That is honest with two limits. The other classes are of the same domain still. And the encoder is not trained again:
where fine-tuning moved it, it has seen them all, which makes every score look better than it is. So the ranking is
used, not the level.
"""

import warnings

import numpy as np

from sslcore.finetuning.novelty import SCORES, Score, fitted, novelty
from sslcore.finetuning.separation import auroc
from sslcore.randomness import numpy_generator

TURNS = 4
HEAD_ROWS = 3_000  # of training that a turn's head learns from: seconds, and the ranking needs no more
HEAD_STRENGTH = 0.1  # C of the regression
DEFAULT: Score = "nearest"  # where classes are too few to try


def held_out_auroc(
    train_mD: np.ndarray,
    train_classes_m: np.ndarray,
    validation_nD: np.ndarray,
    validation_classes_n: np.ndarray,
    *,
    seed: int,
) -> dict[Score, float]:
    """Score → mean AUROC over the turns; empty with fewer than four classes, or too few validation rows to try it.

    A turn knows two classes at least, so with fewer than eight classes there are fewer turns.
    """
    classes = np.unique(train_classes_m)
    if len(classes) < 4:
        return {}
    generator = numpy_generator(seed, "novelty", "classes")
    found: dict[Score, list[float]] = {score: [] for score in SCORES}
    for known in np.array_split(generator.permutation(classes), min(TURNS, len(classes) // 2)):
        known_m, novel_n = np.isin(train_classes_m, known), ~np.isin(validation_classes_n, known)
        if novel_n.all() or not novel_n.any():
            continue
        features, numbers = train_mD[known_m], train_classes_m[known_m]
        logits_nC = head_logits(features, numbers, validation_nD, generator)
        for score in SCORES:
            arrays = fitted(score, features, numbers, seed=seed)
            values = novelty(score, arrays, logits_nC, validation_nD)
            found[score].append(auroc(values[~novel_n], values[novel_n]))
    return {score: float(np.mean(values)) for score, values in found.items() if values}


def chosen_score(found: dict[Score, float]) -> Score:
    """The score with the highest AUROC, the simpler one at a tie."""
    return max(found, key=lambda score: (found[score], -SCORES.index(score))) if found else DEFAULT


def head_logits(
    train_mD: np.ndarray, classes_m: np.ndarray, scored_nD: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Logits [n, C] of a new head: softmax regression on at most HEAD_ROWS rows, some of every class."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    order = generator.permutation(len(classes_m))
    _, first = np.unique(classes_m[order], return_index=True)  # a row of each class comes before the rest
    order = np.concatenate([order[first], np.delete(order, first)])[: max(HEAD_ROWS, len(first))]
    model = LogisticRegression(C=HEAD_STRENGTH, max_iter=50, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # near enough to rank by
        model.fit(train_mD[order].astype(np.float32), classes_m[order])
    logits = model.decision_function(scored_nD.astype(np.float32))
    return np.stack([-logits / 2, logits / 2], axis=1) if logits.ndim == 1 else logits
