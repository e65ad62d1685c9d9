"""What a finished artefact leaves in MLflow, written by a process of its own while the next step is at work.

A thread would not do: a record is Python from end to end, and every slice of it holds up the short calls into torch
that a step is made of. The process yields to the steps (`NICENESS`), and dies with the one it works for.
"""

import importlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import prefect.runtime.flow_run

from sslcore.artifacts import Manifest
from sslcore.evaluation.drawing import svg_of
from sslcore.parallel import spawned
from tasks import runtime, tracking
from tasks.tracking import artifact_run, client, find_run, flat, log_metrics, tolerant

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NICENESS = 10
ANSWERS = {
    "class": "a text in, its label and the probability of each label out",
    "tags": "a list of tokens in, a tag for each out",
    "pair": "two texts in, a label or a score of the two out",
    "span": "a question and a passage in, the answer's place in the passage out",
}
Figures = Callable[[Path], Mapping[str, "Figure"]]
"""Draws an artefact's plots from its folder: file name → figure. A function of a module, so that it can be pickled."""


def record(manifest: Manifest, *, flow_run_id: str, figures: Figures | None = None) -> None:
    """Write a finished artefact's run from the store: once whole, afterwards only a mark that it was used again."""
    with tolerant(f"record {manifest.ref}"):
        if _marked(manifest, flow_run_id):
            return
        run = artifact_run(manifest.kind, manifest.key, manifest.spec, manifest.inputs, flow_run_id)
        run_id = run.info.run_id
        folder = runtime.current().store.path(manifest.ref)
        numbers = {name: value for name, value in flat(manifest.summary) if isinstance(value, int | float)}
        log_metrics(run_id, [(0, {**numbers, "build_seconds": manifest.seconds})])
        if (folder / "curve.parquet").exists():
            last = int(run.data.tags.get("sslcore.last_step", -1))
            log_metrics(run_id, [row for row in _curve(folder / "curve.parquet") if row[0] > last])
        _log_inputs(run_id, manifest)
        client().log_text(run_id, manifest.model_dump_json(indent=1), "manifest.json")
        if figures is not None:
            for name, figure in figures(folder).items():
                client().log_text(run_id, svg_of(figure), name)
        if manifest.kind in ("encoder", "finetuned_model"):
            uri = _log_model(run_id, manifest, folder)
            note = _how_to_use(uri, manifest)
            client().set_logged_model_tags(uri.rpartition("/")[2], {"mlflow.note.content": note})
            client().set_tag(run_id, "mlflow.note.content", note)
            client().set_tag(run_id, "sslcore.model_uri", uri)
        client().set_tag(run_id, "sslcore.digest", manifest.digest)  # last: its presence means the record is whole
        client().set_terminated(run_id, "FINISHED")


def _marked(manifest: Manifest, flow_run_id: str) -> bool:
    """Whether the record is whole already; if so it now says who used it last."""
    run = find_run("sslcore.key", str(manifest.ref))
    if run is None or run.data.tags.get("sslcore.digest") != manifest.digest:
        return False
    if run.data.tags.get("sslcore.made_by") != flow_run_id:
        client().set_tag(run.info.run_id, "sslcore.reused_by", flow_run_id)
    return True


# -- beside the steps --------------------------------------------------------------------------------------------------


class _Asked(NamedTuple):
    """A record to write, with what the other process cannot know."""

    manifest: Manifest
    flow_run_id: str
    figures: Figures | None
    where: dict[str, str]  # environment variables


_pool: ProcessPoolExecutor | None = None
_recording: list[Future[list[str]]] = []


