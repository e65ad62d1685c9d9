"""Pretraining from a corpus to an encoder, and from there to the files of an artefact."""

import shutil
from collections.abc import Iterable
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
from sslcore.training.alarm import collapse_in
from sslcore.training.checkpoints import Checkpoints
from sslcore.training.continuing import check_taken_up
from sslcore.training.devices import check_device, peak_memory
from sslcore.training.distributed import join
from sslcore.training.learner import Learner, Metrics
from sslcore.training.loop import Point
from sslcore.training.memory import model_in_memory
from sslcore.training.probing import Probe, Probing, summary
from sslcore.training.range_test import found_rate
from sslcore.training.run import Consumers, OnMetrics, ignore, run
from sslcore.training.utilisation import utilisation

if TYPE_CHECKING:
    from sslcore.models.encoder import Encoder
    from sslcore.objectives.registry import AnyObjective
    from sslcore.tokenization.encoding import EncodedCorpus
    from sslcore.training.precision import Precision


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
    consumers = Consumers(progress, on_metrics, Checkpoints(checkpoints), stop_on_collapse)
    return _pretrain(objective, corpus, seed, device, workers, continuing, probe, consumers).encoder


class _Pretrained(NamedTuple):
    encoder: "Encoder"
    curve: list[Point]
    waited: float  # seconds for batches, in the attempt that ended
    probing: float  # seconds for probes, in the same
    flops_per_token: float | None  # where they are counted
    devices: int


def _pretrain(
    objective: "AnyObjective",
    corpus: "EncodedCorpus | Iterable[list[str]]",
    seed: int,
    device: str,
    workers: int | None,
    continuing: "Encoder | None",
    probing: Probing | None,
    consumers: Consumers,
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
    probe: Probe | None = None
    if probing is not None:
        threads = 1 if getattr(objective, "deterministic", False) else workers
        probe = Probe(probing, corpus, seed=seed, threads=threads)
        corpus, consumers = probe.hidden(corpus), consumers._replace(measure=probe)
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

    found = checkpoints.read()
    if continuing is not None and not objective.vocabulary_grows and found is None:
        check_taken_up(kind, beginning, lambda: beginning(None), batches, consumers.progress)
    if getattr(objective, "learning_rate", None) == "find":
        rate = found.learning_rate if found else found_rate(beginning(), batches, consumers.progress)  # type: ignore[arg-type]
        objective = objective.model_copy(update={"learning_rate": rate})
        checkpoints.learning_rate = rate
    del found
    ended = run(beginning, batches, kind, consumers)
    return _Pretrained(
        ended.learner.finish(),
        ended.curve,
        ended.waited,
        probe.seconds if probe else 0.0,
        getattr(ended.learner, "flops_per_token", None),
        team.size if team else 1,
    )


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
    consumers = Consumers(progress, on_metrics, checkpoints, stop_on_collapse)
    pretrained = _pretrain(objective, corpus, seed, device, workers, continuing, probe, consumers)
    encoder, curve = pretrained.encoder, pretrained.curve
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
        "waiting_for_data": round(pretrained.waited / seconds, 4),
        "peak_memory_bytes": peak_memory(device),
        **_utilised(pretrained, last["tokens"] / seconds, device, getattr(objective, "precision", "float32")),
        **({**summary(curve), "probing_seconds": round(pretrained.probing, 3)} if probe else {}),
        **({"collapsed_at": collapse.step} if collapse else {}),
    }


def _utilised(pretrained: _Pretrained, speed: float, device: str, precision: "Precision") -> dict[str, float]:
    """The MFU of a run on a GPU whose peak is known, by its name in a summary."""
    import torch

    if pretrained.flops_per_token is None or not device.startswith("cuda"):
        return {}
    name = torch.cuda.get_device_name(device)
    found = utilisation(pretrained.flops_per_token, speed, name, precision, pretrained.devices)
    return {"model_flops_utilisation": round(found, 4)} if found is not None else {}


def write_curve(curve: list[tuple[int, Metrics]], path: Path) -> None:
    """A long table step, metric, value as parquet; `done` is left out, it says nothing that step does not."""
    rows = [
        {"step": step, "metric": name, "value": value}
        for step, metrics in curve
        for name, value in metrics.items()
        if name != "done"
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=CURVE), path)
