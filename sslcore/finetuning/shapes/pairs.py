"""Text pair → class or score: by a cross-encoder, or by a bi-encoder.

A cross-encoder reads both texts in one sequence: the better of the two where there are labels, but every pair costs a
pass. A bi-encoder gives each text a vector, whatever the other is, so those of a million texts can be kept and
compared; it also works on word vectors. For scores it takes the cosine of the two, not their product features: a frozen
encoder then already ranks pairs as it was pretrained to (a linear head starts from nothing, with four numbers for each
dimension to learn), and what is served is the comparison that search and clustering use.

n pairs, C classes.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from sslcore.errors import UserError
from sslcore.finetuning.encoded import EncodedTexts
from sslcore.finetuning.losses import ClassLoss, ClassLosses, Criterion, ScoreLoss
from sslcore.finetuning.scores import f1_of, pearson, spearman
from sslcore.finetuning.shapes.classification import (
    NO_LABELS,
    check_classes,
    class_metrics,
    class_numbers,
    class_predictions,
    known_targets,
)
from sslcore.finetuning.shapes.pair_networks import BiEncoder, CosineBiEncoder, CrossEncoder, TextPairs, cut_together
from sslcore.finetuning.shapes.seam import DownstreamNetwork

if TYPE_CHECKING:
    import pyarrow as pa

    from sslcore.models.encoder import Encoder


class Pairs(ClassLosses):
    """Two texts have one of some classes, or a score."""

    model_config = ConfigDict(title="Text pair → class or score")

    kind: Literal["pair"] = "pair"
    says: Literal["class", "score"] = Field("class", description="class: column label. score: column score, a number.")
    architecture: Literal["cross_encoder", "bi_encoder"] = Field(
        "cross_encoder",
        description="cross_encoder: both texts in one sequence, for transformers. bi_encoder: a vector for each text, "
        "for any encoder.",
    )

    columns: ClassVar[tuple[str, ...]] = ("text", "text_b")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.says == "score" and not self.plain:
            raise ValueError(
                "scores are learnt by their squared error: label_smoothing, class_weights and focal_gamma are of "
                "classes, leave them out"
            )
        return self

    @property
    def target(self) -> str:
        return "label" if self.says == "class" else "score"

    @property
    def chosen_by(self) -> tuple[str, ...]:
        return ("macro_f1" if self.says == "class" else "spearman", "-loss")

    def labels_of(self, rows: "pa.Table") -> tuple[str, ...]:
        """The classes; none for scores."""
        found = known_targets(rows, self.target)
        if not found:
            raise UserError(NO_LABELS if self.says == "class" else "no scored rows to train on")
        return tuple(sorted(set(found))) if self.says == "class" else ()

    def examples(
        self, rows: "pa.Table", encoder: "Encoder", labels: Sequence[str], *, maximum_tokens: int
    ) -> TextPairs:
        """`maximum_tokens` are of both texts together, cut to fit, for a cross-encoder; of each for a bi-encoder."""
        together = self.architecture == "cross_encoder"
        if together:
            maximum_tokens = min(maximum_tokens, room_for_two(encoder))
        first, second = (
            EncodedTexts.of(rows[column].to_pylist(), encoder.tokenizer, encoder.network, maximum_tokens=maximum_tokens)
            for column in self.columns
        )
        if together:
            first, second = cut_together(first, second, maximum_tokens)
        return TextPairs(first, second, class_numbers(rows, labels) if self.says == "class" else scores_of(rows))

    def check(self, train: TextPairs, labels: Sequence[str]) -> None:
        if self.says == "class":
            check_classes(train.targets, labels)
        elif not len(train) or np.ptp(train.targets) == 0:
            raise UserError(
                f"all {len(train):,} scored rows have the same score; a model needs different ones. Check the column"
                if len(train)
                else "no scored rows to train on"
            )

    def network(self, encoder: "Encoder", labels: Sequence[str]) -> DownstreamNetwork:
        if self.says == "score" and self.architecture == "bi_encoder":
            return CosineBiEncoder(encoder.network)
        criterion: Criterion = ScoreLoss(encoder.dimensions)
        if self.says == "class":
            criterion = ClassLoss(self, len(labels))
        if self.architecture == "bi_encoder":
            return BiEncoder(encoder.network, encoder.dimensions, len(labels), criterion)
        room_for_two(encoder)
        return CrossEncoder(encoder.network, encoder.dimensions, max(1, len(labels)), criterion)

    def metrics(self, outputs: np.ndarray, examples: TextPairs, labels: Sequence[str]) -> dict[str, float]:
        """Of scores spearman, pearson and the mean squared error in the scores' unit; of classes as of single texts.

        With two classes also f1, of the one whose name sorts last: "1" of "0" and "1", "yes" of "no" and "yes".
        """
        if self.says == "class":
            said = class_metrics(examples.targets, outputs)
            positive = {"f1": f1_of(1, examples.targets, outputs.argmax(axis=1))} if len(labels) == 2 else {}
            return {**said, **positive}
        truth, predicted = examples.targets.astype(float), outputs.reshape(-1).astype(float)
        return {
            "spearman": spearman(truth, predicted),
            "pearson": pearson(truth, predicted),
            "loss": float(np.mean((truth - predicted) ** 2)),
        }

    def predictions(self, outputs: np.ndarray, examples: TextPairs, labels: Sequence[str]) -> dict[str, list[Any]]:
        if self.says == "class":
            return class_predictions(outputs, labels)
        return {"score": outputs.reshape(-1).tolist()}


def room_for_two(encoder: "Encoder") -> int:
    """Tokens of two texts that fit into one sequence. Raises UserError for an encoder that reads no sequences."""
    network = encoder.network
    if not hasattr(network, "framed_pairs"):
        raise UserError(
            f"a cross_encoder reads both texts in one sequence, as transformers do; an encoder of kind "
            f"{encoder.objective['kind']} does not. Choose architecture bi_encoder, or a transformer"
        )
    return network.maximum_tokens - network.pair_frame


def scores_of(rows: "pa.Table") -> np.ndarray:
    """float32 [n]; not-a-number where there is no such column. Raises UserError that names rows whose score is none."""
    if "score" not in rows.column_names:
        return np.full(len(rows), np.nan, np.float32)
    values = known_targets(rows, "score")
    wrong = [number for number, value in enumerate(values, start=1) if isinstance(value, str) or not np.isfinite(value)]
    if wrong:
        raise UserError(
            f"{len(wrong):,} of {len(values):,} rows have a score that is no number: row {wrong[0]} says "
            f"{values[wrong[0] - 1]!r}; give numbers"
        )
    return np.array(values, np.float32)
