"""Text → class: an encoder and a linear head trained together, with early stopping on labelled validation rows.

AdamW (Loshchilov & Hutter 2019) with a linear schedule and warm-up, gradients clipped by norm, the best validated
weights kept. The encoder and the head have rates of their own: the encoder only has to be nudged, the head starts at
zero. On two cores one step of 512 texts costs about 15 ms, most of it the gradient of the embedding table.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from sslcore.errors import UserError
from sslcore.finetuning.encoded import EncodedTexts
from sslcore.finetuning.freezing import Freezing
from sslcore.progress import Progress, silent

if TYPE_CHECKING:
    from sslcore.corpus.shards import Corpus
    from sslcore.finetuning.model import FineTunedModel
    from sslcore.models.encoder import Encoder

OnMetrics = Callable[[int, dict[str, float]], None]

WORDS_RATE = 1e-2

NO_LABELS = (
    "no labelled rows to train on. Name the column that holds the classes (--label COLUMN), or leave fine-tuning out: "
    "pretraining and its word benchmarks need no labels."
)


class FineTuning(BaseModel):
    """How a classifier is trained on top of an encoder."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Fine-tuning")

    freezing: Freezing = Field(
        "none", description="What stays as pretrained: none, the token embeddings, or the whole encoder (linear probe)."
    )
    epochs: int = Field(3, ge=1, le=1000, description="Passes over the labelled rows, at most.")
    minimum_steps: int = Field(
        100, ge=1, description="Updates at least, whatever the number of rows: few labels need more passes."
    )
    batch_size: int = Field(512, ge=1, le=65536, description="Texts in an update, at most; fewer when rows are few.")
    learning_rate: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Peak rate of the encoder. Left out: 0.01 for vectors of words and bags; for a transformer by its "
        "width, 3e-4, from 512 1e-4, from 768 5e-5, and more for one with random weights.",
    )
    head_learning_rate: float = Field(1e-2, gt=0, le=1, description="Peak rate of the class head.")
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the updates over which the rates rise from zero.")
    weight_decay: float = Field(0.01, ge=0, le=1, description="Decoupled weight decay of the head.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Share of the text vector's features zeroed in training.")
    gradient_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this norm.")
    patience: int = Field(
        3, ge=1, description="Training stops after this many validations (of 12) without a better one."
    )
    maximum_tokens: int = Field(512, ge=1, description="Tokens of a text that are read; the rest is cut off.")

    def rate(self, network: Any, *, pretrained: bool = True) -> float:
        """Peak rate of an encoder's network."""
        if self.learning_rate is not None:
            return self.learning_rate
        if not hasattr(network, "finetuning_rate"):
            return WORDS_RATE
        return network.finetuning_rate if pretrained else network.rate_from_scratch

    def batch(self, rows: int) -> int:
        """Texts in an update: at least 32 updates a pass as long as the batch keeps 16 texts."""
        return min(self.batch_size, max(16, rows // 32), rows)

    def steps(self, rows: int) -> int:
        """Updates of a run that is not stopped early."""
        return max(self.epochs * -(-rows // self.batch(rows)), self.minimum_steps)


@dataclass(frozen=True)
class LabelledTexts:
    """Texts with class numbers int64 [n]."""

    texts: EncodedTexts
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.classes)


def fine_tune(
    encoder: "Encoder",
    train: LabelledTexts,
    validation: LabelledTexts,
    config: FineTuning,
    *,
    labels: Sequence[str],
    seed: int,
    device: str = "cpu",
    progress: Progress = silent,
    on_metrics: OnMetrics | None = None,
) -> "FineTunedModel":
    """A classifier of `labels` (its classes number them) trained on `train`; `encoder` itself is left as it was.

    Without validation rows the last weights are kept. The same seed gives the same weights on one device and one
    number of threads. Raises UserError when there is nothing to learn: no rows, or fewer than two classes among them.
    """
    from sslcore.finetuning.model import FORMAT, FineTunedModel, ModelDescription
    from sslcore.finetuning.training import train_network

    check_learnable(train.classes, labels)
    started = time.perf_counter()
    network, run = train_network(
        encoder,
        train,
        validation,
        config,
        classes=len(labels),
        seed=seed,
        device=device,
        progress=progress,
        on_metrics=on_metrics,
    )
    description = ModelDescription(
        format=FORMAT,
        labels=tuple(labels),
        objective=encoder.objective,
        config=config,
        seed=seed,
        training=run.summary(seconds=time.perf_counter() - started),
    )
    return FineTunedModel(encoder.tokenizer, network, description, run.curve)


def check_learnable(classes: np.ndarray, labels: Sequence[str]) -> None:
    """Raise UserError unless at least two classes have a row."""
    found = np.unique(classes)
    if not len(found):
        raise UserError(NO_LABELS)
    if len(found) == 1:
        raise UserError(
            f"every labelled row has the same class, {labels[int(found[0])]!r} ({len(classes):,} rows); a classifier "
            "needs at least two. Check that --label names the right column."
        )


def write_finetuned_model(
    config: FineTuning,
    encoder: "Encoder",
    corpus: "Corpus",
    folder: Path,
    *,
    seed: int,
    device: str = "cpu",
    progress: Progress = silent,
    on_metrics: OnMetrics | None = None,
) -> dict[str, Any]:
    """Train on the labelled train rows, stop on the labelled validation rows, save into `folder` (empty, exists).

    Returns what the run reports: labels, rows, parameters trainable and total by block, steps, seconds, and the
    validation scores. The test split is not opened. Raises UserError for a corpus without labels or with one class.
    """
    from sslcore.finetuning.rows import labelled_rows

    progress(0.0, "reading labelled rows")
    if not corpus.labelled:
        raise UserError(NO_LABELS)
    rows = labelled_rows(corpus, "train", corpus.labels)
    check_learnable(rows.classes, corpus.labels)
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
        encoder,
        train,
        validation,
        config,
        labels=corpus.labels,
        seed=seed,
        device=device,
        progress=lambda fraction, message: progress(0.1 + 0.85 * fraction, message),
        on_metrics=on_metrics,
    )
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
