"""A training run from its beginning, or from where it was killed, to its end: one for pretraining and fine-tuning.

`run` takes the steps of the loop and does with them what every run wants: a curve, checkpoints, something measured now
and then by which the best weights are kept, a warning when vectors collapse, a lower learning rate after divergence.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from sslcore.errors import UserError
from sslcore.progress import Progress
from sslcore.training.alarm import CollapsedError, collapse_in
from sslcore.training.checkpoints import Checkpoints
from sslcore.training.distributed import Team
from sslcore.training.learner import Batches, Learner, Metrics
from sslcore.training.loop import START, Ahead, Begin, Curve, DivergedError, Point, reported, train
from sslcore.training.memory import OutOfMemoryError
from sslcore.training.termination import termination_deferred

SLOWER = 0.5  # the learning rate after the training has diverged
SLOWED_AT_MOST = 2
NOT_WEIGHTS = ("optimizer.", "scaler.")  # in the names of what a learner's state holds beside weights

log = logging.getLogger("sslcore.training")

OnMetrics = Callable[[int, Metrics], None]


def ignore(step: int, metrics: Metrics) -> None:
    """The listener that keeps nothing."""


class Measure(Protocol):
    """What is measured now and then on rows that are not trained on: it keeps the best weights and ends the run."""

    @property
    def names(self) -> Sequence[str]:
        """Of the metrics that it gives."""

    def due(self, points: Sequence[Point]) -> bool:
        """Whether the last point of the curve is one to measure at."""

    def measure(self, encoder: Any) -> Metrics:
        """The metrics of what the learner trains, which stays as it is."""

    def best_step(self, points: Sequence[Point]) -> int:
        """Of the points that were measured the step of the best."""

    def exhausted(self, points: Sequence[Point]) -> bool:
        """Whether it is time to end, for want of anything better."""


class Consumers(NamedTuple):
    """What takes the steps of a run."""

    progress: Progress
    on_metrics: OnMetrics
    checkpoints: Checkpoints
    stop_on_collapse: bool = False
    measure: Measure | None = None
    team: Team | None = None

    @property
    def leads(self) -> bool:
        """Whether this process does what one alone is to do."""
        return self.team is None or self.team.rank == 0


class Ended(NamedTuple):
    learner: Learner  # with the best weights, if something was measured
    curve: list[Point]
    waited: float  # seconds for batches, in the attempt that ended


def run(beginning: Callable[[], Learner], batches: Batches, kind: str, consumers: Consumers) -> Ended:
    """Train what `beginning` makes on all batches, on from the last checkpoint; `kind` is its name for people.

    Training that diverges goes back to that checkpoint, or the beginning, and on with half the learning rate, twice at
    most; then DivergedError is raised. SIGTERM ends it with a UserError after the step at work, which is saved.
    """
    checkpoints, team = consumers.checkpoints, consumers.team
    slowed = 0
    while True:
        found = checkpoints.read()
        learner, curve, begin = beginning(), Curve(), START
        checkpoints.best = found.best if found else {}
        if found:
            learner.restore(found.state)
            curve.restore(found.curve)
            begin, slowed = found.begin, max(slowed, found.slowed)
            for step, metrics in curve.points:
                consumers.on_metrics(step, metrics)
        if team is not None:
            _check_same_step(begin.step, team)
        learner.slow_down(SLOWER**slowed)
        source = Ahead(batches, begin.step)
        try:
            _take_steps(learner, source, begin, curve, slowed, kind, consumers)
        except DivergedError as error:
            if slowed == SLOWED_AT_MOST:
                raise
            if slowed and consumers.leads:
                checkpoints.drop_last()
            if team is not None:
                team.wait()  # all go back to the same state
            slowed += 1
            log.warning("%s; going back and on with %g of the learning rate", error, SLOWER**slowed)
        except OutOfMemoryError as error:
            if not (step := checkpoints.last_step):
                raise
            raise OutOfMemoryError(f"{error}. The same call but for parts or chunk goes on from step {step}") from None
        else:
            if consumers.measure:
                _go_back_to_best(learner, checkpoints.best, team)
            return Ended(learner, curve.points, source.waited)


def _check_same_step(step: int, team: Team) -> None:
    """Raise UserError, in all processes, if one would go on from another step: they would wait for one another."""
    first = int(team.from_first(np.array(step)))
    if team.any(first != step):
        raise UserError(
            f"the first process goes on from step {first}, not all of the others do (process {team.rank + 1} of "
            f"{team.size} from {step}); give a folder of checkpoints that every process sees, on every machine"
        )


def _take_steps(
    learner: Learner, source: Ahead, begin: Begin, curve: Curve, slowed: int, kind: str, consumers: Consumers
) -> None:
    """Train from `begin` to the end, or until the measure has seen enough.

    SIGTERM is heard after the step in which it comes, and what there is is saved.
    """
    _, on_metrics, checkpoints, stop_on_collapse, measure, team = consumers
    over = measure is not None and measure.exhausted(
        curve.points
    )  # it was killed after it had measured for the last time
    warned, asked = collapse_in(curve.points) is not None, False
    with termination_deferred() as termination:
        try:
            steps = () if over else reported(train(learner, source, begin), consumers.progress, kind, begin)
            for step, metrics in steps:
                if curve.add(step, metrics):
                    if measure and measure.due(curve.points):
                        _measure(measure, learner, curve, consumers)
                        over = measure.exhausted(curve.points)
                    on_metrics(*curve.points[-1])
                    warned = _watch(curve, kind, warned, stop=stop_on_collapse)
                asked = termination.asked if team is None else team.any(termination.asked)
                if consumers.leads and not curve.suspects(metrics["loss"]):
                    here = Begin(step, metrics["tokens"], metrics["done"])
                    checkpoints.offer(learner, here, curve, slowed, now=asked)
                if asked or over:
                    break
        finally:
            checkpoints.finish()  # a next attempt, in this process too, finds what this one wrote
    if asked:
        kept = "which is saved; the same call goes on from there" if checkpoints.folder else "nothing was to be saved"
        raise UserError(f"asked to end at step {step}, {kept}")


def _watch(curve: Curve, kind: str, warned: bool, *, stop: bool) -> bool:
    """Say once that the vectors collapse, or raise CollapsedError; whether it has been said."""
    collapse = collapse_in(curve.points)
    if collapse and stop:
        raise CollapsedError(f"{kind}: {collapse}. Training has ended (stop_on_collapse)")
    if collapse and not warned:
        log.warning("%s: %s", kind, collapse)
    return collapse is not None


def _measure(measure: Measure, learner: Learner, curve: Curve, consumers: Consumers) -> None:
    """Note what is measured in the curve, and keep the weights if they are the best. The first process does it."""
    team = consumers.team
    measured = measure.measure(learner.encoder) if consumers.leads else dict.fromkeys(measure.names, 0.0)
    if team is not None:
        measured = dict(zip(measured, team.from_first(np.array(list(measured.values()))).tolist(), strict=True))
    step, _ = curve.note(measured)
    if consumers.leads and measure.best_step(curve.points) == step:
        consumers.checkpoints.best = {name: np.array(array) for name, array in _weights(learner).items()}


def _go_back_to_best(learner: Learner, kept: dict[str, np.ndarray], team: Team | None) -> None:
    """Give the learner, in all processes, the weights that the first one has kept; it is to be finished next."""
    kept = {**_weights(learner), **kept}
    if team is not None:
        kept = {name: team.from_first(array) for name, array in kept.items()}
    learner.restore({**learner.state(), **kept})


def _weights(learner: Learner) -> dict[str, np.ndarray]:
    """Of its state what the encoder at the end is made of, heads too."""
    return {name: array for name, array in learner.state().items() if not name.startswith(NOT_WEIGHTS)}
