"""Text → class: a linear head on the text's vector, brought to unit scale.

Mean-pooled word vectors have a common offset and uneven scales, which makes one learning rate wrong for the head; so
the features are standardised by the mean and spread that the untouched encoder gives on the training rows. Both are
buffers: they are saved with the weights and never learn.

n texts, B in a batch, D dimensions of the encoder, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from sslcore.errors import UserError
from sslcore.finetuning.encoded import EncodedTexts, outputs, tensors
from sslcore.finetuning.scores import cross_entropy, macro_f1
from sslcore.finetuning.shapes.seam import DownstreamNetwork

if TYPE_CHECKING:
    import pyarrow as pa

    from sslcore.models.encoder import Encoder

# A freshly initialised network may give features a hundredth as wide as a pretrained one. Blown up to unit scale, one
# update would throw them about by tens of spreads: skip-gram's network from scratch then reached 0.54 macro-F1 with 32
# labels per class of the documentation corpus, where it reaches 0.62 with this floor.
SMALLEST_SPREAD = 0.05
UNKNOWN = -1  # the class of a text whose label is not known


NO_LABELS = (
    "no labelled rows to train on. Name the column that holds the classes (--label COLUMN), or leave fine-tuning out: "
    "pretraining and its word benchmarks need no labels."
)


@dataclass(frozen=True)
class LabelledTexts:
    """Texts with class numbers int64 [n]."""

    encoded: EncodedTexts
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def texts(self) -> tuple[EncodedTexts]:
        return (self.encoded,)

    def with_texts(self, texts: tuple[EncodedTexts, ...]) -> "LabelledTexts":
        return replace(self, encoded=texts[0])

    def take(self, rows: np.ndarray) -> "LabelledTexts":
        return LabelledTexts(self.encoded.take(rows), self.classes[rows])


class ClassifierNetwork(DownstreamNetwork):
    """logits_BC = head((encoder(texts)_BD − feature_mean) / feature_spread)."""

    feature_mean: torch.Tensor
    feature_spread: torch.Tensor

    def __init__(self, encoder: nn.Module, dimensions: int, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("feature_mean", torch.zeros(dimensions))
        self.register_buffer("feature_spread", torch.ones(dimensions))
        self.head = nn.utils.skip_init(nn.Linear, dimensions, classes)  # the usual start draws from a global generator
        nn.init.zeros_(self.head.weight)  # every class starts equally likely, whatever the seed
        nn.init.zeros_(self.head.bias)

    def prepare(self, examples: LabelledTexts) -> None:
        features_nD = torch.from_numpy(outputs(self.encoder, examples.encoded))
        self.feature_mean.copy_(features_nD.mean(dim=0))
        self.feature_spread.copy_(features_nD.std(dim=0, correction=0).clamp_min(SMALLEST_SPREAD))

    def features(self, examples: LabelledTexts) -> torch.Tensor:
        """[B, D]: the vectors, standardised."""
        vectors_BD = self.encoder(*tensors(examples.encoded, self.feature_mean.device))
        return (vectors_BD - self.feature_mean) / self.feature_spread

    def decided(self, features_BD: torch.Tensor, examples: LabelledTexts) -> torch.Tensor:
        """Logits [B, C]."""
        return self.head(features_BD)

    def loss(self, logits_BC: torch.Tensor, examples: LabelledTexts) -> torch.Tensor:
        classes_B = torch.from_numpy(examples.classes).to(logits_BC.device)
        return nn.functional.cross_entropy(logits_BC, classes_B)


class Classification(BaseModel):
    """Each text has one of some classes."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Text → class")

    kind: Literal["class"] = "class"

    columns: ClassVar[tuple[str, ...]] = ("text",)
    target: ClassVar[str] = "label"
    chosen_by: ClassVar[tuple[str, ...]] = ("macro_f1", "-loss")

    def labels_of(self, rows: "pa.Table") -> tuple[str, ...]:
        return tuple(sorted(set(rows["label"].to_pylist())))

    def examples(
        self, rows: "pa.Table", encoder: "Encoder", labels: Sequence[str], *, maximum_tokens: int
    ) -> LabelledTexts:
        encoded = EncodedTexts.of(
            rows["text"].to_pylist(), encoder.tokenizer, encoder.network, maximum_tokens=maximum_tokens
        )
        places: dict[str | None, int] = {label: place for place, label in enumerate(labels)}
        known = rows["label"].to_pylist() if "label" in rows.column_names else [None] * len(rows)
        return LabelledTexts(encoded, np.array([places.get(label, UNKNOWN) for label in known], np.int64))

    def check(self, train: LabelledTexts, labels: Sequence[str]) -> None:
        check_classes(train.classes, labels)

    def network(self, encoder: "Encoder", labels: Sequence[str]) -> ClassifierNetwork:
        return ClassifierNetwork(encoder.network, encoder.dimensions, len(labels))

    def metrics(self, logits_nC: np.ndarray, examples: LabelledTexts, labels: Sequence[str]) -> dict[str, float]:
        return {
            "macro_f1": macro_f1(examples.classes, logits_nC.argmax(axis=1)),
            "loss": cross_entropy(examples.classes, logits_nC),
        }

    def predictions(
        self, logits_nC: np.ndarray, examples: LabelledTexts, labels: Sequence[str]
    ) -> dict[str, list[Any]]:
        probabilities_nC = softmax(logits_nC)
        return {
            "label": [labels[place] for place in probabilities_nC.argmax(axis=1)],
            "probability": probabilities_nC.max(axis=1).tolist(),
            **{f"probability of {label}": probabilities_nC[:, place].tolist() for place, label in enumerate(labels)},
        }


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
