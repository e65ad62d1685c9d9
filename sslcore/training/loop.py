"""The training loop is an iterator of (step, metrics); progress, curves, logging and stopping consume it.

    for step, metrics in summarised(reported(train(learner, batches), progress)): …

Nothing hooks into the loop, so a test is `list(train(learner, batches))`, and who stops consuming stops the training.
Every value that `train` yields follows from the seed alone. What depends on the clock is added by `reported` and only
shown, never stored, so two runs of one spec give the same bytes.
"""

import itertools
import math
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sslcore.errors import UserError
from sslcore.progress import Progress
from sslcore.training.learner import Batch, Learner, Metrics

Steps = Iterator[tuple[int, Metrics]]
CURVE_POINTS = 200  # enough for any plot; a metrics server is asked no more often than this
REPORT_SECONDS = 0.25


class Begin(NamedTuple):
    """Where in a run the loop takes up."""

    step: int = 0
    tokens: float = 0.0
    done: float = 0.0


START = Begin()


def train(learner: Learner, batches: Iterable[Batch], begin: Begin = START) -> Steps:
    """Yield (step from 1, metrics) after each update; metrics hold loss, learning_rate, tokens (so far), done (0 to 1).

    A run that goes on passes over the batches that it has had.
    Raises UserError when the loss is no longer a number: nothing after that point would be worth keeping.
    """
    tokens = begin.tokens
    for step, batch in enumerate(itertools.islice(batches, begin.step, None), begin.step + 1):
        metrics = learner.update(batch)
        if not math.isfinite(metrics["loss"]):
            raise UserError(
                f"the loss became {metrics['loss']} at step {step} with learning_rate {metrics['learning_rate']:.2g}: "
                "the training diverged; choose a learning_rate several times lower"
            )
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
                f"{what}: {speed / 1e3:,.0f}k tokens/s, loss {metrics['loss']:.3f}, "
                f"learning rate {metrics['learning_rate']:.2g}, {left:.0f} s left",
            )
        yield step, metrics


def summarised(steps: Steps, points: int = CURVE_POINTS, begin: Begin = START) -> Steps:
    """At most `points` of the steps, evenly over the run, and the last; loss is the mean since the point before."""
    losses: list[float] = []
    reached = int(begin.done * points)
    for step, metrics in steps:
        losses.append(metrics["loss"])
        if int(metrics["done"] * points) > reached or metrics["done"] >= 1:
            reached = int(metrics["done"] * points)
            yield step, {**metrics, "loss": math.fsum(losses) / len(losses)}
            losses = []
