"""The training loop is an iterator of (step, metrics); progress, curves, logging and stopping consume it.

    for step, metrics in reported(train(learner, Ahead(batches)), progress):
        point = curve.add(step, metrics)

Nothing hooks into the loop, so a test is `list(train(learner, batches))`, and who stops consuming stops the training.
Every value that `train` yields follows from the seed alone. What depends on the clock is added by `reported` and only
shown, never stored, so two runs of one spec give the same bytes.
"""

import math
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from sslcore.errors import UserError
from sslcore.progress import Progress
from sslcore.training.learner import Batch, Batches, Learner, Metrics

Steps = Iterator[tuple[int, Metrics]]
Point = tuple[int, Metrics]
CURVE_POINTS = 200  # enough for any plot; a metrics server is asked no more often than this
REPORT_SECONDS = 0.25
READY = 2  # batches made before they are asked for
EXPLODED = 3.0  # times the loss at the start
SUSPECT = 1.5  # times the same: nothing to go back to
NEGLIGIBLE = 0.1  # a loss below has no room to fall, so that multiples of it mean nothing


class DivergedError(UserError):
    """The loss is no number any more, or far above what it was at the start: nothing after that would be worth it."""


class Begin(NamedTuple):
    """Where in a run the loop takes up."""

    step: int = 0
    tokens: float = 0.0
    done: float = 0.0


START = Begin()


class Ahead:
    """The batches of a run from a step on, made by one thread while the step before trains.

    `waited` is how many seconds the training stood still for them.
    """

    def __init__(self, batches: Batches, begin: int = 0) -> None:
        self.waited = 0.0
        self._batches = batches
        self._begin = begin

    def __iter__(self) -> Iterator[Any]:
        maker = ThreadPoolExecutor(1, thread_name_prefix="batches")
        coming: list[Future[Any]] = []
        try:
            for step in range(self._begin, len(self._batches)):
                last = min(step + READY, len(self._batches))
                coming += [maker.submit(self._batches.__getitem__, n) for n in range(step + len(coming), last)]
                started = time.perf_counter()
                batch = coming.pop(0).result()
                self.waited += time.perf_counter() - started
                yield batch
        finally:
            maker.shutdown(wait=True, cancel_futures=True)


def train(learner: Learner, batches: Iterable[Batch], begin: Begin = START) -> Steps:
    """Yield (step from 1, metrics) after each update; metrics hold loss, learning_rate, tokens (so far), done (0 to 1).

    For a run that goes on, `batches` are those from its `begin` on.
    Raises DivergedError when the loss is no longer a number.
    """
    tokens = begin.tokens
    for step, batch in enumerate(batches, begin.step + 1):
        metrics = learner.update(batch)
        if not math.isfinite(metrics["loss"]):
            raise diverged(f"the loss became {metrics['loss']}", step, metrics)
        tokens += batch.tokens
        yield step, {**metrics, "tokens": float(tokens), "done": batch.end}


def reported(steps: Steps, progress: Progress, what: str, begin: Begin = START) -> Steps:
    """The same steps; tells `progress` tokens per second, loss, learning rate and time left, at most 4 × a second."""
    started = told = time.perf_counter()
    for step, metrics in steps:
        now = time.perf_counter()
        if now - told >= REPORT_SECONDS or metrics["done"] >= 1:
            told, seconds = now, now - started
            speed = (metrics["tokens"] - begin.tokens) / seconds
            left = seconds * (1 - metrics["done"]) / (metrics["done"] - begin.done)
            progress(
                metrics["done"],
                f"{what}: {speed:,.0f} tokens/s, loss {metrics['loss']:.3f}, "
                f"learning rate {metrics['learning_rate']:.2g}, {left:.0f} s left",
            )
        yield step, metrics


class Curve:
    """At most `points` of the steps, evenly over the run, and the last.

    Every metric is the mean since the point before, but for the learning rate, tokens and done.
    """

    def __init__(self, points: int = CURVE_POINTS) -> None:
        self.points: list[Point] = []
        self._wanted = points
        self._reached = 0
        self._sums: dict[str, tuple[float, int]] = {}

    def add(self, step: int, metrics: Metrics) -> Point | None:
        """The point that this step completes, if it does.

        Raises DivergedError when its loss is EXPLODED times what it was at the start.
        """
        for name in metrics.keys() - {"learning_rate", "tokens", "done"}:
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + metrics[name], count + 1)
        if int(metrics["done"] * self._wanted) <= self._reached and metrics["done"] < 1:
            return None
        self._reached = int(metrics["done"] * self._wanted)
        means = {name: total / count for name, (total, count) in self._sums.items()}
        point = (step, {name: means.get(name, value) for name, value in metrics.items()})
        self._sums = {}
        self.points.append(point)
        first, last = self.points[0][1]["loss"], point[1]["loss"]
        if first > 0 and last > EXPLODED * max(first, NEGLIGIBLE):
            raise diverged(f"the loss rose from {first:.3g} at the start to {last:.3g}", step, metrics)
        return point

    def note(self, measured: Metrics) -> Point:
        """The last point, with what was measured at its step alone."""
        step, metrics = self.points[-1]
        self.points[-1] = (step, {**metrics, **measured})
        return self.points[-1]

    def suspects(self, loss: float) -> bool:
        """Whether a step's loss is so far above that of the start that its state is not worth keeping."""
        if not self.points:
            return False
        first = self.points[0][1]["loss"]
        return first > 0 and loss > SUSPECT * max(first, NEGLIGIBLE)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON."""
        return {"points": self.points, "reached": self._reached, "sums": self._sums}

    def restore(self, state: dict[str, Any]) -> None:
        self.points = [(int(step), metrics) for step, metrics in state["points"]]
        self._reached = int(state["reached"])
        self._sums = {name: (float(total), int(count)) for name, (total, count) in state["sums"].items()}


def diverged(what: str, step: int, metrics: Metrics) -> DivergedError:
    return DivergedError(
        f"{what} at step {step} with learning_rate {metrics['learning_rate']:.2g}: the training diverged; choose a "
        "learning_rate several times lower"
    )
