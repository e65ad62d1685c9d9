"""Validation in a run of fine-tuning: which weights are kept, and when it is enough."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sslcore.finetuning.config import FineTuning
from sslcore.finetuning.outputs import outputs_of
from sslcore.training.loop import Point
from sslcore.training.precision import computing

if TYPE_CHECKING:
    from sslcore.finetuning.shapes.seam import Examples, Shape
    from sslcore.finetuning.training import Trained

VALIDATIONS = 6
"""Validations of a run that is not stopped early."""


class Validation:
    """The metrics of the validation rows, several times in a run, by which weights are kept and the run may end.

    Kept are the last ones that are as good as the best by the shape's first metric, but for one standard error of a
    share of so many rows. Which of six is highest is luck for the most part; of weights that the rows cannot tell
    apart those that trained longer are better, for the learning rate has come down (after the rule of Breiman et al.
    1984, section 3.4.3, which takes the simplest of such).
    """

    def __init__(self, shape: "Shape", examples: "Examples", labels: Sequence[str], config: FineTuning) -> None:
        self._shape, self._examples, self._labels, self._config = shape, examples, labels, config

    @property
    def names(self) -> list[str]:
        return [f"validation_{name.removeprefix('-')}" for name in self._shape.chosen_by]

    def due(self, points: Sequence[Point]) -> bool:
        *before, (_, last) = points
        reached = max((metrics["done"] for _, metrics in before if self.names[0] in metrics), default=0.0)
        return last["done"] >= 1 or int(last["done"] * VALIDATIONS + 1e-9) > int(reached * VALIDATIONS + 1e-9)

    def measure(self, trained: "Trained") -> dict[str, float]:
        with computing(next(trained.network.parameters()).device, self._config.precision):
            outputs = outputs_of(trained.network, self._examples)
        said = self._shape.metrics(outputs, self._examples, self._labels)
        return {f"validation_{name}": value for name, value in said.items()}

    def best_step(self, points: Sequence[Point]) -> int:
        measured = self._measured(points)
        best = max(first for first, *_ in measured.values())
        share = min(max(best, 0.0), 1.0)
        least = best - math.sqrt(share * (1 - share) / len(self._examples))
        return max(step for step, (first, *_) in measured.items() if first >= least)

    def exhausted(self, points: Sequence[Point]) -> bool:
        values = list(self._measured(points).values())
        return bool(values) and len(values) - 1 - values.index(max(values)) >= self._config.patience

    def _measured(self, points: Sequence[Point]) -> dict[int, tuple[float, ...]]:
        """Step → what is compared, the higher the better."""
        signs = [-1 if name.startswith("-") else 1 for name in self._shape.chosen_by]
        return {
            step: tuple(sign * metrics[name] for sign, name in zip(signs, self.names, strict=True))
            for step, metrics in points
            if self.names[0] in metrics
        }
