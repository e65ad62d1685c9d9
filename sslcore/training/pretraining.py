"""Pretraining from a corpus to an encoder, and from there to the files of an artefact."""

import logging
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sslcore.artifacts import CHECKPOINT
from sslcore.contracts import CURVE
from sslcore.errors import UserError
from sslcore.parallel import available_cores
from sslcore.progress import Progress, silent
from sslcore.randomness import derive_seed, torch_generator
from sslcore.training.alarm import CollapsedError, collapse_in
from sslcore.training.checkpoints import Checkpoints
from sslcore.training.continuing import check_taken_up
from sslcore.training.devices import check_device, peak_memory
from sslcore.training.distributed import Team, join
from sslcore.training.learner import Learner, Metrics
from sslcore.training.loop import START, Ahead, Begin, Curve, DivergedError, Point, reported, train
from sslcore.training.memory import OutOfMemoryError, model_in_memory
from sslcore.training.probing import Probe, Probing, best, due, exhausted, probes, summary
from sslcore.training.range_test import found_rate
from sslcore.training.termination import termination_deferred

if TYPE_CHECKING:
    from sslcore.models.encoder import Encoder
    from sslcore.objectives.registry import AnyObjective
    from sslcore.tokenization.encoding import EncodedCorpus

SLOWER = 0.5  # the learning rate after the training has diverged
SLOWED_AT_MOST = 2
NOT_WEIGHTS = ("optimizer.", "scaler.")  # in the names of what a learner's state holds beside weights

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
    probe: Probing | None = None,
    stop_on_collapse: bool = False,
) -> "Encoder":
    """An encoder trained by `objective` on an encoded corpus, or on token lists (each a document).

    `on_metrics` receives (step, metrics) at most 200 times, evenly over the run. `workers` is threads (default: all
    cores). A folder for `checkpoints` keeps the state of the run: the same call goes on from there after a kill, and
    tells `on_metrics` again what it had said before. With `continuing` it begins where that encoder ended, on a corpus
    encoded with growing=encoder.tokenizer; the learning rate is the objective's, so give a lower one.
    With a `probe` on the corpus's labels the encoder is the one that it found best, and training ends when it finds no
    better one. With `stop_on_collapse` CollapsedError ends it where otherwise a warning says that the vectors collapse.
    Training that diverges goes back to the last checkpoint, or the beginning, and on with half the learning rate, twice
    at most. SIGTERM ends it after the step at work, which is saved.
    Called in each process of `torchrun` they share the work, a GPU each with device="cuda"; every process returns the
    same encoder, and all must see the folder of checkpoints.
    The same seed gives the same encoder on the same machine, unless the objective says otherwise.
    Raises UserError before any work when corpus, device and objective do not go together.
    """
    consumers = _Consumers(progress, on_metrics, Checkpoints(checkpoints), stop_on_collapse)
    return _pretrain(objective, corpus, seed, device, workers, continuing, probe, consumers).encoder


class _Consumers(NamedTuple):
    """What takes the steps of a run."""

    progress: Progress
    on_metrics: OnMetrics
    checkpoints: Checkpoints
    stop_on_collapse: bool
    probe: Probe | None = None
    team: Team | None = None

    @property
    def leads(self) -> bool:
        """Whether this process does what one alone is to do."""
        return self.team is None or self.team.rank == 0


class _Pretrained(NamedTuple):
    encoder: "Encoder"
    curve: list[Point]
    waited: float  # seconds for batches, in the attempt that ended
    probing: float  # seconds for probes, in the same


