"""Self-supervised semi-supervised learning: learn a label where there is one, and a pretext task from every text.

Zhai, Oliver, Kolesnikov, Beyer 2019, "S4L: Self-Supervised Semi-Supervised Learning", equation 1: min L_l(D_l) + w
L_u(D_u). L_l is the cross-entropy of a linear classifier on a text's vector, −log p(label); L_u is the loss of a
pretext task, here any that can be a member of `combined`, and its weight is w, 1 in the paper. As there, the pretext
task learns from the labelled texts too, and a step has a batch of each. `epochs` are the passes of the pretext task
over all texts; the labelled ones go along, again and again if they are few. A text that is longer than
`maximum_tokens` says its label by its beginning. The classifier is let go of after the training.

Wants: a few labels for many texts: with labels for all, fine-tuning after a pretext task is simpler. Requires: texts of
two labels. Only those of the training split are encoded, so none of the test split's is seen.
Costs: its pretext task, and one pass of the encoder over the labelled texts of a step.
Relation: `combined` without labels; `masked_lm` and fine-tuning one after the other, where this is both at once.
"""

from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from sslcore.errors import UserError
from sslcore.models.framing import frame_pieces, places_of
from sslcore.objectives.combined import CombinedBatches
from sslcore.objectives.family import Family
from sslcore.objectives.members import AnyMember, OfTwoSides
from sslcore.objectives.text_views import TextOrder
from sslcore.objectives.transformer_objective import TransformerObjective
from sslcore.randomness import derive_seed

if TYPE_CHECKING:
    import torch

    from sslcore.models.encoder import Encoder
    from sslcore.tokenization.encoding import EncodedCorpus

SUPERVISED = "supervised"  # the classifier's part, beside the pretext task's kind


class LabelledBatch(NamedTuple):
    """B framed texts, one after another."""

    ids: np.ndarray  # int64 [M]
    offsets: np.ndarray  # int64 [B + 1]
    labels: np.ndarray  # int64 [B]
    tokens: int
    begin: float
    end: float

    @property
    def weight(self) -> int:
        """Texts."""
        return len(self.labels)

    def rows(self, chosen: np.ndarray) -> "LabelledBatch":
        places, offsets = places_of(self.offsets, chosen)
        return self._replace(ids=self.ids[places], offsets=offsets, labels=self.labels[chosen])

    def share(self, rank: int, size: int) -> "LabelledBatch":
        return self.rows(np.arange(rank, self.weight, size))

    def split(self, parts: int) -> "list[LabelledBatch]":
        return [self.rows(rows) for rows in np.array_split(np.arange(self.weight), parts) if len(rows)]


class S4L(TransformerObjective):
    """A transformer by labels where there are some, and by a pretext task everywhere (S4L)."""

    model_config = ConfigDict(title="Self-supervised semi-supervised learning (S4L)")

    family: ClassVar[Family] = "combination"
    learns_labels: ClassVar[bool] = True
    kind: Literal["s4l"] = "s4l"
    pretext: AnyMember = Field(
        default={"kind": "masked_lm"},
        validate_default=True,
        description="The task that every text gives, with its kind, its weight beside the labels and its own fields.",
    )
    labelled_batch_size: int = Field(default=64, ge=1, le=1_000_000, description="Labelled texts in a step, at most.")

    @model_validator(mode="after")
    def _pretext_fits(self) -> Any:
        assert self.task  # raises ValueError for what does not go together
        return self

    @property
    def task(self) -> OfTwoSides:
        """The pretext task itself."""
        return self.pretext.objective(self)

    @property
    def rate_share(self) -> float:
        """That of the pretext task."""
        return self.task.rate_share

    def check(self, corpus: "EncodedCorpus", device: str) -> None:
        super().check(corpus, device)
        self.task.check(corpus, device)
        _, labels = labelled_texts(corpus, self.maximum_tokens - 2)
        names = [corpus.label_names[label] for label in np.unique(labels)]
        if len(names) < 2:
            found = f"all {len(labels):,} of this corpus have {names[0]!r}" if names else "this corpus has none"
            raise UserError(
                f"{self.kind} needs texts with a label and a known word, of two labels or more; {found}: name the "
                "label's column when the text is ingested (--label; corpus.source.label), or choose "
                f"{self.pretext.kind}, which needs none"
            )

    def batches(self, corpus: "EncodedCorpus", seed: int) -> CombinedBatches:
        pretext = self.task.batches(corpus, derive_seed(seed, self.pretext.kind))
        supervised = LabelledBatches(self, corpus, len(pretext), derive_seed(seed, SUPERVISED))
        return CombinedBatches([supervised, pretext], leader=1)

    def loss(self, encoder: "Encoder", generator: "torch.Generator") -> "torch.nn.Module":
        from sslcore.objectives._combined import WeightedSum
        from sslcore.objectives._s4l import Classifier

        classifier = Classifier(encoder.network, generator, labels=len(encoder.label_names))
        losses = {SUPERVISED: classifier, self.pretext.kind: self.task.loss(encoder, generator)}
        return WeightedSum(losses, [1.0, self.pretext.weight])


def labelled_texts(corpus: "EncodedCorpus", longest: int) -> tuple[np.ndarray, np.ndarray]:
    """(bounds int64 [T, 2], labels int64 [T]) of the documents with a label and a known word, cut to `longest`."""
    offsets, labels = np.asarray(corpus.document_offsets), np.asarray(corpus.labels)
    bounds = np.stack([offsets[:-1], np.minimum(offsets[1:], offsets[:-1] + longest)], axis=1)
    kept = corpus.labelled & (bounds[:, 0] < bounds[:, 1])
    bounds, labels = bounds[kept], labels[kept]
    if len(bounds):
        known = np.append(np.asarray(corpus.ids) >= corpus.tokenizer.first_word_id, False)
        any_known = np.logical_or.reduceat(known, bounds.ravel())[::2]
        bounds, labels = bounds[any_known], labels[any_known]
    return bounds, labels.astype(np.int64)


class LabelledBatches:
    """The labelled texts in a new order each time they have all been, for so many steps or more."""

    def __init__(self, objective: S4L, corpus: "EncodedCorpus", steps: int, seed: int) -> None:
        self._corpus = corpus
        self._bounds, self._labels = labelled_texts(corpus, objective.maximum_tokens - 2)
        per_epoch = -(-len(self._labels) // objective.labelled_batch_size)
        self._order = TextOrder(len(self._labels), objective.labelled_batch_size, -(-steps // per_epoch), seed)

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, step: int) -> LabelledBatch:
        chosen, begin, end = self._order(step)
        bounds, tokenizer = self._bounds[chosen], self._corpus.tokenizer
        frame = (tokenizer.classification_id, tokenizer.separator_id)
        ids, offsets = frame_pieces(self._corpus.ids, bounds.ravel(), 2 * np.arange(len(chosen)), *frame)
        tokens = int((bounds[:, 1] - bounds[:, 0]).sum())
        return LabelledBatch(ids, offsets, self._labels[chosen], tokens, begin, end)
