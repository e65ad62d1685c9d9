"""Encoders and labels → what the pretraining brought. The test split is first opened here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from sslcore.artifacts import Ref
from sslcore.evaluation.config import Evaluation
from sslcore.evaluation.figures import report_figures
from sslcore.progress import Progress
from tasks import runtime
from tasks.runtime import OnMetrics

VERSION = 5  # 5: as fine-tuning's


@task(name="evaluate", cache_policy=NO_CACHE)
def evaluate(config: Evaluation, corpus: Ref, encoders: Mapping[str, Ref], seed: int) -> Ref:
    """Measure the encoders, by name, against the baselines on the same rows."""

    def write(folder: Path, progress: Progress, _: OnMetrics) -> Mapping[str, Any]:
        from sslcore.corpus.shards import Corpus
        from sslcore.evaluation import write_evaluation_report
        from sslcore.models.encoder import Encoder
        from sslcore.training.probing import read_probes

        here = runtime.current()
        seconds = {name: here.store.manifest(ref).summary["seconds"] for name, ref in encoders.items()}
        with runtime.device() as device:
            return write_evaluation_report(
                config,
                Corpus.open(here.store.path(corpus)),
                {name: Encoder.load(here.store.path(ref)) for name, ref in encoders.items()},
                folder,
                pretraining_seconds=seconds,
                probes={name: read_probes(here.store.path(ref)) for name, ref in encoders.items()},
                seed=seed,
                device=device,
                workers=here.workers,
                progress=progress,
            )

    asked = {**config.model_dump(mode="json"), "seed": seed}
    inputs = {"corpus": corpus, **encoders}
    return runtime.build("evaluate", "evaluation_report", VERSION, asked, inputs, write, figures=report_figures)
