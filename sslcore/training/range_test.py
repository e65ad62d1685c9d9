"""A learning rate from a test on the corpus itself: raise it step by step and see how far the loss falls.

Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3. The rate grows by a constant factor
from LOWEST to HIGHEST; the loss, smoothed, falls, bottoms out and explodes. Taken is a tenth of the rate at the bottom,
as is usual for a peak after a warm-up. What was learned meanwhile is thrown away.
"""

import logging
import math
from typing import TYPE_CHECKING

from sslcore.errors import UserError
from sslcore.progress import Progress

if TYPE_CHECKING:
    from sslcore.training.learner import Batches, TorchLearner

LOWEST, HIGHEST, STEPS = 1e-6, 1.0, 120
SMOOTHING = 0.9
EXPLODED = 4.0  # times the lowest loss so far ends the test
NO_FALL = 0.999  # times the first loss
BELOW_THE_BOTTOM = 0.1

log = logging.getLogger("sslcore.training")


def found_rate(learner: "TorchLearner", batches: "Batches", progress: Progress) -> float:
    """The rate to train with, to two digits. `learner` is at its beginning, and of no use afterwards.

    Raises UserError when the loss never falls.
    """
    factor = (HIGHEST / LOWEST) ** (1 / (STEPS - 1))
    smooth, rates, losses = 0.0, [], []
    for step in range(STEPS):
        rate = LOWEST * factor**step
        loss = learner.update_at(batches[step % len(batches)], rate)["loss"]
        if not math.isfinite(loss):
            break
        smooth = SMOOTHING * smooth + (1 - SMOOTHING) * loss
        rates.append(rate)
        losses.append(smooth / (1 - SMOOTHING ** (step + 1)))
        if losses[-1] > EXPLODED * min(losses):
            break
        progress((step + 1) / STEPS, f"range test: rate {rate:.1e}, loss {losses[-1]:.3f}")
    lowest = losses.index(min(losses)) if losses else 0
    if not losses or losses[lowest] > NO_FALL * losses[0]:
        raise UserError(
            f"the range test found no learning rate from {LOWEST:g} to {HIGHEST:g} at which the loss falls; give "
            "learning_rate a number, or leave it out"
        )
    found = float(f"{BELOW_THE_BOTTOM * rates[lowest]:.1e}")
    log.info("range test: the loss is lowest at a learning rate of %.1e; training with %.1e", rates[lowest], found)
    return found
