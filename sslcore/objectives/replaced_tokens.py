"""Replaced token detection: say of every token whether it stood in the text or a small model put it there.

Clark, Luong, Le, Manning 2020, "ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators", section
2: a generator, a masked language model, is asked for hidden tokens and draws one for each; the encoder, the
discriminator, finds those that are not the original. Both learn together: min L_MLM + λ L_Disc, with λ = 50. A drawn
token that equals the original counts as original, and no gradient goes through the drawing. The two share their table
of token vectors. `generator_loss` stays above masked_lm's loss: every chosen token becomes a mask, none can be copied.

Wants: a million words or more of running text. Requires: nothing else; a GPU from `small` on.
Costs: one pass of the encoder and one of a narrower generator, and the vocabulary for a sixth of the tokens.
Relation: learns from every token, where masked language modelling learns from those it hides, and never sees a mask,
which no later text has either; a step costs the generator more.
"""

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import ConfigDict, Field

from sslcore.models.architecture import AS_BERT
from sslcore.objectives.masked_lm import MaskedBatches, MaskedTexts
from sslcore.objectives.transformer_objective import TransformerObjective

if TYPE_CHECKING:
    import torch

    from sslcore.models.encoder import Encoder
    from sslcore.tokenization.encoding import EncodedCorpus


class ReplacedTexts(NamedTuple):
    """Masked texts, of which a part knows how much of its step is asked for: two means become one."""

    texts: MaskedTexts
    asked: float  # predictions of the whole step by its tokens, those of the frames among them

    @property
    def tokens(self) -> int:
        return self.texts.tokens

    @property
    def begin(self) -> float:
        return self.texts.begin

    @property
    def end(self) -> float:
        return self.texts.end

    @property
    def weight(self) -> int:
        """Tokens that are judged: all."""
        return len(self.texts.ids)

    def share(self, rank: int, size: int) -> "ReplacedTexts":
        return self._replace(texts=self.texts.share(rank, size))

    def split(self, parts: int) -> "list[ReplacedTexts]":
        return [self._replace(texts=part) for part in self.texts.split(parts)]


class ReplacedTokens(TransformerObjective):
    """A transformer by finding tokens that a small masked language model replaced (ELECTRA)."""

    model_config = ConfigDict(title="Replaced token detection")

    model_types: ClassVar[tuple[str, ...]] = AS_BERT  # so is the generator
    kind: Literal["replaced_tokens"] = "replaced_tokens"
    masks: Literal["tokens", "words", "spans"] = Field(
        default="tokens",
        description="What is replaced together: tokens, words (in Chinese those of jieba), or spans of a few words.",
    )
    masked_share: float = Field(default=0.15, gt=0, lt=1, description="Share of the tokens that the generator draws.")
    generator_width: float = Field(
        default=0.25, gt=0, le=1, description="Of the generator, as a share of the encoder's; it has as many layers."
    )
    detection_weight: float = Field(
        default=50.0, gt=0, le=10_000, description="λ: how much detection counts beside the generator's loss."
    )

    @property
    def rate_share(self) -> float:
        """At the size's rate all states become one: "original" (docs/objectives.md, "Learning rates")."""
        return 0.15

    def batches(self, corpus: "EncodedCorpus", seed: int) -> "ReplacedBatches":
        return ReplacedBatches(self, corpus, seed)

    def loss(self, encoder: "Encoder", generator: "torch.Generator") -> "torch.nn.Module":
        from sslcore.objectives._replaced_tokens import ReplacedTokenDetection

        return ReplacedTokenDetection(
            encoder.network,
            generator,
            width=self.generator_width,
            detection_weight=self.detection_weight,
            mask_id=encoder.tokenizer.mask_id,
        )


class ReplacedBatches:
    """Those of masked language modelling."""

    def __init__(self, objective: ReplacedTokens, corpus: "EncodedCorpus", seed: int) -> None:
        self._masked = MaskedBatches(objective, corpus, seed)

    def __len__(self) -> int:
        return len(self._masked)

    def __getitem__(self, step: int) -> ReplacedTexts:
        texts = self._masked[step]
        return ReplacedTexts(texts, texts.weight / len(texts.ids))
