"""Static word vectors; the vector of a text is the weighted mean of its words' vectors, as they are or at unit length.

The weights (`word_weights`: SIF, or 1 for the mean; 0 for special tokens, the unknown token among them) belong to
the model and are saved with it, so serving pools exactly as evaluation did.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch

from sslcore.models.bags import SMALLEST, bag_sums, bag_totals

if TYPE_CHECKING:
    from gensim.models import KeyedVectors


class WordVectors(torch.nn.Module):
    """forward(ids int64 [N], offsets int64 [B + 1]) -> float32 [B, dimensions]; zeros for no known word."""

    weights: torch.Tensor
    outputs: torch.Tensor | None  # float32 [V, dimensions], where training may go on from

    def __init__(self, pooling_weights: np.ndarray, dimensions: int, *, unit: bool = False) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.unit = unit
        self.vectors = torch.nn.Parameter(torch.empty(len(pooling_weights), dimensions))
        self.register_buffer("weights", torch.from_numpy(pooling_weights.astype(np.float32)))
        self.register_buffer("outputs", None)

    def keep_outputs(self, vocabulary: int, *, persistent: bool = True) -> None:
        """Make room for the output vectors, which start at zero; `persistent` ones are saved with the rest."""
        self.register_buffer("outputs", torch.zeros(vocabulary, self.dimensions), persistent=persistent)

    def forward(self, ids_N: torch.Tensor, offsets_B: torch.Tensor) -> torch.Tensor:
        totals_B1 = bag_totals(self.weights[ids_N], offsets_B)
        vectors = torch.nn.functional.normalize(self.vectors) if self.unit else self.vectors
        return bag_sums(vectors, ids_N, offsets_B, self.weights) / totals_B1.clamp_min(SMALLEST)

    def word_vectors(self) -> np.ndarray:
        """float32 [V, dimensions], one row a token id."""
        return self.vectors.detach().cpu().numpy()

    def empty_keyed_vectors(self) -> "KeyedVectors":
        """gensim's container, yet without words."""
        from gensim.models import KeyedVectors

        return KeyedVectors(self.dimensions)

    def layer_groups(self) -> list[tuple[str, list[str]]]:
        return [("vectors", ["vectors"])]
