"""The state of a training run on disk, so that a killed run goes on where it was and ends as an unbroken one would.

A checkpoint is one safetensors file, replaced as a whole: whatever moment the machine stops at, the last one is
readable. Writing takes a fiftieth of the time at most: the larger the model, the rarer.
"""

import json
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sslcore.training.loop import Begin

if TYPE_CHECKING:
    from sslcore.training.learner import Learner, Metrics

FILE = "state.safetensors"
SECONDS = 60.0
SHARE = 1 / 50

log = logging.getLogger("sslcore.training")


class Checkpoint(NamedTuple):
    begin: Begin
    state: dict[str, np.ndarray]
    curve: list[tuple[int, "Metrics"]]
    seconds: float  # that the run had taken, over all its attempts


class Checkpoints:
    """Writes the learner's state into `folder` now and then; `folder` None keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._begun = time.monotonic()
        self._due = self._begun + SECONDS

    def read(self) -> Checkpoint | None:
        """The last checkpoint; None if there is none or it cannot be read, which is said. The run's clock goes on."""
        from safetensors import SafetensorError, safe_open

        if self.folder is None or not (self.folder / FILE).is_file():
            return None
        try:
            with safe_open(self.folder / FILE, "np") as file:
                said = json.loads(file.metadata()["run"])
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            curve = [(step, metrics) for step, metrics in said["curve"]]
            found = Checkpoint(Begin(*said["begin"]), state, curve, float(said["seconds"]))
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            log.warning("the checkpoint in %s cannot be read (%s); training starts again", self.folder, error)
            return None
        self._begun -= found.seconds
        return found

    @property
    def seconds(self) -> float:
        """What the run has taken so far, with the attempts before this one as far as their checkpoints tell."""
        return time.monotonic() - self._begun

    def offer(self, learner: "Learner", curve: list[tuple[int, "Metrics"]]) -> None:
        """Write a checkpoint if one is due; the last point of the curve says how far the run is."""
        from safetensors.numpy import save_file

        if self.folder is None or time.monotonic() < self._due:
            return
        started = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / f"{FILE}.unfinished"
        step, metrics = curve[-1]
        begin = (step, metrics["tokens"], metrics["done"])
        run = json.dumps({"begin": begin, "seconds": self.seconds, "curve": curve})
        save_file(learner.state(), unfinished, metadata={"run": run})
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(self.folder / FILE)
        now = time.monotonic()
        self._due = now + max(SECONDS, (now - started) / SHARE)
