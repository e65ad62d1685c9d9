"""The state of a training run on disk, so that a killed run goes on where it was and ends as an unbroken one would.

A checkpoint is one safetensors file, state-STEP.safetensors, that appears as a whole: whatever moment the machine stops
at, those before are readable, and the last `KEPT` are. The training waits only for a copy of its state; checking it
for numbers that are none, writing and waiting for the disk happen in a thread, a fiftieth of the time at most: the
larger the model, the rarer. The weights that a probe found best stand in each of them, so that they are never apart.
"""

import json
import logging
import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sslcore.training.loop import Begin

if TYPE_CHECKING:
    from sslcore.training.learner import Learner
    from sslcore.training.loop import Curve

PATTERN = "state-*.safetensors"
BEST = "best."  # before the names of the weights that a probe found best
SECONDS = 60.0
SHARE = 1 / 50
KEPT = 2

log = logging.getLogger("sslcore.training")


class Checkpoint(NamedTuple):
    begin: Begin
    state: dict[str, np.ndarray]
    curve: dict[str, Any]  # what Curve.state said
    slowed: int  # times the learning rate was lowered after the training had diverged
    learning_rate: float | None  # that a range test found
    seconds: float  # that the run had taken, over all its attempts
    best: dict[str, np.ndarray]  # the weights of the best probe so far


class Checkpoints:
    """Writes the learner's state into `folder` now and then; `folder` None keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._begun = time.monotonic()
        self._due = self._begun + SECONDS
        self.learning_rate: float | None = None  # that a range test found: it is kept with every state
        self.best: dict[str, np.ndarray] = {}  # the weights of the best probe so far: they are, too
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._writing: Future[None] | None = None

    def read(self) -> Checkpoint | None:
        """The last checkpoint that can be read; what cannot is said. None if there is none. The run's clock goes on."""
        self.finish()
        for file in reversed(self._files()):
            try:
                found = _read(file)
            except Exception as error:  # safetensors raises its own; a damaged file may hold anything
                log.warning("the checkpoint %s cannot be read (%s); going on from the one before", file, error)
                continue
            self._begun = min(self._begun, time.monotonic() - found.seconds)
            return found
        return None

    @property
    def seconds(self) -> float:
        """What the run has taken so far, with the attempts before this one as far as their checkpoints tell."""
        return time.monotonic() - self._begun

    @property
    def last_step(self) -> int:
        """After which the last one on disk was written; 0 if there is none."""
        self.finish()
        return max((int(file.stem.removeprefix("state-")) for file in self._files()), default=0)

    def offer(self, learner: "Learner", begin: Begin, curve: "Curve", slowed: int, *, now: bool = False) -> None:
        """Begin to write a checkpoint if one is due, or `now`, from which a run goes on at `begin`."""
        if self.folder is None or not (now or time.monotonic() >= self._due):
            return
        if self._writing is not None and not self._writing.done():
            if not now:
                return  # the disk is slower than the interval
            self.finish()
        said = {"seconds": self.seconds, "slowed": slowed, "learning_rate": self.learning_rate}
        run = json.dumps({"begin": begin, **said, "curve": curve.state()})
        state = {name: np.array(array) for name, array in learner.state().items()}
        state |= {BEST + name: array for name, array in self.best.items()}
        self._writing = self._writer.submit(self._write, begin.step, state, run)

    def finish(self) -> None:
        """Wait until what is being written is on disk."""
        if self._writing is not None:
            self._writing.result()

    def drop_last(self) -> None:
        """Remove the last checkpoint: training that went on from it has diverged again."""
        self.finish()
        for file in self._files()[-1:]:
            file.unlink()

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob(PATTERN)) if self.folder else []

    def _write(self, step: int, state: dict[str, np.ndarray], run: str) -> None:
        from safetensors import SafetensorError

        started = time.monotonic()
        if not all(np.isfinite(array).all() for array in state.values()):
            return  # the step after this one will find that the training has diverged
        try:
            self._replace(step, state, run)
        except (OSError, SafetensorError) as error:  # a full disk is the latter
            log.warning("no checkpoint at step %d: %s; training goes on", step, error)
        finally:  # this one, or that of a process that was killed as it wrote
            for unfinished in self.folder.glob("*.unfinished"):  # type: ignore[union-attr]
                unfinished.unlink()
        now = time.monotonic()
        self._due = now + max(SECONDS, (now - started) / SHARE)

    def _replace(self, step: int, state: dict[str, np.ndarray], run: str) -> None:
        from safetensors.numpy import save_file

        assert self.folder is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"state-{step:012d}.safetensors"
        unfinished = file.with_suffix(".unfinished")
        save_file(state, unfinished, metadata={"run": run})
        with unfinished.open("rb") as written:
            os.fsync(written.fileno())
        unfinished.replace(file)
        for older in self._files()[:-KEPT]:
            older.unlink()


def _read(file: Path) -> Checkpoint:
    from safetensors import safe_open

    with safe_open(file, "np") as tensors:
        said = json.loads(tensors.metadata()["run"])
        state = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
    best = {name.removeprefix(BEST): state.pop(name) for name in list(state) if name.startswith(BEST)}
    begin, seconds = Begin(*said["begin"]), float(said["seconds"])
    return Checkpoint(begin, state, said["curve"], int(said["slowed"]), said["learning_rate"], seconds, best)
