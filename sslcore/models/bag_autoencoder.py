"""The encoder half of a bag-of-words autoencoder: words of a text, weighted and summed, to an embedding.

    h = tanh(W x + b),  x the IDF-weighted bag of the text scaled to unit length,  embedding = tanh(V h + c)

Vincent, Larochelle, Bengio, Manzagol 2008, equation 1, with the length-normalised input of Liang, Krishnan, Hoffman,
Jebara 2018, section 2.1. The bag never exists as a dense vector: W x is a weighted sum of rows.
"""

import numpy as np
import torch

from sslcore.models.bags import SMALLEST, bag_sums, bag_totals


class BagEncoder(torch.nn.Module):
    """forward(ids int64 [N], offsets int64 [B + 1]) -> float32 [B, dimensions]; zeros for no known word."""

    weights: torch.Tensor

    def __init__(self, token_weights: np.ndarray, hidden: int, dimensions: int, generator: torch.Generator) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.register_buffer("weights", torch.from_numpy(token_weights.astype(np.float32)))
        self.rows = torch.nn.Parameter(torch.empty(len(token_weights), hidden))
        self.rows_bias = torch.nn.Parameter(torch.zeros(hidden))
        self.embedding = torch.nn.Linear(hidden, dimensions)
        with torch.no_grad():
            self.rows.normal_(0, 1, generator=generator)
            bound = hidden**-0.5
            self.embedding.weight.uniform_(-bound, bound, generator=generator)
            self.embedding.bias.zero_()

    def forward(self, ids_N: torch.Tensor, offsets_B: torch.Tensor) -> torch.Tensor:
        lengths_B1 = bag_totals(self.weights[ids_N] ** 2, offsets_B).sqrt()
        sums_BH = bag_sums(self.rows, ids_N, offsets_B, self.weights) / lengths_B1.clamp_min(SMALLEST)
        hidden_BH = torch.tanh(sums_BH + self.rows_bias)
        return torch.where(lengths_B1 > 0, torch.tanh(self.embedding(hidden_BH)), 0.0)

    def layer_groups(self) -> list[tuple[str, list[str]]]:
        return [("words", ["rows", "rows_bias"]), ("embedding", ["embedding.weight", "embedding.bias"])]
