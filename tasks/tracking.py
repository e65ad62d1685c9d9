"""MLflow: the notebook beside the store. The store is the truth; everything here can be written again from it.

One MLflow run per artefact key, found again by tag: a retry continues it, a reuse leaves a tag, and a run that could
not be recorded because MLflow was away is recorded the next time its artefact is used. One parent run per flow run,
closed by the flow's hooks and by nothing else, so a failed or cancelled flow leaves nothing RUNNING.

Only this module, `model_registry.py` and `served_model.py` (which MLflow itself loads) import mlflow.
"""

import contextlib
import contextvars
import functools
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sslcore.artifacts import Manifest, Ref
from tasks import runtime

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from prefect.client.schemas.objects import FlowRun, State
    from prefect.flows import Flow

DEFAULT_EXPERIMENT = "sslcore"
FLUSH_SECONDS = 10.0
NOT_IN_A_NAME = re.compile(r"[^\w\-. /:]")
"""What MLflow refuses in the name of a metric or parameter."""
Figures = Callable[[Path], Mapping[str, "Figure"]]
"""Draws an artefact's plots from its folder: file name → figure."""

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
    with _tolerant("prepare the tracking database"):
        client().search_experiments(max_results=1)


@contextlib.contextmanager
def _tolerant(doing: str) -> Iterator[None]:
    """MLflow being away is a warning: what could not be said now is said when the artefact is next used."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        log.warning("MLflow at %s could not %s (%s); the work goes on", tracking_uri(), doing, reason[:200])


def _experiment(name: str) -> str:
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


# -- one run per flow run ----------------------------------------------------------------------------------------------


def open_flow_run(experiment: str, parameters: Mapping[str, Any]) -> None:
    """Start, or after a retry continue, the parent run of the Prefect flow run we are in."""
    import prefect.runtime.flow_run as flow_run

    with _tolerant("open the flow's run"):
        _close_abandoned()
        run = find_run("sslcore.flow_run_id", str(flow_run.id))
        if run is None:
            tags = {
                "sslcore.flow_run_id": str(flow_run.id),
                "sslcore.process": _this_process(),
                "sslcore.store": str(runtime.current().store.root),
                "mlflow.source.name": str(flow_run.flow_name),
                "mlflow.source.type": "JOB",
            }
            run = client().create_run(_experiment(experiment), run_name=str(flow_run.name), tags=tags)
            _log_params(run.info.run_id, parameters)
        else:
            client().update_run(run.info.run_id, status="RUNNING")
            client().set_tag(run.info.run_id, "sslcore.process", _this_process())
        _monitor(run.info.run_id)


_monitors: list[Any] = []


def _monitor(run_id: str) -> None:
    """CPU, memory and GPU use of this machine on the flow's run, until the run is closed."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run_id, sampling_interval=10)
    monitor.start()
    _monitors.append(monitor)


def _close_flow_run(flow_run_id: str, status: str) -> None:
    try:
        settle()
    finally:
        _end_runs(flow_run_id, status)


def _end_runs(flow_run_id: str, status: str) -> None:
    while _monitors:
        _monitors.pop().finish()
    with _tolerant("close the flow's runs"):
        experiments = [e.experiment_id for e in client().search_experiments()]
        mine = client().search_runs(
            experiments, f"tags.`sslcore.flow_run_id` = '{flow_run_id}' and attributes.status = 'RUNNING'"
        )
        children = client().search_runs(
            experiments, f"tags.`sslcore.made_by` = '{flow_run_id}' and attributes.status = 'RUNNING'"
        )
        for run in [*children, *mine]:
            client().set_terminated(run.info.run_id, status)


def on_completion(flow: "Flow[Any, Any]", flow_run: "FlowRun", state: "State[Any]") -> None:
    _close_flow_run(str(flow_run.id), "FINISHED")


def on_failure(flow: "Flow[Any, Any]", flow_run: "FlowRun", state: "State[Any]") -> None:
    _close_flow_run(str(flow_run.id), "FAILED")


