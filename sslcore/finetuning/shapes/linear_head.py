"""A linear layer on features brought to unit scale: the head of shapes that decide once per row.

Mean-pooled word vectors have a common offset and uneven scales, which makes one learning rate wrong for the head; so
the features are standardised by the mean and spread that the untouched encoder gives on the training rows, or so many
of them. Both are buffers: they are saved with the weights and never learn.

B rows in a batch, F features, C outputs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from sslcore.finetuning.losses import Criterion
from sslcore.finetuning.shapes.seam import DownstreamNetwork, PaddedStates

# A freshly initialised network may give features a hundredth as wide as a pretrained one. Blown up to unit scale, one
# update would throw them about by tens of spreads: skip-gram's network from scratch then reached 0.54 macro-F1 with 32
# labels per class of the documentation corpus, where it reaches 0.62 with this floor.
SMALLEST_SPREAD = 0.05
SAMPLE = 1024  # training rows that say mean and spread, to some 3 % of the spread: a pass over the others is saved


class LinearHead(DownstreamNetwork):
    """outputs_BC = head((vectors_BF − feature_mean) / feature_spread), in the unit of the criterion."""

    feature_mean: torch.Tensor
    feature_spread: torch.Tensor

    def __init__(self, encoder: nn.Module, features: int, outputs: int, criterion: Criterion) -> None:
        super().__init__()
        self.encoder = encoder
        self.criterion = criterion
        self.register_buffer("feature_mean", torch.zeros(features))
        self.register_buffer("feature_spread", torch.ones(features))
        self.head = nn.utils.skip_init(nn.Linear, features, outputs)  # the usual start draws from a global generator
        nn.init.zeros_(self.head.weight)  # every class starts equally likely, whatever the seed
        nn.init.zeros_(self.head.bias)

    def vectors(self, examples: Any) -> torch.Tensor:
        """[B, F], as the encoder gives them."""
        raise NotImplementedError

    def prepare(self, examples: Any) -> None:
        self.criterion.prepare(examples.targets)
        training = self.training
        self.eval()
        with torch.no_grad():
            features_nF = self.vectors(examples.take(sample(len(examples))))
            self.feature_mean.copy_(features_nF.mean(dim=0))
            self.feature_spread.copy_(features_nF.std(dim=0, correction=0).clamp_min(SMALLEST_SPREAD))
            self.head.bias.fill_(self.criterion.first_outputs())
        self.train(training)

    def features(self, examples: Any) -> torch.Tensor:
        """[B, F]: the vectors, standardised."""
        return self.standardised(self.vectors(examples))

    def standardised(self, vectors_BF: torch.Tensor) -> torch.Tensor:
        return (vectors_BF - self.feature_mean) / self.feature_spread

    def decided(self, features_BF: torch.Tensor, examples: Any) -> torch.Tensor:
        """[B, C]; scores [B]."""
        return self.criterion.outputs(self.head(features_BF))

    def loss(self, outputs: torch.Tensor, examples: Any) -> torch.Tensor:
        return self.criterion(outputs, examples.targets)

    def monitors(self, outputs: torch.Tensor, examples: Any) -> dict[str, torch.Tensor]:
        return self.criterion.monitors(outputs.detach(), examples.targets)

    def notes(self, labels: Sequence[str]) -> tuple[str, ...]:
        return self.criterion.notes(labels)

    def padded_vectors(self, *read: PaddedStates) -> torch.Tensor:
        """As `vectors`, of what the encoder gave."""
        raise NotImplementedError

    def padded_features(self, *read: PaddedStates) -> torch.Tensor:
        return self.standardised(self.padded_vectors(*read))

    def named(self, outputs: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.criterion.named(outputs)


def sample(rows: int) -> np.ndarray:
    """int64 [SAMPLE] at most: numbers of rows, evenly spread."""
    return np.unique(np.linspace(0, rows - 1, SAMPLE).astype(np.int64))