def _pretrain(
    objective: "AnyObjective",
    corpus: "EncodedCorpus | Iterable[list[str]]",
    seed: int,
    device: str,
    workers: int | None,
    continuing: "Encoder | None",
    probing: Probing | None,
    consumers: _Consumers,
) -> _Pretrained:
    from sslcore.models.encoder import Encoder
    from sslcore.tokenization.encoding import EncodedCorpus

    if not isinstance(corpus, EncodedCorpus):
        corpus = EncodedCorpus.from_token_lists(corpus)
    if workers is not None and workers < 1:
        raise UserError(f"workers is {workers}; give at least 1, or leave it out to use every core")
    if continuing is not None:
        objective = objective.going_on_from(continuing)
    team = join(device)
    if team is not None:
        device = team.device
        workers = workers or max(1, available_cores() // team.here)
        consumers = consumers._replace(team=team, progress=consumers.progress if team.rank == 0 else silent)
    check_device(device)
    workers = workers or available_cores()
    if probing is not None:
        threads = 1 if getattr(objective, "deterministic", False) else workers
        probe = Probe(probing, corpus, seed=seed, threads=threads)
        corpus, consumers = probe.hidden(corpus), consumers._replace(probe=probe)
    objective.check(corpus, device)

    kind, checkpoints = objective.kind, consumers.checkpoints
    consumers.progress(0.0, f"{kind}: preparing (a first run on a machine compiles for some seconds)")
    batches = objective.batches(corpus, derive_seed(seed, kind, "batches"))

    def beginning(begin: "Encoder | None" = continuing) -> Learner:
        with model_in_memory(objective, corpus.tokenizer.vocabulary_size):
            network = objective.network(corpus.tokenizer, torch_generator(seed, kind, "network"))
            encoder = Encoder(corpus.tokenizer, network, objective.model_dump(mode="json"), seed)
            encoder.label_names = corpus.label_names
            if begin is not None:
                objective.take_up(encoder, begin)
            learner = objective.learner(encoder, torch_generator(seed, kind, "learner"), device=device, workers=workers)
            return learner.in_team(team) if team is not None else learner

    if continuing is not None and not objective.vocabulary_grows and checkpoints.read() is None:
        check_taken_up(kind, beginning, lambda: beginning(None), batches, consumers.progress)
    slowed = 0
    while True:
        found = checkpoints.read()
        if getattr(objective, "learning_rate", None) == "find":
            rate = found.learning_rate if found else found_rate(beginning(), batches, consumers.progress)  # type: ignore[arg-type]
            objective = objective.model_copy(update={"learning_rate": rate})
            checkpoints.learning_rate = rate
        learner, curve, begin = beginning(), Curve(), START
        checkpoints.best = found.best if found else {}
        if found:
            learner.restore(found.state)
            curve.restore(found.curve)
            begin, slowed = found.begin, max(slowed, found.slowed)
            for step, metrics in curve.points:
                consumers.on_metrics(step, metrics)
        learner.slow_down(SLOWER**slowed)
        source = Ahead(batches, begin.step)
        try:
            _run(learner, source, begin, curve, slowed, kind, consumers)
        except DivergedError as error:
            if slowed == SLOWED_AT_MOST:
                raise
            if slowed and consumers.leads:
                checkpoints.drop_last()
            if team is not None:
                team.wait()  # all go back to the same state
            slowed += 1
            log.warning("%s; going back and on with %g of the learning rate", error, SLOWER**slowed)
        except OutOfMemoryError as error:
            if not (step := checkpoints.last_step):
                raise
            raise OutOfMemoryError(f"{error}. The same call but for parts or chunk goes on from step {step}") from None
        else:
            if consumers.probe:
                _go_back_to_best(learner, checkpoints.best, team)
            probing_seconds = consumers.probe.seconds if consumers.probe else 0.0
            return _Pretrained(learner.finish(), curve.points, source.waited, probing_seconds)


def _run(
    learner: Learner, source: Ahead, begin: Begin, curve: Curve, slowed: int, kind: str, consumers: _Consumers
) -> None:
    """Train from `begin` to the end, or until a probe has seen no better one for its patience.

    SIGTERM is heard after the step in which it comes, and what there is is saved.
    """
    _, on_metrics, checkpoints, stop_on_collapse, probe, team = consumers
    patience = probe.config.patience if probe else 0
    over = probe is not None and exhausted(curve.points, patience)  # it was killed after its last probe
    warned, asked = collapse_in(curve.points) is not None, False
    with termination_deferred() as termination:
        try:
            steps = () if over else reported(train(learner, source, begin), consumers.progress, kind, begin)
            for step, metrics in steps:
                if curve.add(step, metrics):
                    if probe and due(curve.points, probe.config.every):
                        _measure(probe, learner, curve, consumers)
                        over = exhausted(curve.points, patience)
                    on_metrics(*curve.points[-1])
                    warned = _watch(curve, kind, warned, stop=stop_on_collapse)
                asked = termination.asked if team is None else team.any(termination.asked)
                if consumers.leads and not curve.suspects(metrics["loss"]):
                    here = Begin(step, metrics["tokens"], metrics["done"])
                    checkpoints.offer(learner, here, curve, slowed, now=asked)
                if asked or over:
                    break
        finally:
            checkpoints.finish()  # a next attempt, in this process too, finds what this one wrote
    if asked:
        kept = "which is saved; the same call goes on from there" if checkpoints.folder else "nothing was to be saved"
        raise UserError(f"asked to end at step {step}, {kept}")


def _watch(curve: Curve, kind: str, warned: bool, *, stop: bool) -> bool:
    """Say once that the vectors collapse, or raise CollapsedError; whether it has been said."""
    collapse = collapse_in(curve.points)
    if collapse and stop:
        raise CollapsedError(f"{kind}: {collapse}. Training has ended (stop_on_collapse)")
    if collapse and not warned:
        log.warning("%s: %s", kind, collapse)
    return collapse is not None


def _measure(probe: Probe, learner: Learner, curve: Curve, consumers: _Consumers) -> None:
    """Note a probe in the curve, and keep the weights if it is the best. The first of several processes does it."""
    team = consumers.team
    measured = probe.measure(learner.encoder) if consumers.leads else probe.NOTHING
    if team is not None:
        measured = dict(zip(measured, team.from_first(np.array(list(measured.values()))).tolist(), strict=True))
    step, _ = curve.note(measured)
    if consumers.leads and best(probes(curve.points)).step == step:
        consumers.checkpoints.best = {name: np.array(array) for name, array in _weights(learner).items()}


def _go_back_to_best(learner: Learner, kept: dict[str, np.ndarray], team: Team | None) -> None:
    """Give the learner, in all processes, the weights that the first one has kept; it is to be finished next."""
    kept = {**_weights(learner), **kept}
    if team is not None:
        kept = {name: team.from_first(array) for name, array in kept.items()}
    learner.restore({**learner.state(), **kept})


def _weights(learner: Learner) -> dict[str, np.ndarray]:
    """Of its state what the encoder at the end is made of, heads too."""
    return {name: array for name, array in learner.state().items() if not name.startswith(NOT_WEIGHTS)}


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
    probe: Probing | None = None,
    stop_on_collapse: bool = False,
) -> dict[str, float]:
    """Pretrain and write the Encoder artefact: weights, encoder.json, the tokenizer's files, curve.parquet.

    What a killed call left in the folder's checkpoint is taken up; its seconds count too.

    The curve holds nothing that depends on the clock, so equal runs write equal bytes.
    """
    checkpoints = Checkpoints(folder / CHECKPOINT)
    consumers = _Consumers(progress, on_metrics, checkpoints, stop_on_collapse)
    encoder, curve, waited, probing_seconds = _pretrain(
        objective, corpus, seed, device, workers, continuing, probe, consumers
    )
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
    seconds = checkpoints.seconds
    encoder.save(folder)
    write_curve(curve, folder / "curve.parquet")
    step, last = curve[-1]
    collapse = collapse_in(curve)
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
        **({**summary(curve), "probing_seconds": round(probing_seconds, 3)} if probe else {}),
        **({"collapsed_at": collapse.step} if collapse else {}),
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
