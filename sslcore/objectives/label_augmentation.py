"""Self-supervised label augmentation: say of a text both its label and how it was transformed, as one joint label.

Lee, Hwang, Shin 2020, "Self-supervised Label Augmentation via Input Transformations" (ICML), section 2: with N labels,
M transformations t_j, z_j = f(t_j(x)), and joint labels P(i, j | t_j(x)) = exp(w_ij·z_j) / Σ_kl exp(w_kl·z_j),

    L_SLA    = −1/M Σ_j log P(y, j | t_j(x))
    L_SLA+SD = L_SLA + KL(P_aggregated ‖ σ(u·z)) − β log σ_y(u·z)
    P_aggregated(i) = exp(s_i) / Σ_k exp(s_k), s_i = 1/M Σ_j w_ij·z_j

where z is of the text as it is, and no gradient goes through P_aggregated. `distillation` weighs the last two terms (1
in the paper). A joint label asks for no invariance: a text out of order need not look like the same text in order.

The four transformations keep a text's words and change their order, in place of an image's four rotations: the text as
it is; its sentences in reverse (of one sentence, the halves swapped); its tokens in reverse; its tokens shuffled, anew
each time. No two are the same order in disguise, as a rotation of two sentences and their reverse would be; but a text
of two or three tokens has too few orders for all to differ.

Wants: a thousand labelled texts or more, with labels to which order matters. Requires: texts of two labels; only rows
that have a label, and two different tokens, are learned from. The encoder has then seen all labels of the training
split: on a curve of fewer labels it is ahead.
Costs: four passes of the encoder over a text.
Relation: `s4l` learns from the rows without a label too, by a pretext task beside the labels, and `sentence_order` from
order alone; where few rows have a label, pretrain with `masked_lm` first and go on from that encoder.
"""

import logging
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import ConfigDict, Field

from sslcore.errors import UserError
from sslcore.models.framing import frame_pieces, places_of
from sslcore.objectives.family import Family
from sslcore.objectives.text_views import tokens_until_next
from sslcore.objectives.transformer_objective import TransformerObjective
from sslcore.randomness import numpy_generator
from sslcore.training.pieces import PieceOrder

if TYPE_CHECKING:
    import torch

    from sslcore.models.encoder import Encoder
    from sslcore.tokenization.encoding import EncodedCorpus

TRANSFORMATIONS = ("as it is", "sentences in reverse", "tokens in reverse", "tokens shuffled")
FORMS = len(TRANSFORMATIONS)

log = logging.getLogger("sslcore.objectives")


class TransformedTexts(NamedTuple):
    """B framed texts in all FORMS, one after another: form j of text b is sequence b · FORMS + j."""

    ids: np.ndarray  # int64 [tokens here]
    offsets: np.ndarray  # int64 [B · FORMS + 1]
    labels: np.ndarray  # int64 [B]
    tokens: int
    begin: float
    end: float

    @property
    def weight(self) -> int:
        """Texts."""
        return len(self.labels)

    def rows(self, chosen: np.ndarray) -> "TransformedTexts":
        places, offsets = places_of(self.offsets, (chosen[:, None] * FORMS + np.arange(FORMS)).ravel())
        return self._replace(ids=self.ids[places], offsets=offsets, labels=self.labels[chosen])

    def share(self, rank: int, size: int) -> "TransformedTexts":
        return self.rows(np.arange(rank, self.weight, size))

    def split(self, parts: int) -> "list[TransformedTexts]":
        return [self.rows(rows) for rows in np.array_split(np.arange(self.weight), parts) if len(rows)]


