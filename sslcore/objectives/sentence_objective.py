"""What the objectives share that give a text one vector in training already: batches are counted in texts.

A step of so many texts, whatever their lengths: in a contrast the other texts of a batch are the negatives, so their
number is part of the objective and the tokens are not.
"""

import logging
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from sslcore.errors import UserError
from sslcore.objectives.family import Family
from sslcore.objectives.text_views import TextOrder, Texts, ViewBatches, Views, blocks_of, sentences_of
from sslcore.objectives.transformer_objective import TransformerObjective

if TYPE_CHECKING:
    from sslcore.tokenization.encoding import EncodedCorpus

FEW_TEXTS = 100_000  # SimCSE trains on a million sentences, from BERT

log = logging.getLogger("sslcore.objectives")


class SentenceObjective(TransformerObjective):
    """A transformer trained on batches of texts."""

    batch_tokens: ClassVar[int] = 10**9  # type: ignore[misc]  # no field here: batch_size is in its place
    batch_size: int = Field(default=64, ge=4, le=1_000_000, description="Texts in a step, at most.")
    minimum_tokens: int = Field(default=3, ge=1, le=1000, description="Shorter texts are left out.")

    def texts(self, corpus: "EncodedCorpus") -> Texts:
        """The sentences of the corpus that are trained on."""
        return sentences_of(corpus, self.minimum_tokens)

    def order(self, texts: Texts, seed: int) -> TextOrder:
        return TextOrder(len(texts), self.batch_size, self.epochs, seed)

    def check(self, corpus: "EncodedCorpus", device: str) -> None:
        super().check(corpus, device)
        found = len(self.texts(corpus))
        if found < 2:
            raise UserError(
                f"{self.kind} needs 2 texts or more with a known word, of at least {self.minimum_tokens} tokens each; "
                f"this corpus has {found}: give more text or a lower minimum_tokens"
            )


class ComparedTexts(SentenceObjective):
    """A transformer trained by comparing the vectors of a batch with each other."""

    family: ClassVar[Family] = "contrast"
    parts: ClassVar[int] = 1  # type: ignore[misc]  # half a batch would be another loss; chunk saves the memory
    chunk: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="Texts that are in memory at a time: each is computed twice, the loss is of all; 0: all at once.",
    )

    @property
    def two_views(self) -> Views:
        """What the two views of a text are."""
        raise NotImplementedError

    def texts(self, corpus: "EncodedCorpus") -> Texts:
        if self.two_views == "dropout":
            return super().texts(corpus)
        return blocks_of(corpus, self.maximum_tokens - 2, self.minimum_tokens)

    def check(self, corpus: "EncodedCorpus", device: str) -> None:
        super().check(corpus, device)
        found = len(self.texts(corpus))
        if found < FEW_TEXTS and not self._goes_on:
            log.warning(
                "%s on %s texts: from random weights it learns little on fewer than %s, for telling texts apart needs "
                "only a few of their words; pretrain with masked_lm first and go on from that encoder",
                self.kind,
                f"{found:,}",
                f"{FEW_TEXTS:,}",
            )

    def batches(self, corpus: "EncodedCorpus", seed: int) -> ViewBatches:
        texts = self.texts(corpus)
        return ViewBatches(corpus, texts, self.two_views, self.maximum_tokens - 2, self.order(texts, seed), seed)
