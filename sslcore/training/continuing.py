"""Whether training that goes on from an encoder really begins there: silently random weights are the usual mistake."""

import logging
from collections.abc import Callable
from typing import Any

from sslcore.errors import UserError
from sslcore.progress import Progress
from sslcore.training.learner import Batches, Learner, TorchLearner

log = logging.getLogger("sslcore.training")


def check_taken_up(
    kind: str, going_on: Callable[[], Learner], at_random: Callable[[], Learner], batches: Batches, progress: Progress
) -> None:
    """Compare the loss of the first batch with that of random weights, and say both.

    Both learners are made for this alone: a loss may change its state. Raises UserError when they are equal.
    """
    batch = batches[0]
    loss, random = (_loss_of(make(), batch) for make in (going_on, at_random))
    if loss == random:
        raise UserError(
            f"{kind}: on the first batch the loss is {loss:.4f}, and the same with random weights: nothing of the "
            "encoder to go on from has been taken up"
        )
    said = f"{kind} goes on: loss of the first batch {loss:.3f}, with random weights {random:.3f}"
    log.info(said)
    progress(0.0, said)


def _loss_of(learner: Learner, batch: Any) -> float:
    assert isinstance(learner, TorchLearner)
    return learner.loss_of(batch)
