"""MLflow: the notebook beside the store. The store is the truth; everything here can be written again from it.

One MLflow run per artefact key, found again by tag: a retry continues it, a reuse leaves a tag, and a run that could
not be recorded because MLflow was away is recorded the next time its artefact is used. This module holds the connection
and the run of an artefact in the making; `recording.py` writes what is finished, `flow_runs.py` the parent run,
`model_registry.py` the versions. They and `served_model.py` (which MLflow itself loads) alone import mlflow.
"""

import contextlib
import functools
import logging
import os
import re
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from sslcore.artifacts import Ref
from tasks import runtime

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

DEFAULT_EXPERIMENT = "sslcore"
FLUSH_SECONDS = 10.0
NOT_IN_A_NAME = re.compile(r"[^\w\-. /:]")
"""What MLflow refuses in the name of a metric or parameter."""

log = logging.getLogger("sslcore.tracking")


# -- the connection ----------------------------------------------------------------------------------------------------


def tracking_uri() -> str:
    """`MLFLOW_TRACKING_URI`, or the SQLite file beside the store. Raises nothing, connects to nothing."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{runtime.current().home / 'mlflow' / 'mlflow.db'}"


@functools.cache
def _client(uri: str) -> "MlflowClient":
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # training must not wait minutes for a dead server
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    import mlflow

    for chatty in (
        "alembic",
        "mlflow.store.db.utils",
        "mlflow.tracking._model_registry.client",
        "mlflow.utils",
        "mlflow.system_metrics",
        "mlflow.pyfunc",
    ):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    mlflow.set_tracking_uri(uri)
    return mlflow.MlflowClient(uri)


def client() -> "MlflowClient":
    return _client(tracking_uri())


def prepare() -> None:
    """Create or migrate the database before any parallel work: two processes doing it at once would fail."""
    with tolerant("prepare the tracking database"):
        client().search_experiments(max_results=1)


@contextlib.contextmanager
def tolerant(doing: str) -> Iterator[None]:
    """MLflow being away is a warning: what could not be said now is said when the artefact is next used."""
    from mlflow.exceptions import MlflowException

    try:
        with interrupted_afterwards():
            yield
    except (MlflowException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        log.warning("MLflow at %s could not %s (%s); the work goes on", tracking_uri(), doing, reason[:200])


@contextlib.contextmanager
def interrupted_afterwards() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait until MLflow has answered: a transaction cut in two keeps its database locked.

    A second one of a kind is heard at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is interrupted
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    came: list[tuple[int, FrameType | None]] = []

    def wait(number: int, frame: FrameType | None) -> None:
        signal.signal(number, before[signal.Signals(number)])
        came.append((number, frame))

    heard = {number: handler for number, handler in before.items() if callable(handler)}  # none where it is ignored
    for number in heard:
        signal.signal(number, wait)
    try:
        yield
    finally:
        for number, handler in heard.items():
            signal.signal(number, handler)
        for arrived, frame in came:
            heard[signal.Signals(arrived)](arrived, frame)


def experiment(name: str) -> str:
    """The id of the experiment of this name, which is made where there is none."""
    found = client().get_experiment_by_name(name)
    if found is not None:
        return found.experiment_id
    location = None
    if tracking_uri().startswith("sqlite:///"):  # else artefacts would fall into the current folder's mlruns
        folder = runtime.current().home / "mlflow" / "artifacts" / name
        folder.mkdir(parents=True, exist_ok=True)
        location = folder.as_uri()
    return client().create_experiment(name, artifact_location=location)


def find_run(tag: str, value: str) -> "Run | None":
    experiments = [e.experiment_id for e in client().search_experiments()]
    runs = client().search_runs(experiments, f"tags.`{tag}` = '{value}'", max_results=1)
    return runs[0] if runs else None


def this_process() -> str:
    import socket

    import psutil

    return f"{socket.gethostname()}:{os.getpid()}:{int(psutil.Process().create_time())}"


# -- one run per artefact ----------------------------------------------------------------------------------------------


class LiveRun:
    """An artefact's run while it is being made: metrics by step, sent in batches.

    A retry goes on in the same run and sends only the steps that were not sent before.
    """

    def __init__(self, run_id: str | None, last_step: int) -> None:
        self.run_id = run_id
        self.last_step = last_step
        self.waiting: list[tuple[int, Mapping[str, float]]] = []
        self.flushed = time.monotonic()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        if self.run_id is None or step <= self.last_step:
            return
        self.waiting.append((step, metrics))
        if time.monotonic() - self.flushed >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        if self.run_id is not None and self.waiting:
            with tolerant("take metrics"):
                log_metrics(self.run_id, self.waiting)
                self.last_step = self.waiting[-1][0]
        self.waiting = []
        self.flushed = time.monotonic()


def begin(kind: str, key: str, spec: Mapping[str, Any], inputs: Mapping[str, Ref]) -> LiveRun:
    """The run of an artefact about to be made; a stand-in that says nothing when MLflow is away."""
    import prefect.runtime.flow_run as flow_run

    with tolerant("open a run"):
        run = artifact_run(kind, key, spec, inputs, str(flow_run.id))
        client().update_run(run.info.run_id, status="RUNNING")
        return LiveRun(run.info.run_id, int(run.data.tags.get("sslcore.last_step", -1)))
    return LiveRun(None, -1)


def artifact_run(kind: str, key: str, spec: Mapping[str, Any], inputs: Mapping[str, Ref], flow_run_id: str) -> "Run":
    """The run of an artefact key, found again or new, as one that the flow run is now at work on."""
    parent = find_run("sslcore.flow_run_id", flow_run_id)
    tags = {"sslcore.made_by": flow_run_id, "sslcore.process": this_process()}
    run = find_run("sslcore.key", f"{kind}/{key}")
    if run is not None:
        for name, value in tags.items():
            client().set_tag(run.info.run_id, name, value)
        return run
    tags |= {"sslcore.kind": kind, "sslcore.key": f"{kind}/{key}"}
    tags |= {f"sslcore.input.{role}": str(source) for role, source in inputs.items()}
    if parent is not None:
        tags["mlflow.parentRunId"] = parent.info.run_id
    home = parent.info.experiment_id if parent is not None else experiment(DEFAULT_EXPERIMENT)
    run = client().create_run(home, run_name=f"{spec.get('kind', kind)} {key[:8]}", tags=tags)
    log_params(run.info.run_id, spec)
    return run


def log_metrics(run_id: str, rows: list[tuple[int, Mapping[str, float]]]) -> None:
    from mlflow.entities import Metric, RunTag

    now = int(time.time() * 1000)
    metrics = [
        Metric(NOT_IN_A_NAME.sub("", name), float(value), now, step)
        for step, values in rows
        for name, value in values.items()
    ]
    for start in range(0, len(metrics), 1000):
        client().log_batch(run_id, metrics=metrics[start : start + 1000])
    if rows and rows[-1][0] > 0:
        client().log_batch(run_id, tags=[RunTag("sslcore.last_step", str(rows[-1][0]))])


def log_params(run_id: str, spec: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    params = [Param(NOT_IN_A_NAME.sub("", name), str(value)[:6000]) for name, value in flat(spec)]
    for start in range(0, len(params), 100):
        client().log_batch(run_id, params=params[start : start + 100])


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        elif not isinstance(value, list | tuple) or len(value) <= 20:
            yield f"{prefix}{name}", value
