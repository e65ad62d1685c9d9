"""Encoded corpus → encoder, by one self-supervised objective."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from sslcore.artifacts import Ref
from sslcore.evaluation.figures import curve_figures
from sslcore.objectives.registry import Objective
from sslcore.progress import Progress
from sslcore.training.probing import Probing
from tasks import runtime
from tasks.runtime import OnMetrics

VERSION = 9  # 9: dropout of transformers is drawn otherwise on a CPU
HOW = {"parts", "chunk"}  # a step is computed in: as `workers` no part of what is asked for, so that a run that was out
# of memory goes on from its checkpoint with more of them


@task(name="pretrain", task_run_name="pretrain {objective.kind}", cache_policy=NO_CACHE)
def pretrain(
    objective: Objective,
    encoded: Ref,
    seed: int,
    continuing: Ref | None = None,
    *,
    probe: Probing | None = None,
    stop_on_collapse: bool = False,
) -> Ref:
    """Train an encoder, its metrics in MLflow as they come; from where another one ended, if that is given.

    A `probe` is part of what is asked for; `stop_on_collapse` is not: it only decides whether there is an encoder.
    """

    def write(folder: Path, progress: Progress, on_metrics: OnMetrics) -> Mapping[str, Any]:
        from sslcore.models.encoder import Encoder
        from sslcore.tokenization import EncodedCorpus
        from sslcore.training.pretraining import write_encoder

        here = runtime.current()
        with runtime.device() as device:
            return write_encoder(
                objective,
                EncodedCorpus.open(here.store.path(encoded)),
                folder,
                seed=seed,
                device=device,
                workers=here.workers,
                progress=progress,
                on_metrics=on_metrics,
                continuing=Encoder.load(here.store.path(continuing)) if continuing else None,
                probe=probe,
                stop_on_collapse=stop_on_collapse,
            )

    asked = {**objective.model_dump(mode="json", exclude=HOW), "seed": seed}
    return runtime.build(
        f"pretrain {objective.kind}",
        "encoder",
        VERSION,
        {**asked, "probe": probe.model_dump(mode="json")} if probe else asked,
        {"encoded_corpus": encoded, "continuing": continuing} if continuing else {"encoded_corpus": encoded},
        write,
        figures=curve_figures,
    )
