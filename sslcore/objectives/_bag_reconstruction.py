"""The decoder and loss of the denoising autoencoder, apart from its configuration: reading that needs no torch."""

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from sslcore.models.bag_autoencoder import BagEncoder
    from sslcore.objectives.denoising_autoencoder import Bags


class BagReconstruction(torch.nn.Module):
    """loss(batch): mean over documents of −Σ_w b_w log softmax(decoder(embedding))_w / Σ_w b_w, in nats a word.

    b is the weighted clean bag; the sums run over the R reconstructed words; documents with none of them do not count.
    """

    columns: torch.Tensor

    def __init__(self, encoder: "BagEncoder", words: np.ndarray, vocabulary: int, generator: torch.Generator) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = torch.nn.Linear(encoder.dimensions, len(words))
        columns = torch.full((vocabulary,), -1)  # token id → output, -1: not reconstructed
        columns[torch.from_numpy(words)] = torch.arange(len(words))
        self.register_buffer("columns", columns)
        with torch.no_grad():
            bound = encoder.dimensions**-0.5
            self.decoder.weight.uniform_(-bound, bound, generator=generator)
            self.decoder.bias.zero_()

    def forward(self, batch: "Bags") -> dict[str, torch.Tensor]:
        device = self.columns.device
        ids, offsets, documents, words, weights = (
            torch.from_numpy(a).to(device)
            for a in (batch.ids, batch.offsets, batch.bag_documents, batch.bag_words, batch.bag_weights)
        )
        log_BR = torch.log_softmax(self.decoder(self.encoder(ids, offsets)), dim=1)
        columns = self.columns[words]
        there = columns >= 0
        documents, columns, weights = documents[there], columns[there], weights[there]
        totals_B = torch.zeros(len(log_BR), device=device).index_add_(0, documents, weights)
        shares = weights / totals_B[documents]
        present = (totals_B > 0).sum().clamp_min(1)
        return {"loss": -(log_BR[documents, columns] * shares).sum() / present}
