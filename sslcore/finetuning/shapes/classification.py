"""Text → class, or → the labels that apply: a linear head on the text's vector, brought to unit scale.

n texts, B in a batch, D dimensions of the encoder, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import ConfigDict, Field, model_validator
from torch import nn

from sslcore.errors import UserError
from sslcore.finetuning.encoded import EncodedTexts, tensors
from sslcore.finetuning.energy import EnergyMargins
from sslcore.finetuning.losses import ClassLoss, ClassLosses, Criterion, LabelsLoss
from sslcore.finetuning.novelty import free_energy
from sslcore.finetuning.scores import (
    accuracy,
    binary_cross_entropy,
    cross_entropy,
    macro_f1,
    macro_f1_of_labels,
    matthews,
    micro_f1_of_labels,
)
from sslcore.finetuning.shapes.linear_head import LinearHead
from sslcore.finetuning.shapes.seam import PaddedStates

if TYPE_CHECKING:
    import pyarrow as pa

    from sslcore.models.encoder import Encoder

UNKNOWN = -1  # the class of a text whose label is not known

NO_LABELS = (
    "no labelled rows to train on. Name the column that holds the classes (--label COLUMN; in finetune --column "
    "label=COLUMN), or leave fine-tuning out: pretraining and its word benchmarks need no labels."
)


@dataclass(frozen=True)
class LabelledTexts:
    """Texts with class numbers int64 [n], or with bool [n, C] where each may have several labels."""

    encoded: EncodedTexts
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def targets(self) -> np.ndarray:
        return self.classes

    @property
    def texts(self) -> tuple[EncodedTexts]:
        return (self.encoded,)

    def with_texts(self, texts: tuple[EncodedTexts, ...]) -> "LabelledTexts":
        return replace(self, encoded=texts[0])

    def take(self, rows: np.ndarray) -> "LabelledTexts":
        return LabelledTexts(self.encoded.take(rows), self.classes[rows])


class ClassifierNetwork(LinearHead):
    """logits_BC = head((encoder(texts)_BD − feature_mean) / feature_spread)."""

    reads = "text"

    def __init__(self, encoder: nn.Module, dimensions: int, classes: int, criterion: Criterion | None = None) -> None:
        super().__init__(encoder, dimensions, classes, criterion or ClassLoss(ClassLosses(), classes))

    def prepare(self, examples: LabelledTexts) -> None:
        elsewhere = examples.classes.ndim == 1 and (examples.classes == UNKNOWN).any()
        super().prepare(examples.take(np.flatnonzero(examples.classes != UNKNOWN)) if elsewhere else examples)

    def vectors(self, examples: LabelledTexts) -> torch.Tensor:
        return self.encoder(*tensors(examples.encoded, self.feature_mean.device))

    def padded_vectors(self, *read: PaddedStates) -> torch.Tensor:
        (texts,) = read
        return texts.vectors


class Classification(ClassLosses):
    """Each text has one of some classes, or any number of labels."""

    model_config = ConfigDict(title="Text → class")

    kind: Literal["class"] = "class"
    multi_label: bool = Field(
        False, description="A text has a list of labels, maybe none; each is said of it if its probability is 0.5."
    )
    metric: Literal["macro_f1", "mcc", "accuracy"] = Field(
        "macro_f1", description="What the best weights are chosen by on the validation rows; mcc is CoLA's."
    )
    energy_margins: EnergyMargins | None = Field(
        None,
        title="Energy margins",
        description="Free energies of the rows and of texts from elsewhere, which are to be given, kept apart.",
    )

    columns: ClassVar[tuple[str, ...]] = ("text",)
    target: ClassVar[str] = "label"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.multi_label and not (self.plain and self.metric == "macro_f1" and not self.energy_margins):
            raise ValueError(
                "with multi_label the loss is binary cross-entropy and the metric macro_f1: leave label_smoothing, "
                "class_weights, focal_gamma, energy_margins and metric out"
            )
        return self

    @property
    def chosen_by(self) -> tuple[str, ...]:
        return (self.metric, "-loss")

    def labels_of(self, rows: "pa.Table") -> tuple[str, ...]:
        found = known_targets(rows, "label")
        labels = tuple(sorted({label for several in found for label in several} if self.multi_label else set(found)))
        if not labels:
            raise UserError(NO_LABELS)
        return labels

    def examples(
        self, rows: "pa.Table", encoder: "Encoder", labels: Sequence[str], *, maximum_tokens: int
    ) -> LabelledTexts:
        encoded = EncodedTexts.of(
            rows["text"].to_pylist(), encoder.tokenizer, encoder.network, maximum_tokens=maximum_tokens
        )
        if self.multi_label:
            return LabelledTexts(encoded, label_sets(rows, labels))
        return LabelledTexts(encoded, class_numbers(rows, labels))

    def check(self, train: LabelledTexts, labels: Sequence[str]) -> None:
        if not self.multi_label:
            check_classes(train.classes, labels)
        elif not len(train) or train.classes.all() or not train.classes.any():
            raise UserError(NO_LABELS if not len(train) else "every row has the same labels: there is nothing to learn")

    def with_outliers(self, train: LabelledTexts, outliers: EncodedTexts | None) -> LabelledTexts:
        """The training rows and, after them, texts from elsewhere, which are of no class.

        Raises UserError when there are such texts without margins of energy, or margins without texts.
        """
        if self.energy_margins is None and outliers is None:
            return train
        if self.energy_margins is None or outliers is None or not len(outliers):
            raise UserError(
                "energy_margins and texts from elsewhere (outliers) go together: give both, or neither; "
                f"{'no texts' if self.energy_margins else 'no margins'} were given"
            )
        return LabelledTexts(
            train.encoded.followed_by(outliers),
            np.concatenate([train.classes, np.full(len(outliers), UNKNOWN, train.classes.dtype)]),
        )

    def network(self, encoder: "Encoder", labels: Sequence[str]) -> ClassifierNetwork:
        criterion = LabelsLoss() if self.multi_label else ClassLoss(self, len(labels), self.energy_margins)
        return ClassifierNetwork(encoder.network, encoder.dimensions, len(labels), criterion)

    def metrics(self, logits_nC: np.ndarray, examples: LabelledTexts, labels: Sequence[str]) -> dict[str, float]:
        """Of classes macro_f1, accuracy and mcc, of sets of labels macro_f1 and micro_f1; and the loss, in nats."""
        truth = examples.classes
        if self.multi_label:
            return {
                "macro_f1": macro_f1_of_labels(truth, logits_nC >= 0),
                "micro_f1": micro_f1_of_labels(truth, logits_nC >= 0),
                "loss": binary_cross_entropy(truth, logits_nC),
            }
        return class_metrics(truth, logits_nC)

    def predictions(
        self, logits_nC: np.ndarray, examples: LabelledTexts, labels: Sequence[str]
    ) -> dict[str, list[Any]]:
        if not self.multi_label:
            return class_predictions(logits_nC, labels)
        probabilities_nC = 0.5 * (1 + np.tanh(0.5 * logits_nC))  # the sigmoid, without overflow
        said = [[labels[place] for place in np.flatnonzero(row).tolist()] for row in logits_nC >= 0]
        return {"label": said, **by_label(probabilities_nC, labels)}


def class_metrics(classes: np.ndarray, logits_nC: np.ndarray) -> dict[str, float]:
    """What there is to say of logits and the true classes int64 [n]."""
    predicted = logits_nC.argmax(axis=1)
    return {
        "macro_f1": macro_f1(classes, predicted),
        "accuracy": accuracy(classes, predicted),
        "mcc": matthews(classes, predicted),
        "mean_log_sum_exp": float(-free_energy(logits_nC).mean()),  # a monitor: see energy.py
        "loss": cross_entropy(classes, logits_nC),
    }


def class_predictions(logits_nC: np.ndarray, labels: Sequence[str]) -> dict[str, list[Any]]:
    """The likeliest label of each row, its probability, and that of every label."""
    probabilities_nC = softmax(logits_nC)
    return {
        "label": [labels[place] for place in probabilities_nC.argmax(axis=1)],
        "probability": probabilities_nC.max(axis=1).tolist(),
        **by_label(probabilities_nC, labels),
    }


def by_label(probabilities_nC: np.ndarray, labels: Sequence[str]) -> dict[str, list[float]]:
    """A column for each label."""
    return {f"probability of {label}": probabilities_nC[:, place].tolist() for place, label in enumerate(labels)}


def known_targets(rows: "pa.Table", column: str) -> list[Any]:
    """The values of the column. Raises UserError that names the rows (from 1) without any."""
    values = rows[column].to_pylist()
    missing = [number for number, value in enumerate(values, start=1) if value is None]
    if missing:
        shown = ", ".join(map(str, missing[:5]))
        raise UserError(
            f"{len(missing):,} of {len(values):,} rows have no {column}: row {shown}{', …' * (len(missing) > 5)}; give "
            "them one, or leave them out"
        )
    return values


def class_numbers(rows: "pa.Table", labels: Sequence[str]) -> np.ndarray:
    """int64 [n]: each row's place in `labels`; UNKNOWN for any other, and where there is no such column."""
    places: dict[str | None, int] = {label: place for place, label in enumerate(labels)}
    known = rows["label"].to_pylist() if "label" in rows.column_names else [None] * len(rows)
    return np.array([places.get(label, UNKNOWN) for label in known], np.int64)


def label_sets(rows: "pa.Table", labels: Sequence[str]) -> np.ndarray:
    """bool [n, C]: which of `labels` each row has."""
    places = {label: place for place, label in enumerate(labels)}
    known = rows["label"].to_pylist() if "label" in rows.column_names else [None] * len(rows)
    has = np.zeros((len(rows), len(labels)), bool)
    for number, several in enumerate(known):
        has[number, [places[label] for label in several or () if label in places]] = True
    return has


def check_classes(classes: np.ndarray, labels: Sequence[str]) -> None:
    """Raise UserError unless at least two classes have a row."""
    found = np.unique(classes)
    if not len(found):
        raise UserError(NO_LABELS)
    if len(found) == 1:
        raise UserError(
            f"every labelled row has the same class, {labels[int(found[0])]!r} ({len(classes):,} rows); a classifier "
            "needs at least two. Check that --label names the right column."
        )


def softmax(logits_nC: np.ndarray) -> np.ndarray:
    """float32 [n, C], every row sums to 1."""
    odds = np.exp(logits_nC - logits_nC.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)
