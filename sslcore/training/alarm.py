"""An alarm when the vectors collapse: texts that can no longer be told apart, while the loss may look better than ever.

It hears the measures of `collapse.py` as they stand in the curve, and goes off when one of them has been beyond its
limit for LASTING of the run. BYOL and SimSiam compare projections, which come from a batch normalisation and so begin
well apart: they have a limit of their own. Limits, and what was measured on 300 news items (one layer of 64 dimensions
or two of 128, 64 texts a step):

    vectors                       uniformity       effective rank     dead units
      limit                       above −0.02      below 2            above 0.5
      at the start                −0.44 … −0.17    44 … 55            0
      that learn, the worst       −0.03 (TSDAE)    11 (SimSiam)       0
      SimCSE at a rate of 0.1     −0.02 … −0.01    31 … 44            0.05 … 0.34
    projections
      limit                       above −0.3       below 2            above 0.5
      SimSiam                     −3.6 … −1.4      17 … 39            0
      without its stop-gradient   −0.22 … −0.10    2.4 … 10           0
"""

from collections.abc import Sequence
from typing import NamedTuple

from sslcore.errors import UserError
from sslcore.training.loop import Point

LASTING = 0.15  # short runs of a contrast have been seen to pass through one point in an eighth of it, and to learn
MOST_UNIFORMITY = -0.02
MOST_UNIFORMITY_OF_PROJECTIONS = -0.3
LEAST_RANK = 2.0  # all texts along a line; four topics and nothing else have been seen to end at 3.5
LEAST_RANK_SHARE = 0.25  # of the first one in the curve: a batch of few texts has a low rank to begin with
MOST_DEAD = 0.5


class CollapsedError(UserError):
    """The vectors of different texts have become nearly the same, and training was to end then."""


class Collapse(NamedTuple):
    """A measure that was beyond its limit from the step `since` to `step`, long enough to be believed."""

    metric: str
    value: float
    limit: float
    since: int
    step: int

    def __str__(self) -> str:
        side = "below" if self.metric.endswith("effective_rank") else "above"
        return (
            f"the vectors collapse: {self.metric} is {self.value:.3g}, {side} {self.limit:.3g} since step "
            f"{self.since:,} (now step {self.step:,}), so texts can hardly be told apart; choose a learning_rate "
            "several times lower, more texts in a batch, or begin with an encoder that masked_lm has pretrained"
        )


def collapse_in(points: Sequence[Point]) -> Collapse | None:
    """The first collapse in the points of a curve."""
    limits: dict[str, float | None] = {}
    since: dict[str, tuple[int, float]] = {}
    for step, metrics in points:
        for name, value in metrics.items():
            limit = limits.setdefault(name, _limit(name, value))
            if limit is None or not (value < limit if name.endswith("effective_rank") else value > limit):
                since.pop(name, None)
                continue
            first, done = since.setdefault(name, (step, metrics["done"]))
            if metrics["done"] - done >= LASTING:
                return Collapse(name, value, limit, first, step)
    return None


def _limit(name: str, first: float) -> float | None:
    """Of a metric by what its name ends with: an objective may measure projections, or several encoders."""
    if name.endswith("projection_uniformity"):
        return MOST_UNIFORMITY_OF_PROJECTIONS
    if name.endswith("uniformity"):
        return MOST_UNIFORMITY
    if name.endswith("dead_units"):
        return MOST_DEAD
    return min(LEAST_RANK, LEAST_RANK_SHARE * first) if name.endswith("effective_rank") else None
