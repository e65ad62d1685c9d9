"""Where and how often: the store, the device, the listeners. Nothing here is ever part of an artefact's name.

Settings come from the environment, because that is what reaches a worker's child process as well as a command line:
`SSLCORE_STORE` (default `store`), `SSLCORE_DEVICE` (`cpu`), `SSLCORE_WORKERS` (cores that the scheduler gives us).
"""

import contextlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sslcore.artifacts import ArtifactStore, Ref, artifact_key
from sslcore.errors import UserError
from sslcore.progress import Progress

if TYPE_CHECKING:
    from tasks import recording

NOT_IN_A_KEY = re.compile(r"[^a-z0-9]+")
"""Prefect's artifact keys are lower-case letters, digits and dashes."""
SECONDS_BETWEEN_UPDATES = 5.0
"""How often a progress artifact in Prefect is updated; each update is a request."""
GPU_LIMIT = "gpu"
"""Prefect's concurrency limit for training on a GPU; `flows/running.py` and `sslcore up` see to it that it exists."""


class Runtime(NamedTuple):
    store: ArtifactStore
    device: str
    workers: int

    @property
    def home(self) -> Path:
        """What Prefect and MLflow keep on disk for this store."""
        return self.store.root / ".services"


def current() -> Runtime:
    """The settings of this process. Raises UserError when a variable does not make sense."""
    workers = os.environ.get("SSLCORE_WORKERS", "")
    if workers and not (workers.isdigit() and int(workers) > 0):
        raise UserError(f"SSLCORE_WORKERS is {workers!r}; give a whole number of processes, 1 or more, or unset it")
    return Runtime(
        store=ArtifactStore(os.environ.get("SSLCORE_STORE", "store")),
        device=os.environ.get("SSLCORE_DEVICE", "cpu"),
        workers=int(workers) if workers else len(os.sched_getaffinity(0)),
    )


@contextlib.contextmanager
def device() -> Iterator[str]:
    """The device to train on. A GPU is waited for: two runs that share one are slower than one after the other."""
    name = current().device
    if name == "cpu":
        yield name
        return
    from prefect.concurrency.sync import concurrency

    with concurrency(GPU_LIMIT, strict=True):
        yield name


def named(source: str) -> Ref | None:
    """The artefact if the text is its key, None if it is a path. Raises UserError for a key of nothing."""
    if any(mark in source for mark in "*:.") or Path(source).exists():
        return None
    return current().store.resolve(source)


class StepReport(NamedTuple):
    """What happened to one step, for whoever watches the flow from the same process."""

    name: str
    kind: str
    key: str
    reused: bool
    seconds: float
    summary: Mapping[str, Any]


listeners: list[Callable[[str, float, str], None]] = []
"""Called with (step, fraction, message) as work goes on; the command line puts its progress bar here."""

finished: list[Callable[[StepReport], None]] = []
"""Called once an artefact exists."""


Write = Callable[[Path, Progress, "OnMetrics"], Mapping[str, Any]]
"""`(folder, progress, on_metrics)` → summary: makes an artefact with one call of sslcore."""

OnMetrics = Callable[[int, Mapping[str, float]], None]


def build(
    step: str,
    kind: str,
    version: int,
    spec: Mapping[str, Any],
    inputs: Mapping[str, Ref],
    write: Write,
    *,
    figures: "recording.Figures | None" = None,
) -> Ref:
    """Make sure the artefact exists, watched: progress to Prefect and the listeners, the record to MLflow."""
    from tasks import recording, tracking

    def begin(folder: Path) -> Mapping[str, Any]:
        live = tracking.begin(kind, artifact_key(kind, version, spec, inputs), spec, inputs)
        recording.start()
        summary = write(folder, progress, live.log)
        live.flush()
        return summary

    log = _logger()
    started = time.perf_counter()
    store = current().store
    progress = _Watched(step, log)
    try:
        ref, reused = store.ensure(
            kind,
            version,
            spec,
            inputs,
            begin,
            waiting=lambda: log.info("another run is making this %s; waiting for it", kind),
        )
    finally:
        progress.close()
    manifest = store.manifest(ref)
    log.info("%s %s%s", ref, "reused" if reused else f"made in {manifest.seconds:.1f} s", _brief(manifest.summary))
    recording.record_beside(manifest, reused=reused, figures=figures)
    report = StepReport(step, kind, ref.key, reused, time.perf_counter() - started, manifest.summary)
    for tell in finished:
        tell(report)
    return ref


class _Watched:
    """Progress to the listeners at once, and to a Prefect progress artifact every couple of seconds."""

    def __init__(self, step: str, log: "logging.Logger | logging.LoggerAdapter[logging.Logger]") -> None:
        self.step = step
        self.log = log
        self.artifact: Any = None
        self.last = time.monotonic()

    def __call__(self, fraction: float, message: str) -> None:
        for tell in listeners:
            tell(self.step, fraction, message)
        if time.monotonic() - self.last >= SECONDS_BETWEEN_UPDATES:
            self.last = time.monotonic()
            self._update(fraction, message)

    def close(self) -> None:
        if self.artifact is not None:
            self._update(1.0, "done")

    def _update(self, fraction: float, message: str) -> None:
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        percent = round(100 * min(max(fraction, 0.0), 1.0), 1)
        if self.artifact is None:
            key = NOT_IN_A_KEY.sub("-", self.step)
            self.artifact = create_progress_artifact(percent, key, description=f"{self.step}: {message}")
        else:
            update_progress_artifact(self.artifact, percent, description=f"{self.step}: {message}")


def _logger() -> "logging.Logger | logging.LoggerAdapter[logging.Logger]":
    from prefect.logging import get_run_logger

    return get_run_logger()


def _brief(summary: Mapping[str, Any]) -> str:
    """The plain numbers of a summary, on one line."""
    numbers = [f"{name} {value:,}" for name, value in summary.items() if isinstance(value, int | float)]
    return ": " + ", ".join(numbers[:6]) if numbers else ""


def as_progress(step: str) -> Progress:
    """Progress for work outside `build`, to the listeners only."""

    def tell_all(fraction: float, message: str) -> None:
        for tell in listeners:
            tell(step, fraction, message)

    return tell_all
