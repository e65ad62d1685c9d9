"""Pretraining from a corpus to an encoder, and from there to the files of an artefact."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from sslcore.artifacts import CHECKPOINT
from sslcore.contracts import CURVE
from sslcore.errors import UserError
from sslcore.parallel import available_cores
from sslcore.progress import Progress, silent
from sslcore.randomness import numpy_generator, torch_generator
from sslcore.training.checkpoints import Checkpoints
from sslcore.training.devices import check_device
from sslcore.training.distributed import TeamLearner, join
from sslcore.training.learner import Learner, Metrics
from sslcore.training.loop import START, reported, summarised, train

if TYPE_CHECKING:
    from sslcore.models.encoder import Encoder
    from sslcore.objectives.registry import AnyObjective
    from sslcore.tokenization.encoding import EncodedCorpus

OnMetrics = Callable[[int, Metrics], None]


def ignore(step: int, metrics: Metrics) -> None:
    """The listener that keeps nothing."""


def pretrain(
    objective: "AnyObjective",
    corpus: "EncodedCorpus | Iterable[list[str]]",
    *,
    seed: int,
    device: str = "cpu",
    workers: int | None = None,
    progress: Progress = silent,
    on_metrics: OnMetrics = ignore,
    checkpoints: Path | None = None,
    continuing: "Encoder | None" = None,
) -> "Encoder":
    """An encoder trained by `objective` on an encoded corpus, or on token lists (each a document).

    `on_metrics` receives (step, metrics) at most 200 times, evenly over the run. `workers` is threads (default: all
    cores). A folder for `checkpoints` keeps the state of the run: the same call goes on from there after a kill, and
    tells `on_metrics` again what it had said before. With `continuing` it begins where that encoder ended, on a corpus
    encoded with growing=encoder.tokenizer; the learning rate is the objective's, so give a lower one.
    Called in each process of `torchrun`, the word objectives share the work (`training/distributed.py`), a GPU each
    with device="cuda"; every process returns the same encoder, and all must see the folder of checkpoints.
    The same seed gives the same encoder on the same machine, unless the objective says otherwise.
    Raises UserError before any work when corpus, device and objective do not go together.
    """
    return _pretrain(
        objective, corpus, seed, device, workers, progress, on_metrics, Checkpoints(checkpoints), continuing
    )


def _pretrain(
    objective: "AnyObjective",
    corpus: "EncodedCorpus | Iterable[list[str]]",
    seed: int,
    device: str,
    workers: int | None,
    progress: Progress,
    on_metrics: OnMetrics,
    checkpoints: Checkpoints,
    continuing: "Encoder | None",
) -> "Encoder":
    from sslcore.models.encoder import Encoder
    from sslcore.tokenization.encoding import EncodedCorpus

    if not isinstance(corpus, EncodedCorpus):
        corpus = EncodedCorpus.from_token_lists(corpus)
    if workers is not None and workers < 1:
        raise UserError(f"workers is {workers}; give at least 1, or leave it out to use every core")
    team = join(device)
    if team is not None:
        device = team.device
        workers = workers or max(1, available_cores() // team.here)
        progress = progress if team.rank == 0 else silent
    check_device(device)
    objective.check(corpus, device)
    workers = workers or available_cores()

    kind = objective.kind
    network = objective.network(corpus.tokenizer, torch_generator(seed, kind, "network"))
    encoder = Encoder(corpus.tokenizer, network, objective.model_dump(mode="json"), seed)
    if continuing is not None:
        objective.take_up(encoder, continuing)
    progress(0.0, f"{kind}: preparing (a first run on a machine compiles for some seconds)")
    learner: Learner = objective.learner(
        encoder, torch_generator(seed, kind, "learner"), device=device, workers=workers
    )
    if team is not None:
        learner = TeamLearner(learner, team)
    batches = objective.batches(corpus, numpy_generator(seed, kind, "batches"))
    curve, begin = [], START
    if found := checkpoints.read():
        learner.restore(found.state)
        curve, begin = found.curve, found.begin
        for step, metrics in curve:
            on_metrics(step, metrics)
    for step, metrics in summarised(reported(train(learner, batches, begin), progress, kind, begin), begin=begin):
        on_metrics(step, metrics)
        curve.append((step, metrics))
        if team is None or team.rank == 0:
            checkpoints.offer(learner, curve)
    return learner.finish()


def write_encoder(
    objective: "AnyObjective",
    corpus: "EncodedCorpus",
    folder: Path,
    *,
    seed: int,
    device: str = "cpu",
    workers: int | None = None,
    progress: Progress = silent,
    on_metrics: OnMetrics = ignore,
    continuing: "Encoder | None" = None,
) -> dict[str, float]:
    """Pretrain and write the Encoder artefact: weights, encoder.json, the tokenizer's files, curve.parquet.

    What a killed call left in the folder's checkpoint is taken up; its seconds count too.

    The curve holds nothing that depends on the clock, so equal runs write equal bytes.
    """
    curve: list[tuple[int, Metrics]] = []

    def keep(step: int, metrics: Metrics) -> None:
        curve.append((step, metrics))
        on_metrics(step, metrics)

    checkpoints = Checkpoints(folder / CHECKPOINT)
    encoder = _pretrain(objective, corpus, seed, device, workers, progress, keep, checkpoints, continuing)
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
    seconds = checkpoints.seconds
    encoder.save(folder)
    write_curve(curve, folder / "curve.parquet")
    last = curve[-1][1]
    return {
        "dimensions": encoder.dimensions,
        "parameters": sum(p.numel() for p in encoder.network.parameters()),
        "vocabulary": encoder.tokenizer.vocabulary_size,
        "steps": curve[-1][0],
        "tokens": int(last["tokens"]),
        "loss": round(last["loss"], 6),
        "seconds": round(seconds, 3),
        "tokens_per_second": round(last["tokens"] / seconds),
    }


def write_curve(curve: list[tuple[int, Metrics]], path: Path) -> None:
    """A long table step, metric, value as parquet; `done` is left out, it says nothing that step does not."""
    rows = [
        {"step": step, "metric": name, "value": value}
        for step, metrics in curve
        for name, value in metrics.items()
        if name != "done"
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=CURVE), path)
