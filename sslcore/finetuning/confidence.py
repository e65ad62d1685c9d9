"""After fine-tuning, for models that give a row one class: probabilities to be believed, and a sense of what is novel.

Both rest on the validation rows, which chose the weights already: a little too good, as docs/confidence.md measures.
It is a step of its own, since it costs a pass over the training rows and four small regressions: an evaluation that
fine-tunes a thousand times has no use for it.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from sslcore.finetuning.calibration import fit_temperature
from sslcore.finetuning.novelty import Detector, Novelty, fitted, novelty, threshold_of
from sslcore.finetuning.novelty_choice import chosen_score, held_out_auroc
from sslcore.randomness import numpy_generator

if TYPE_CHECKING:
    from sslcore.finetuning.model import FineTunedModel

MOST_TRAIN = 20_000  # training rows whose features are looked at; of more, a draw
FEW = 19  # validation rows: with fewer, no threshold lets 95 % of the domain pass


def with_confidence(model: "FineTunedModel", train: Any, validation: Any, *, seed: int) -> "FineTunedModel":
    """The same model with a temperature and a detector of novelty, from the examples that it was trained and chosen on.

    Validation rows whose class the model does not know are left out. Without any, the temperature is 1 and nothing is
    said of novelty, which the description tells. Models of anything but one class per row come back as they are.
    """
    from sslcore.finetuning.model import features_and_outputs

    if not model.gives_one_class:
        return model
    known = validation.take(np.flatnonzero(validation.targets >= 0))
    if not len(known):
        return model.with_confidence(fit_temperature(np.empty((0, len(model.labels))), np.empty(0, np.int64)), None)
    chosen = np.flatnonzero(train.targets >= 0)
    if len(chosen) > MOST_TRAIN:
        chosen = np.sort(numpy_generator(seed, "novelty", "train").permutation(chosen)[:MOST_TRAIN])
    train = train.take(chosen)
    train_mD, _ = features_and_outputs(model.network, train)
    features_nD, logits_nC = features_and_outputs(model.network, known)
    detector = fitted_detector(train_mD, train.targets, features_nD, known.targets, logits_nC, seed=seed)
    return model.with_confidence(fit_temperature(logits_nC, known.targets), detector)


def fitted_detector(
    train_mD: np.ndarray,
    train_classes_m: np.ndarray,
    validation_nD: np.ndarray,
    validation_classes_n: np.ndarray,
    validation_logits_nC: np.ndarray,
    *,
    seed: int,
) -> Detector:
    """The score that finds unknown classes best, fitted on all training rows; its threshold from validation. n ≥ 1."""
    found = held_out_auroc(train_mD, train_classes_m, validation_nD, validation_classes_n, seed=seed)
    score = chosen_score(found)
    arrays = fitted(score, train_mD, train_classes_m, seed=seed)
    values = novelty(score, arrays, validation_logits_nC, validation_nD)
    notes = []
    if not found:
        notes.append(f"fewer than four classes, or too few validation rows: {score} is the default, not a choice")
    if len(values) < FEW:
        notes.append(f"only {len(values)} validation rows: about 1 in {len(values) + 1} rows of the domain is_novel")
    description = Novelty(
        score=score, threshold=threshold_of(values), rows=len(values), auroc=found, note="; ".join(notes)
    )
    return Detector(description, arrays)
