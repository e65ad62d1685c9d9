"""A linear layer on the vectors of single tokens, brought to unit scale as linear_head.py does with those of rows.

Letters: N tokens of all rows, one row after another, D dimensions, C outputs of a token.
"""

from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import nn

from sslcore.finetuning.shapes.linear_head import SMALLEST_SPREAD, sample
from sslcore.finetuning.shapes.seam import DownstreamNetwork, PaddedStates
from sslcore.models.transformer import tokens_at_once


class TokenExamples(Protocol):
    """Rows that the encoder reads token by token."""

    def __len__(self) -> int: ...

    @property
    def lengths(self) -> np.ndarray:
        """int64 [n]: what the encoder reads of each row, in tokens."""

    def take(self, rows: np.ndarray) -> Self:
        """These rows, in their order."""


class TokenNetwork(DownstreamNetwork):
    """outputs_NC = head((vectors_ND − feature_mean) / feature_spread); all start at zero, whatever the seed."""

    feature_mean: torch.Tensor
    feature_spread: torch.Tensor

    def __init__(self, encoder: nn.Module, dimensions: int, outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("feature_mean", torch.zeros(dimensions))
        self.register_buffer("feature_spread", torch.ones(dimensions))
        self.head = nn.utils.skip_init(nn.Linear, dimensions, outputs)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def states(self, examples: Any) -> torch.Tensor:
        """float32 [N, D]: what the encoder gives at the tokens of these rows."""
        raise NotImplementedError

    def vectors(self, examples: TokenExamples) -> torch.Tensor:
        """The same, some rows at a time where no gradient is wanted."""
        if torch.is_grad_enabled():
            return self.states(examples)
        at_once = tokens_at_once(self.feature_mean.device)
        parts = np.flatnonzero(np.diff(np.cumsum(examples.lengths) // at_once)) + 1
        return torch.cat([self.states(examples.take(rows)) for rows in np.split(np.arange(len(examples)), parts)])

    def prepare(self, examples: Any) -> None:
        training = self.training
        self.eval()
        with torch.no_grad():
            vectors_ND = self.vectors(examples.take(sample(len(examples))))
        self.train(training)
        if len(vectors_ND):
            self.feature_mean.copy_(vectors_ND.mean(dim=0))
            self.feature_spread.copy_(vectors_ND.std(dim=0, correction=0).clamp_min(SMALLEST_SPREAD))

    def features(self, examples: Any) -> torch.Tensor:
        """[N, D]: the vectors, standardised."""
        return self.standardised(self.vectors(examples))

    def standardised(self, vectors: torch.Tensor) -> torch.Tensor:
        return (vectors - self.feature_mean) / self.feature_spread

    def decided(self, features_ND: torch.Tensor, examples: Any) -> torch.Tensor:
        """[N, C]"""
        return self.head(features_ND)

    def padded_features(self, *read: PaddedStates) -> torch.Tensor:
        """[B, L, D]: of every token, also of those that are no row's."""
        (sequences,) = read
        return self.standardised(sequences.states)