def record_beside(manifest: Manifest, *, reused: bool, figures: Figures | None = None) -> None:
    """As `record`, while the next step is already at work; `settle` waits for it."""
    global _pool
    flow_run_id = str(prefect.runtime.flow_run.id)
    if reused:
        with tolerant(f"mark {manifest.ref}"):
            if _marked(manifest, flow_run_id):
                return
    where = {"SSLCORE_STORE": str(runtime.current().store.root), "MLFLOW_TRACKING_URI": tracking.tracking_uri()}
    asked = _Asked(manifest, flow_run_id, figures, where)
    try:
        _recording.append(_started().submit(_record_here, asked))
    except BrokenProcessPool:  # it ended since: what it had is said to be left out, what follows goes to a new one
        settle()
        _pool = None
        _recording.append(_started().submit(_record_here, asked))


def start() -> None:
    """Have the process ready by the time that there is something to record."""
    _started()


def settle() -> None:
    """Return once everything is recorded. Raises what a record raised, and says what it warned of."""
    global _pool
    while _recording:
        try:
            for warning in _recording.pop(0).result():
                tracking.log.warning(warning)
        except BrokenProcessPool:
            _pool = None
            tracking.log.warning("the process that writes to MLflow ended; what it left out is written at the next use")


def _started() -> ProcessPoolExecutor:
    global _pool
    if _pool is None:
        _pool = spawned(1, _yield_to_steps)
        _pool.submit(_import)
    return _pool


def _yield_to_steps() -> None:
    os.nice(NICENESS)


def _import() -> None:
    """What takes seconds, while the first step is at work."""
    for name in ("mlflow.pyfunc", "matplotlib.figure", "torch"):
        importlib.import_module(name)


def _record_here(asked: _Asked) -> list[str]:
    """In the other process: write the record, and give back what was warned of."""
    os.environ.update(asked.where)
    said = _Said()
    tracking.log.addHandler(said)
    try:
        record(asked.manifest, flow_run_id=asked.flow_run_id, figures=asked.figures)
    finally:
        tracking.log.removeHandler(said)
    return said.lines


class _Said(logging.Handler):
    """Keeps the lines that were logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, entry: logging.LogRecord) -> None:
        self.lines.append(entry.getMessage())


# -- the parts of a record ---------------------------------------------------------------------------------------------


def _curve(path: Path) -> list[tuple[int, dict[str, float]]]:
    import pyarrow.parquet as pq

    steps: dict[int, dict[str, float]] = {}
    for row in pq.read_table(path).to_pylist():
        steps.setdefault(row["step"], {})[row["metric"]] = row["value"]
    return sorted(steps.items())


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
    model = sslcore.load(folder)
    output = served_model.answer(model, example)
    has_words = hasattr(getattr(model, "network", None), "word_vectors")
    with mlflow.start_run(run_id=run_id, log_system_metrics=False):
        logged = mlflow.pyfunc.log_model(
            name=manifest.kind,
            python_model=served_model.__file__,
            artifacts={"model": str(folder)},
            code_paths=[str(Path(sslcore.__file__).parent)],
            signature=infer_signature(example, output, {"nearest": 0} if has_words else None),
            input_example=example,
            pip_requirements=_requirements(),
            metadata={"sslcore.key": str(manifest.ref), "sslcore.digest": manifest.digest},
        )
    return str(logged.model_uri)


def _how_to_use(uri: str, manifest: Manifest) -> str:
    """The description on the pages of a run and of its model (Markdown)."""
    from tasks import served_model

    if manifest.kind == "encoder":
        what = f"Encoder: a text in, a vector of {manifest.summary['dimensions']} numbers out."
        command = f"sslcore encode {manifest.key} FILE -o vectors.parquet"
    else:
        shape = manifest.summary["shape"]
        what = f"Model of labelled rows, shape `{shape}`: {ANSWERS[shape]}."
        command = f"sslcore predict {manifest.key} FILE"
    example = {name: [value] for name, value in served_model.example(manifest.summary).iloc[0].items()}
    python = f"model = mlflow.pyfunc.load_model({uri!r})\nmodel.predict(pandas.DataFrame({example!r}))"
    return (
        f"{what}\n\n```python\n{python}\n```\n\nOn the command line: `{command}`. "
        f"Where it comes from: `sslcore lineage {manifest.key}`."
    )


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