def on_stop(flow: "Flow[Any, Any]", flow_run: "FlowRun", state: "State[Any]") -> None:
    """Cancelled or crashed: this hook runs in the worker, after the flow's own process is gone."""
    _close_flow_run(str(flow_run.id), "KILLED")


HOOKS: dict[str, Any] = {
    "on_completion": [on_completion],
    "on_failure": [on_failure],
    "on_cancellation": [on_stop],
    "on_crashed": [on_stop],
}
"""What every flow is decorated with."""


def _this_process() -> str:
    import socket

    import psutil

    return f"{socket.gethostname()}:{os.getpid()}:{int(psutil.Process().create_time())}"


def _close_abandoned() -> None:
    """End the runs of processes of this machine that are gone without a word (kill -9, power)."""
    import socket

    import psutil

    experiments = [e.experiment_id for e in client().search_experiments()]
    for run in client().search_runs(experiments, "attributes.status = 'RUNNING'"):
        host, _, rest = run.data.tags.get("sslcore.process", "").rpartition(":")[0].rpartition(":")
        started = run.data.tags.get("sslcore.process", "").rpartition(":")[2]
        if host != socket.gethostname() or not rest.isdigit():
            continue
        try:
            alive = int(psutil.Process(int(rest)).create_time()) == int(started)
        except psutil.NoSuchProcess:
            alive = False
        if not alive:
            client().set_terminated(run.info.run_id, "KILLED")


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
            with _tolerant("take metrics"):
                _log_metrics(self.run_id, self.waiting)
                self.last_step = self.waiting[-1][0]
        self.waiting = []
        self.flushed = time.monotonic()


def begin(kind: str, key: str, spec: Mapping[str, Any], inputs: Mapping[str, Ref]) -> LiveRun:
    """The run of an artefact about to be made; a stand-in that says nothing when MLflow is away."""
    with _tolerant("open a run"):
        run = _artifact_run(kind, key, spec, inputs)
        client().update_run(run.info.run_id, status="RUNNING")
        return LiveRun(run.info.run_id, int(run.data.tags.get("sslcore.last_step", -1)))
    return LiveRun(None, -1)


def _artifact_run(kind: str, key: str, spec: Mapping[str, Any], inputs: Mapping[str, Ref]) -> "Run":
    import prefect.runtime.flow_run as flow_run

    parent = find_run("sslcore.flow_run_id", str(flow_run.id)) if flow_run.id else None
    tags = {"sslcore.made_by": str(flow_run.id), "sslcore.process": _this_process()}
    run = find_run("sslcore.key", f"{kind}/{key}")
    if run is not None:
        for name, value in tags.items():
            client().set_tag(run.info.run_id, name, value)
        return run
    tags |= {"sslcore.kind": kind, "sslcore.key": f"{kind}/{key}"}
    tags |= {f"sslcore.input.{role}": str(source) for role, source in inputs.items()}
    if parent is not None:
        tags["mlflow.parentRunId"] = parent.info.run_id
    experiment = parent.info.experiment_id if parent is not None else _experiment(DEFAULT_EXPERIMENT)
    run = client().create_run(experiment, run_name=f"{spec.get('kind', kind)} {key[:8]}", tags=tags)
    _log_params(run.info.run_id, spec)
    return run


def record(manifest: Manifest, *, reused: bool, figures: Figures | None = None) -> None:
    """Write a finished artefact's run from the store: once whole, afterwards only a mark that it was used again."""
    import prefect.runtime.flow_run as flow_run

    with _tolerant(f"record {manifest.ref}"):
        run = find_run("sslcore.key", str(manifest.ref))
        if run is not None and run.data.tags.get("sslcore.digest") == manifest.digest:
            if reused:
                client().set_tag(run.info.run_id, "sslcore.reused_by", str(flow_run.id))
            return
        run = _artifact_run(manifest.kind, manifest.key, manifest.spec, manifest.inputs)
        run_id = run.info.run_id
        folder = runtime.current().store.path(manifest.ref)
        numbers = {name: value for name, value in _flat(manifest.summary) if isinstance(value, int | float)}
        _log_metrics(run_id, [(0, {**numbers, "build_seconds": manifest.seconds})])
        if (folder / "curve.parquet").exists():
            last = int(run.data.tags.get("sslcore.last_step", -1))
            _log_metrics(run_id, [row for row in _curve(folder / "curve.parquet") if row[0] > last])
        _log_inputs(run_id, manifest)
        client().log_text(run_id, manifest.model_dump_json(indent=1), "manifest.json")
        if figures is not None:
            for name, figure in figures(folder).items():
                client().log_figure(run_id, figure, name)
        if manifest.kind in ("encoder", "finetuned_model"):
            client().set_tag(run_id, "sslcore.model_uri", _log_model(run_id, manifest, folder))
        client().set_tag(run_id, "sslcore.digest", manifest.digest)  # last: its presence means the record is whole
        client().set_terminated(run_id, "FINISHED")


