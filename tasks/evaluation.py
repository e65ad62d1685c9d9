"""Encoders and labels → what the pretraining brought. The test split is first opened here."""

from collections.abc import Mapping

from prefect import task
from prefect.cache_policies import NO_CACHE

from sslcore.artifacts import Ref
from sslcore.evaluation.config import Evaluation
from tasks import runtime

VERSION = 1


@task(name="evaluate", cache_policy=NO_CACHE)
def evaluate(config: Evaluation, corpus: Ref, encoders: Mapping[str, Ref], seed: int) -> Ref:
    """Measure the encoders, by name, against the baselines on the same rows."""
    from sslcore.corpus.shards import Corpus
    from sslcore.evaluation import write_evaluation_report
    from sslcore.evaluation.figures import report_figures
    from sslcore.models.encoder import Encoder

    here = runtime.current()
    return runtime.build(
        "evaluate",
        "evaluation_report",
        VERSION,
        {**config.model_dump(mode="json"), "seed": seed},
        {"corpus": corpus, **encoders},
        lambda folder, progress, _: write_evaluation_report(
            config,
            Corpus.open(here.store.path(corpus)),
            {name: Encoder.load(here.store.path(ref)) for name, ref in encoders.items()},
            folder,
            pretraining_seconds={name: here.store.manifest(ref).seconds for name, ref in encoders.items()},
            seed=seed,
            device=here.device,
            workers=here.workers,
            progress=progress,
        ),
        figures=report_figures,
    )
