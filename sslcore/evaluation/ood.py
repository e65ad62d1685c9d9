"""How well a fine-tuned model notices what it was not trained for: all four scores, on rows that are known to be novel.

The model's own choice of a score, and the thresholds, rest on training and validation rows; the novel rows measure and
no more. Choosing by these numbers would be choosing on the test.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from sslcore.errors import UserError
from sslcore.finetuning.novelty import SCORES, Score, fitted, novelty, threshold_of
from sslcore.finetuning.separation import Separation, separation

if TYPE_CHECKING:
    from sslcore.finetuning.model import FineTunedModel


class MeasuredNovelty(BaseModel):
    """One score on rows of the domain and on novel ones."""

    model_config = ConfigDict(frozen=True)

    score: Score
    chosen: bool  # whether it is the model's own
    separation: Separation
    in_domain_flagged: float  # share beyond the threshold; 0.05 is what it aims at
    novel_flagged: float
    held_out_auroc: float | None  # on classes that it was not told of: what the choice went by


def measure_novelty(
    model: "FineTunedModel", train: Any, validation: Any, in_domain: Any, novel: Any, *, seed: int
) -> tuple[MeasuredNovelty, ...]:
    """All scores of a model that gives one class, on examples of the domain that it has not seen and on novel ones.

    `train` and `validation` are the examples that it was trained and chosen on. Raises UserError for other models, and
    without rows of each.
    """
    from sslcore.finetuning.model import features_and_outputs

    if not model.gives_one_class:
        raise UserError(f"novelty is of models that give a row one class; {model.description.shape.kind} does not")
    parts = {"train": train, "validation": validation, "in-domain": in_domain, "novel": novel}
    if empty := [name for name, part in parts.items() if not len(part)]:
        raise UserError(f"there are no {' and no '.join(empty)} rows to measure novelty with; give some of each")
    train_mD, _ = features_and_outputs(model.network, train)
    seen = [features_and_outputs(model.network, part) for part in (validation, in_domain, novel)]
    own = model.description.novelty
    found = []
    for score in SCORES:
        arrays = fitted(score, train_mD, train.targets, seed=seed)
        of_validation, inside, outside = (novelty(score, arrays, logits, features) for features, logits in seen)
        threshold = threshold_of(of_validation)
        found.append(
            MeasuredNovelty(
                score=score,
                chosen=own is not None and own.score == score,
                separation=separation(inside, outside),
                in_domain_flagged=float(np.mean(inside > threshold)),
                novel_flagged=float(np.mean(outside > threshold)),
                held_out_auroc=own.auroc.get(score) if own is not None else None,
            )
        )
    return tuple(found)
