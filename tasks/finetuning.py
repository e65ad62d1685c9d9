"""Encoder and labels → the classifier that is registered."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from sslcore.artifacts import Ref
from sslcore.evaluation.figures import curve_figures
from sslcore.finetuning.config import FineTuning
from sslcore.progress import Progress
from tasks import runtime
from tasks.runtime import OnMetrics

VERSION = 1


@task(name="fine-tune", cache_policy=NO_CACHE)
def fine_tune(config: FineTuning, corpus: Ref, encoder: Ref, seed: int) -> Ref:
    """Train the classifier with every label."""

    def write(folder: Path, progress: Progress, on_metrics: OnMetrics) -> Mapping[str, Any]:
        from sslcore.corpus.shards import Corpus
        from sslcore.finetuning import write_finetuned_model
        from sslcore.models.encoder import Encoder

        here = runtime.current()
        with runtime.device() as device:
            return write_finetuned_model(
                config,
                Encoder.load(here.store.path(encoder)),
                Corpus.open(here.store.path(corpus)),
                folder,
                seed=seed,
                device=device,
                progress=progress,
                on_metrics=on_metrics,
            )

    return runtime.build(
        "fine-tune",
        "finetuned_model",
        VERSION,
        {**config.model_dump(mode="json"), "seed": seed},
        {"corpus": corpus, "encoder": encoder},
        write,
        figures=curve_figures,
    )