_recorder = ThreadPoolExecutor(1, "sslcore-record")
_recording: list[Future[None]] = []


def record_beside(manifest: Manifest, *, reused: bool, figures: Figures | None = None) -> None:
    """As `record`, while the next step is already at work; `settle` waits for it."""
    here = contextvars.copy_context()  # the flow run we are in
    _recording.append(_recorder.submit(here.run, functools.partial(record, manifest, reused=reused, figures=figures)))


def settle() -> None:
    """Return once everything is recorded. Raises what a record raised."""
    while _recording:
        _recording.pop(0).result()


def _curve(path: Path) -> list[tuple[int, dict[str, float]]]:
    import pyarrow.parquet as pq

    steps: dict[int, dict[str, float]] = {}
    for row in pq.read_table(path).to_pylist():
        steps.setdefault(row["step"], {})[row["metric"]] = row["value"]
    return sorted(steps.items())


def _log_metrics(run_id: str, rows: list[tuple[int, Mapping[str, float]]]) -> None:
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


def _log_params(run_id: str, spec: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    params = [Param(NOT_IN_A_NAME.sub("", name), str(value)[:6000]) for name, value in _flat(spec)]
    for start in range(0, len(params), 100):
        client().log_batch(run_id, params=params[start : start + 100])


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif not isinstance(value, list | tuple) or len(value) <= 20:
            yield f"{prefix}{name}", value


def _log_inputs(run_id: str, manifest: Manifest) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    store = runtime.current().store
    datasets = []
    for role, source in manifest.inputs.items():
        where = str(store.path(source)) if source.kind != "raw" else "raw files; their hashes are in sources.parquet"
        dataset = Dataset(
            name=str(source), digest=source.digest[:36], source_type="local", source=json.dumps({"uri": where})
        )
        datasets.append(DatasetInput(dataset, [InputTag("mlflow.data.context", role)]))
    if datasets:
        client().log_inputs(run_id, datasets)


def _log_model(run_id: str, manifest: Manifest, folder: Path) -> str:
    """Log the artefact as a pyfunc model that carries sslcore's code, its signature and an example; its URI."""
    import mlflow
    from mlflow.models import infer_signature

    import sslcore
    from tasks import served_model

    example = served_model.example(manifest.summary)
    output = served_model.answer(sslcore.load(folder), example)
    with mlflow.start_run(run_id=run_id, log_system_metrics=False):
        logged = mlflow.pyfunc.log_model(
            name=manifest.kind,
            python_model=served_model.__file__,
            artifacts={"model": str(folder)},
            code_paths=[str(Path(sslcore.__file__).parent)],
            signature=infer_signature(example, output),
            input_example=example,
            pip_requirements=_requirements(),
            metadata={"sslcore.key": str(manifest.ref), "sslcore.digest": manifest.digest},
        )
    return str(logged.model_uri)


def _requirements() -> list[str]:
    """What a fresh environment needs to serve a model, at the versions it was made with."""
    from importlib.metadata import version

    names = (
        "mlflow",
        "numba",
        "numpy",
        "pandas",
        "pyarrow",
        "pydantic",
        "rjieba",
        "safetensors",
        "tokenizers",
        "torch",
    )
    return [f"{name}=={version(name).partition('+')[0]}" for name in names]
