"""From an encoder and labelled rows to a fine-tuned model, and from there to the files of an artefact."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sslcore.artifacts import CHECKPOINT
from sslcore.errors import UserError
from sslcore.finetuning.config import FineTuning
from sslcore.finetuning.encoded import EncodedTexts
from sslcore.progress import Progress, silent
from sslcore.training.run import OnMetrics, ignore

if TYPE_CHECKING:
    from sslcore.corpus.shards import Corpus
    from sslcore.finetuning.model import FineTunedModel
    from sslcore.finetuning.shapes.registry import AnyShape
    from sslcore.models.encoder import Encoder


def fine_tune(
    shape: "AnyShape",
    encoder: "Encoder",
    train: Any,
    validation: Any,
    config: FineTuning,
    *,
    labels: Sequence[str],
    seed: int,
    device: str = "cpu",
    progress: Progress = silent,
    on_metrics: OnMetrics = ignore,
    checkpoints: Path | None = None,
) -> "FineTunedModel":
    """A model of the shape's examples, whose targets number `labels`; `encoder` itself is left as it was.

    Without validation rows the last weights are kept. A folder for `checkpoints` keeps the state of the run: the same
    call goes on from there after a kill. The same seed gives the same weights on one device and one number of threads.
    Raises UserError when there is nothing to learn: no rows, or fewer than two classes among them.
    """
    from sslcore.finetuning.model import FORMAT, FineTunedModel, ModelDescription
    from sslcore.finetuning.training import train_network

    shape.check(train, labels)
    network, summary, curve = train_network(
        shape,
        encoder,
        train,
        validation,
        config,
        labels=labels,
        seed=seed,
        device=device,
        progress=progress,
        on_metrics=on_metrics,
        checkpoints=checkpoints,
    )
    description = ModelDescription(
        format=FORMAT,
        shape=shape,
        labels=tuple(labels),
        objective=encoder.objective,
        config=config,
        seed=seed,
        training=summary,
    )
    points = [(step, name, value) for step, metrics in curve for name, value in metrics.items() if name != "done"]
    return FineTunedModel(encoder.tokenizer, network, description, points)


def write_finetuned_model(
    config: FineTuning,
    encoder: "Encoder",
    corpus: "Corpus",
    folder: Path,
    *,
    seed: int,
    device: str = "cpu",
    progress: Progress = silent,
    on_metrics: OnMetrics = ignore,
) -> dict[str, Any]:
    """Train on the labelled train rows, stop on the labelled validation rows, save into `folder` (empty, exists).

    Returns what the run reports: labels, rows, parameters trainable and total by block, steps, seconds, and the
    validation scores. The test split is not opened. Raises UserError for a corpus without labels or with one class.
    """
    from sslcore.finetuning.rows import labelled_rows
    from sslcore.finetuning.shapes.classification import NO_LABELS, Classification, LabelledTexts, check_classes

    progress(0.0, "reading labelled rows")
    if not corpus.labelled:
        raise UserError(NO_LABELS)
    rows = labelled_rows(corpus, "train", corpus.labels)
    check_classes(rows.classes, corpus.labels)
    held_out = labelled_rows(corpus, "validation", corpus.labels)
    progress(0.05, "tokenising")
    train, validation = (
        LabelledTexts(
            EncodedTexts.of(part.texts, encoder.tokenizer, encoder.network, maximum_tokens=config.maximum_tokens),
            part.classes,
        )
        for part in (rows, held_out)
    )
    model = fine_tune(
        Classification(),
        encoder,
        train,
        validation,
        config,
        labels=corpus.labels,
        seed=seed,
        device=device,
        progress=lambda fraction, message: progress(0.1 + 0.85 * fraction, message),
        on_metrics=on_metrics,
        checkpoints=folder / CHECKPOINT,
    )
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
    model.save(folder)
    progress(1.0, f"{len(rows):,} labelled rows, {model.training.steps:,} updates")
    return {
        "labels": list(model.labels),
        "train_rows": len(train),
        "validation_rows": len(validation),
        "unlabelled_rows": rows.unlabelled,
        "validation_rows_with_unknown_label": held_out.unknown,
        "freezing": config.freezing,
        "examples": [text[:300] for text in (held_out.texts or rows.texts)[:3]],
        **model.training.model_dump(mode="json"),
    }
