"""Contrastive predictive coding: from the sentences read so far, tell which vectors the coming ones have.

van den Oord, Li, Vinyals 2018, "Representation Learning with Contrastive Predictive Coding", equations 3 and 4: z_t is
the encoder's vector of a sentence, c_t what a GRU makes of z_1 … z_t, and for k = 1 … `ahead`
−log exp(z_{t+k}ᵀ W_k c_t) / Σ_j exp(z_jᵀ W_k c_t), j over all vectors of the batch; the mean over all t and k.
The z are standardised over the batch first, which the paper does not say: a transformer's vectors have most in common,
and without it the loss was seen to begin by taking away the little in which they differ.

Wants: documents of many sentences. Requires: one of two pieces; a piece is whole sentences up to `span_tokens`, and a
sentence that is longer is cut. Relation: info_nce matches two neighbours, here their order counts; the GRU is let go of
after the training.
Costs: one pass of the encoder over a text, and a GRU over its sentences.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import ConfigDict, Field

from sslcore.errors import UserError
from sslcore.models.framing import frame_pieces
from sslcore.objectives.sentence_objective import ComparedTexts
from sslcore.objectives.text_views import TextBatch, TextOrder, Texts, tokens_until_next
from sslcore.training.pieces import cut_documents

if TYPE_CHECKING:
    import torch

    from sslcore.models.encoder import Encoder
    from sslcore.tokenization.encoding import EncodedCorpus


@dataclass(frozen=True, kw_only=True)
class RunBatch(TextBatch):
    """Run r is the sequences runs[r]:runs[r + 1] of the whole batch, as they follow each other in a document."""

    runs: np.ndarray  # int64 [R + 1]


class CPC(ComparedTexts):
    """A transformer by predicting the vectors of the sentences that follow (contrastive predictive coding)."""

    model_config = ConfigDict(title="Contrastive predictive coding")

    kind: Literal["cpc"] = "cpc"
    batch_size: int = Field(
        default=256,
        ge=4,
        le=1_000_000,
        description="Pieces in a step, at most: batch_size / run runs of them. Of 64 and more it learns, of 16 not.",
    )
    span_tokens: int = Field(default=32, ge=2, le=8190, description="Longest piece of a document that is one vector.")
    run: int = Field(default=8, ge=3, le=1000, description="Consecutive pieces that the GRU reads, at most.")
    ahead: int = Field(default=3, ge=1, le=100, description="How many of the coming pieces are predicted.")

    def texts(self, corpus: "EncodedCorpus") -> Texts:
        """The pieces of all runs."""
        bounds, runs = self.runs(corpus)
        pieces = np.concatenate([np.arange(first, last) for first, last in runs] or [np.zeros(0, np.int64)])
        starts = bounds[pieces]
        return Texts(starts, bounds[pieces + 1], tokens_until_next(starts, corpus.tokens))

    def runs(self, corpus: "EncodedCorpus") -> tuple[np.ndarray, np.ndarray]:
        """(bounds of the pieces, [R, 2]: first and last + 1 of each run of two pieces or more)."""
        bounds = cut_documents(corpus, min(self.span_tokens, self.maximum_tokens - 2))
        documents = np.searchsorted(bounds, np.unique(np.asarray(corpus.document_offsets)))
        runs = []
        for first, last in pairwise(documents.tolist()):
            count = -(-(last - first) // self.run)
            ends = [first + (last - first) * n // count for n in range(count + 1)]
            runs += [pair for pair in pairwise(ends) if pair[1] - pair[0] > 1]
        return bounds, np.array(runs, np.int64).reshape(-1, 2)

    def check(self, corpus: "EncodedCorpus", device: str) -> None:
        super().check(corpus, device)
        if not len(self.runs(corpus)[1]):
            raise UserError(
                f"cpc needs a document of two pieces of {self.span_tokens} tokens, this corpus has none: give longer "
                "documents or a lower span_tokens"
            )

    def batches(self, corpus: "EncodedCorpus", seed: int) -> "RunBatches":  # type: ignore[override]
        return RunBatches(self, corpus, seed)

    def loss(self, encoder: "Encoder", generator: "torch.Generator") -> "torch.nn.Module":
        from sslcore.objectives._cpc import ComingSentences

        return ComingSentences(encoder.network, generator, ahead=self.ahead, chunk=self.chunk)


class RunBatches:
    """Runs in a new order in each epoch, batch_size pieces or less in a batch."""

    def __init__(self, objective: CPC, corpus: "EncodedCorpus", seed: int) -> None:
        self._corpus = corpus
        self._bounds, self._runs = objective.runs(corpus)
        self._tokens = tokens_until_next(self._bounds[self._runs[:, 0]], corpus.tokens)
        self._order = TextOrder(len(self._runs), max(1, objective.batch_size // objective.run), objective.epochs, seed)

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, step: int) -> RunBatch:
        chosen, begin, end = self._order(step)
        pieces = np.concatenate([np.arange(first, last) for first, last in self._runs[chosen]])
        tokenizer = self._corpus.tokenizer
        ids, offsets = frame_pieces(
            self._corpus.ids, self._bounds, pieces, tokenizer.classification_id, tokenizer.separator_id
        )
        runs = np.concatenate([[0], np.cumsum(np.diff(self._runs[chosen], axis=1))])
        count, tokens = len(pieces), int(self._tokens[chosen].sum())
        return RunBatch(ids, offsets, np.arange(count), count, tokens, begin, end, runs=runs)
