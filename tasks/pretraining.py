"""Encoded corpus → encoder, by one self-supervised objective."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from sslcore.artifacts import Ref
from sslcore.objectives.registry import Objective
from tasks import runtime

VERSION = 1


@task(name="pretrain", cache_policy=NO_CACHE)
def pretrain(objective: Objective, encoded: Ref, seed: int) -> Ref:
    from sslcore.evaluation.figures import curve_figure
    from sslcore.tokenization import EncodedCorpus
    from sslcore.training.pretraining import write_encoder

    here = runtime.current()
    corpus = EncodedCorpus.open(here.store.path(encoded))
    return runtime.build(
        f"pretrain {objective.kind}",
        "encoder",
        VERSION,
        {**objective.model_dump(mode="json"), "seed": seed},
        {"encoded_corpus": encoded},
        lambda folder, progress, on_metrics: write_encoder(
            objective,
            corpus,
            folder,
            seed=seed,
            device=here.device,
            workers=here.workers,
            progress=progress,
            on_metrics=on_metrics,
        ),
        figures=lambda folder: {"pretraining_curve.png": curve_figure(folder)},
    )
