"""Pretraining from a corpus to an encoder, and from there to the files of an artefact."""

import logging
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from sslcore.artifacts import CHECKPOINT
from sslcore.contracts import CURVE
from sslcore.errors import UserError
from sslcore.parallel import available_cores
from sslcore.progress import Progress, silent
from sslcore.randomness import derive_seed, torch_generator
from sslcore.training.checkpoints import Checkpoints
from sslcore.training.devices import check_device, peak_memory
from sslcore.training.distributed import join
from sslcore.training.learner import Learner, Metrics
from sslcore.training.loop import START, Ahead, Begin, Curve, DivergedError, reported, train
from sslcore.training.range_test import found_rate
from sslcore.training.termination import termination_deferred

if TYPE_CHECKING:
    from sslcore.models.encoder import Encoder
    from sslcore.objectives.registry import AnyObjective
    from sslcore.tokenization.encoding import EncodedCorpus

SLOWER = 0.5  # the learning rate after the training has diverged
SLOWED_AT_MOST = 2

log = logging.getLogger("sslcore.training")

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
    Training that diverges goes back to the last checkpoint, or the beginning, and on with half the learning rate, twice
    at most. SIGTERM ends it after the step at work, which is saved.
    Called in each process of `torchrun` they share the work, a GPU each with device="cuda"; every process returns the
    same encoder, and all must see the folder of checkpoints.
    The same seed gives the same encoder on the same machine, unless the objective says otherwise.
    Raises UserError before any work when corpus, device and objective do not go together.
    """
    return _pretrain(
        objective, corpus, seed, device, workers, progress, on_metrics, Checkpoints(checkpoints), continuing
    ).encoder


class _Pretrained(NamedTuple):
    encoder: "Encoder"
    curve: list[tuple[int, Metrics]]
    waited: float  # seconds for batches, in the attempt that ended


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
) -> _Pretrained:
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
    progress(0.0, f"{kind}: preparing (a first run on a machine compiles for some seconds)")
    batches = objective.batches(corpus, derive_seed(seed, kind, "batches"))

    def beginning() -> Learner:
        network = objective.network(corpus.tokenizer, torch_generator(seed, kind, "network"))
        encoder = Encoder(corpus.tokenizer, network, objective.model_dump(mode="json"), seed)
        if continuing is not None:
            objective.take_up(encoder, continuing)
        learner = objective.learner(encoder, torch_generator(seed, kind, "learner"), device=device, workers=workers)
        return learner.in_team(team) if team is not None else learner

    slowed, leads = 0, team is None or team.rank == 0
    while True:
        found = checkpoints.read()
        if getattr(objective, "learning_rate", None) == "find":
            rate = found.learning_rate if found else found_rate(beginning(), batches, progress)  # type: ignore[arg-type]
            objective = objective.model_copy(update={"learning_rate": rate})
            checkpoints.learning_rate = rate
        learner, curve, begin = beginning(), Curve(), START
        if found:
            learner.restore(found.state)
            curve.restore(found.curve)
            begin, slowed = found.begin, max(slowed, found.slowed)
            for step, metrics in curve.points:
                on_metrics(step, metrics)
        learner.slow_down(SLOWER**slowed)
        source = Ahead(batches, begin.step)
        try:
            _run(learner, source, begin, curve, slowed, kind, progress, on_metrics, checkpoints, leads)
        except DivergedError as error:
            if slowed == SLOWED_AT_MOST:
                raise
            if slowed and leads:
                checkpoints.drop_last()
            if team is not None:
                team.wait()  # all go back to the same state
            slowed += 1
            log.warning("%s; going back and on with %g of the learning rate", error, SLOWER**slowed)
        else:
            return _Pretrained(learner.finish(), curve.points, source.waited)


def _run(
    learner: Learner,
    source: Ahead,
    begin: Begin,
    curve: Curve,
    slowed: int,
    kind: str,
    progress: Progress,
    on_metrics: OnMetrics,
    checkpoints: Checkpoints,
    leads: bool,
) -> None:
    """Train from `begin` to the end. SIGTERM is heard after the step in which it comes, and what there is is saved."""
    with termination_deferred() as termination:
        try:
            for step, metrics in reported(train(learner, source, begin), progress, kind, begin):
                if point := curve.add(step, metrics):
                    on_metrics(*point)
                if leads and not curve.suspects(metrics["loss"]):
                    here = Begin(step, metrics["tokens"], metrics["done"])
                    checkpoints.offer(learner, here, curve, slowed, now=termination.asked)
                if termination.asked:
                    break
        finally:
            checkpoints.finish()  # a next attempt, in this process too, finds what this one wrote
    if termination.asked:
        kept = "which is saved; the same call goes on from there" if checkpoints.folder else "nothing was to be saved"
        raise UserError(f"asked to end at step {step}, {kept}")


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
    checkpoints = Checkpoints(folder / CHECKPOINT)
    encoder, curve, waited = _pretrain(
        objective, corpus, seed, device, workers, progress, on_metrics, checkpoints, continuing
    )
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
    seconds = checkpoints.seconds
    encoder.save(folder)
    write_curve(curve, folder / "curve.parquet")
    step, last = curve[-1]
    return {
        "dimensions": encoder.dimensions,
        "parameters": sum(p.numel() for p in encoder.network.parameters()),
        "vocabulary": encoder.tokenizer.vocabulary_size,
        "steps": step,
        "tokens": int(last["tokens"]),
        "loss": round(last["loss"], 6),
        "seconds": round(seconds, 3),
        "tokens_per_second": round(last["tokens"] / seconds),
        "waiting_for_data": round(waited / seconds, 4),
        "peak_memory_bytes": peak_memory(device),
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
