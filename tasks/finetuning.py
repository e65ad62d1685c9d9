"""Encoder and labelled rows → the model that is registered, and how it does on the test rows."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from sslcore.artifacts import Ref
from sslcore.evaluation.details import details_figures
from sslcore.evaluation.figures import curve_figures
from sslcore.finetuning.config import FineTuning
from sslcore.finetuning.freeze_report import freeze_study_figures
from sslcore.finetuning.shapes.classification import Classification
from sslcore.finetuning.shapes.registry import AnyShape
from sslcore.progress import Progress
from tasks import runtime
from tasks.runtime import OnMetrics

if TYPE_CHECKING:
    from sslcore.finetuning.rows import Rows

VERSION = 5  # 5: the features' scale is that of 1,024 rows; dropout is drawn otherwise on a CPU
SCORING_VERSION = 2
STUDY_VERSION = 4


@task(name="fine-tune", cache_policy=NO_CACHE)
def fine_tune(
    config: FineTuning,
    rows: Ref,
    encoder: Ref,
    seed: int,
    shape: AnyShape = Classification(),
    outliers: Ref | None = None,
) -> Ref:
    """Train the model with every label of the corpus or labelled set; `outliers` are a corpus of what it is not."""

    def write(folder: Path, progress: Progress, on_metrics: OnMetrics) -> Mapping[str, Any]:
        from sslcore.finetuning import write_finetuned_model
        from sslcore.models.encoder import Encoder

        with runtime.device() as device:
            return write_finetuned_model(
                shape,
                config,
                Encoder.load(runtime.current().store.path(encoder)),
                opened(rows),
                folder,
                seed=seed,
                device=device,
                progress=progress,
                on_metrics=on_metrics,
                outliers=texts_of(outliers),
            )

    return runtime.build(
        "fine-tune",
        "finetuned_model",
        VERSION,
        {**config.model_dump(mode="json"), "shape": shape.model_dump(mode="json"), "seed": seed},
        {rows.kind: rows, "encoder": encoder, **({"outliers": outliers} if outliers else {})},
        write,
        figures=curve_figures,
    )


@task(name="score", cache_policy=NO_CACHE)
def score(model: Ref, rows: Ref) -> Ref:
    """The model's metrics and answers on the test rows."""

    def write(folder: Path, progress: Progress, _: OnMetrics) -> Mapping[str, Any]:
        from sslcore.evaluation.scoring import write_scores
        from sslcore.finetuning.model import FineTunedModel

        loaded = FineTunedModel.load(runtime.current().store.path(model))
        return write_scores(loaded, opened(rows), folder, progress=progress)

    inputs = {"model": model, rows.kind: rows}
    return runtime.build("score", "scores", SCORING_VERSION, {}, inputs, write, figures=details_figures)


@task(name="freeze study", cache_policy=NO_CACHE)
def freeze_study(
    config: FineTuning, rows: Ref, encoder: Ref, seeds: tuple[int, ...], minimum_effect: float, shape: AnyShape
) -> Ref:
    """Every freeze depth on the same rows and seeds, beside full tuning."""

    def write(folder: Path, progress: Progress, _: OnMetrics) -> Mapping[str, Any]:
        from sslcore.finetuning.freeze_report import write_freeze_study
        from sslcore.models.encoder import Encoder

        with runtime.device() as device:
            return write_freeze_study(
                shape,
                config,
                Encoder.load(runtime.current().store.path(encoder)),
                opened(rows),
                folder,
                seeds=seeds,
                minimum_effect=minimum_effect,
                device=device,
                progress=progress,
            )

    spec = {"shape": shape.model_dump(mode="json"), "seeds": list(seeds), "minimum_effect": minimum_effect}
    return runtime.build(
        "freeze study",
        "freeze_study",
        STUDY_VERSION,
        {**config.model_dump(mode="json"), **spec},
        {rows.kind: rows, "encoder": encoder},
        write,
        figures=freeze_study_figures,
    )


def texts_of(corpus: Ref | None) -> list[str]:
    """The training texts of a corpus; none of none."""
    if corpus is None:
        return []
    from sslcore.corpus.shards import Corpus

    return list(Corpus.open(runtime.current().store.path(corpus)).texts("train"))


def opened(rows: Ref) -> "Rows":
    """The labelled rows of a corpus or a labelled set."""
    folder = runtime.current().store.path(rows)
    if rows.kind == "corpus":
        from sslcore.corpus.shards import Corpus
        from sslcore.finetuning.rows import CorpusRows

        return CorpusRows(Corpus.open(folder))
    from sslcore.finetuning.labelled_set import LabelledSet

    return LabelledSet(folder)