class LabelAugmentation(TransformerObjective):
    """A transformer by the label of a text and what was done to its order, as one label (SLA)."""

    model_config = ConfigDict(title="Self-supervised label augmentation")

    family: ClassVar[Family] = "combination"
    learns_labels: ClassVar[bool] = True
    kind: Literal["label_augmentation"] = "label_augmentation"
    distillation: float = Field(
        default=1.0,
        ge=0,
        le=10,
        description="Weight of a second classifier, which learns from the text as it is what all its forms say "
        "together; 0: joint labels alone.",
    )
    beta: float = Field(
        default=1.0, ge=0, le=10, description="Weight of the true label for that classifier; the paper's 0 or 1."
    )

    def check(self, corpus: "EncodedCorpus", device: str) -> None:
        super().check(corpus, device)
        labelled = np.flatnonzero(corpus.labelled)
        if not len(labelled):
            raise UserError(
                f"{self.kind} learns from labels, and no document of this corpus has one: name the column of the label "
                "when it is ingested (--label COLUMN), or choose sentence_order, which needs none"
            )
        used = labelled_texts(corpus, self.maximum_tokens - 2)
        found = [corpus.label_names[label] for label in np.unique(used.labels)]
        if len(found) < 2:
            raise UserError(
                f"{self.kind} needs texts of 2 labels or more, of at least 2 different tokens each; this corpus has "
                f"those of {len(found)}{''.join(f' ({name})' for name in found)}: give texts of other labels too"
            )
        without, short = corpus.documents - len(labelled), len(labelled) - len(used.labels)
        if without or short:
            log.warning(
                "%s leaves out %s of %s documents: %s have no label, %s have fewer than 2 different tokens",
                self.kind,
                f"{without + short:,}",
                f"{corpus.documents:,}",
                f"{without:,}",
                f"{short:,}",
            )

    def batches(self, corpus: "EncodedCorpus", seed: int) -> "TransformedBatches":
        return TransformedBatches(self, corpus, seed)

    def loss(self, encoder: "Encoder", generator: "torch.Generator") -> "torch.nn.Module":
        from sslcore.objectives._label_augmentation import JointLabels

        return JointLabels(
            encoder.network,
            generator,
            labels=len(encoder.label_names),
            transformations=FORMS,
            distillation=self.distillation,
            beta=self.beta,
        )


class LabelledTexts(NamedTuple):
    """Text t is ids[starts[t]:ends[t]] of the corpus: a document, cut to what fits."""

    starts: np.ndarray
    ends: np.ndarray
    labels: np.ndarray


def labelled_texts(corpus: "EncodedCorpus", longest: int) -> LabelledTexts:
    """Those of the documents with a label that have another order: two different tokens at least."""
    offsets = np.asarray(corpus.document_offsets)
    chosen = np.flatnonzero(corpus.labelled & (np.diff(offsets) >= 2))
    starts, ends = offsets[chosen], np.minimum(offsets[chosen + 1], offsets[chosen] + longest)
    if len(chosen):
        changes = np.append(corpus.ids[1:] != corpus.ids[:-1], False)  # [i]: whether the token after i is another
        differ = np.logical_or.reduceat(changes, np.stack([starts, ends - 1], axis=1).ravel())[::2]
        chosen, starts, ends = chosen[differ], starts[differ], ends[differ]
    return LabelledTexts(starts, ends, np.asarray(corpus.labels[chosen], np.int64))


class TransformedBatches:
    """Labelled texts in a new order in each epoch, every one in all its forms."""

    def __init__(self, objective: LabelAugmentation, corpus: "EncodedCorpus", seed: int) -> None:
        self._corpus = corpus
        self._seed = seed
        self._texts = texts = labelled_texts(corpus, objective.maximum_tokens - 2)
        self._stands_for = tokens_until_next(texts.starts, corpus.tokens)
        offsets = np.concatenate([[0], np.cumsum(FORMS * (texts.ends - texts.starts))])
        self._order = PieceOrder(offsets, objective.batch_tokens, objective.epochs, seed)
        self._sentences = np.unique(corpus.sentence_offsets)

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, step: int) -> TransformedTexts:
        chosen, begin, end = self._order(step)
        generator = numpy_generator(self._seed, "shuffles", step)
        forms = [form for text in chosen for form in self._forms(text, generator)]
        bounds = np.concatenate([[0], np.cumsum([len(form) for form in forms])])
        tokenizer = self._corpus.tokenizer
        frame = (tokenizer.classification_id, tokenizer.separator_id)
        ids, offsets = frame_pieces(np.concatenate(forms), bounds, np.arange(len(forms)), *frame)
        tokens = int(self._stands_for[chosen].sum())
        return TransformedTexts(ids, offsets, self._texts.labels[chosen], tokens, begin, end)

    def _forms(self, text: int, generator: np.random.Generator) -> list[np.ndarray]:
        start, end = self._texts.starts[text], self._texts.ends[text]
        first, last = np.searchsorted(self._sentences, [start + 1, end])
        return transformed(self._corpus.ids[start:end], self._sentences[first:last] - start, generator)


def transformed(tokens: np.ndarray, inner: np.ndarray, generator: np.random.Generator) -> list[np.ndarray]:
    """A text in all its forms, in the order of TRANSFORMATIONS; its sentences after the first begin at `inner`."""
    sentences = np.split(tokens, inner if len(inner) else [len(tokens) // 2])
    return [tokens, np.concatenate(sentences[::-1]), tokens[::-1], generator.permutation(tokens)]
