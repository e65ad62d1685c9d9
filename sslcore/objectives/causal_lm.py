"""Causal language modelling: say each token of a text from those before it.

Radford, Wu, Child, Luan, Amodei, Sutskever 2019, "Language Models are Unsupervised Multitask Learners", equation 1:
p(x) = Π p(x_i | x_1 … x_(i−1)); the model is their GPT-2. Each text begins with a token of its own and each document
ends with one; where a piece ends within a document, what comes next there is still asked for.

Wants: ten million words or more of running text. Requires: nothing else; a GPU from `small` on.
Costs: one pass of the encoder over a text, and the vocabulary for every token.
Relation: learns from every token of a step, where masked language modelling learns from a sixth, and so in fewer steps
what tells texts apart; but its states know only what stands before them. It writes: `sslcore.serving.generation`.
"""

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import ConfigDict, Field

from sslcore.models.architecture import CAUSAL, Architecture
from sslcore.models.framing import frame_pieces, without_ends
from sslcore.objectives.masked_lm import MaskedTexts
from sslcore.objectives.transformer_objective import TransformerObjective
from sslcore.training.pieces import PieceOrder, cut_documents

if TYPE_CHECKING:
    import torch

    from sslcore.models.encoder import Encoder
    from sslcore.tokenization.encoding import EncodedCorpus
    from sslcore.tokenization.registry import Tokenization


class CausalLM(TransformerObjective):
    """A transformer by saying the next token of a text (causal language model, as GPT-2)."""

    model_config = ConfigDict(title="Causal language model")

    model_types: ClassVar[tuple[str, ...]] = CAUSAL
    kind: Literal["causal_lm"] = "causal_lm"
    pooling: Literal["mean", "last"] = Field(  # type: ignore[assignment]  # the first token has seen nothing
        default="mean", description="Vector of a text: the mean of its tokens' states, or the state of its last."
    )

    @property
    def rate_share(self) -> float:
        """At twice this `tiny` ends with a higher loss and worse vectors (docs/objectives.md, "Learning rates")."""
        return 0.5

    @property
    def tokenization(self) -> "Tokenization":
        """Any text can be written with it, spaces too."""
        from sslcore.tokenization.bpe import BPE

        return BPE()

    @property
    def architecture_of_size(self) -> Architecture:
        """That of GPT-2."""
        shape = self.shape
        return {
            "model_type": "gpt2",
            "n_embd": shape.dimensions,
            "n_layer": shape.layers,
            "n_head": shape.heads,
            "n_positions": self.maximum_tokens,
        }

    def batches(self, corpus: "EncodedCorpus", seed: int) -> "CausalBatches":
        return CausalBatches(self, corpus, seed)

    def loss(self, encoder: "Encoder", generator: "torch.Generator") -> "torch.nn.Module":
        from sslcore.objectives._causal_lm import NextTokens

        return NextTokens(encoder.network)


class CausalBatches:
    """Pieces of documents in a new order in each epoch; every token has a target."""

    def __init__(self, objective: CausalLM, corpus: "EncodedCorpus", seed: int) -> None:
        self._corpus = corpus
        offsets = cut_documents(corpus, objective.maximum_tokens - 1)
        self._pieces = PieceOrder(offsets, objective.batch_tokens, objective.epochs, seed)
        self._ends_document = np.isin(offsets[1:], corpus.document_offsets)

    def __len__(self) -> int:
        return len(self._pieces)

    def __getitem__(self, step: int) -> MaskedTexts:
        pieces, begin, end = self._pieces(step)
        tokenizer, bounds = self._corpus.tokenizer, self._pieces.offsets
        framed, framed_offsets = frame_pieces(
            self._corpus.ids, bounds, pieces, tokenizer.classification_id, tokenizer.separator_id
        )
        goes_on = ~self._ends_document[pieces]
        framed[framed_offsets[1:][goes_on] - 1] = self._corpus.ids[bounds[pieces[goes_on] + 1]]
        ids, offsets = without_ends(framed, framed_offsets)
        targets = np.delete(framed, framed_offsets[:-1])
        return MaskedTexts(ids, targets, offsets, int(self._pieces.lengths[pieces].sum()), begin, end)
