"""The decoder of bags of words and its loss, apart from configurations: reading those needs no torch.

Letters: B texts, M words in their bags, R reconstructed words, D dimensions.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sslcore.models.bag_autoencoder import dense

if TYPE_CHECKING:
    from sslcore.objectives.bag_objective import Bags


class BagReconstruction(torch.nn.Module):
    """loss(batch): mean over documents of −Σ_w b_w log softmax(decoder(embedding))_w / Σ_w b_w, in nats a word.

    b is the weighted clean bag; the sums run over the R reconstructed words; documents with none of them do not count.
    """

    columns: torch.Tensor

    def __init__(
        self, encoder: Any, words: np.ndarray, vocabulary: int, generator: torch.Generator, decoded: int = 0
    ) -> None:
        """`decoded`: width of what is decoded, if not the embedding."""
        super().__init__()
        self.encoder = encoder
        self.decoder = dense(decoded or encoder.dimensions, len(words), generator)
        columns = torch.full((vocabulary,), -1)  # token id → output, -1: not reconstructed
        columns[torch.from_numpy(words)] = torch.arange(len(words))
        self.register_buffer("columns", columns)

    def forward(self, batch: "Bags") -> dict[str, torch.Tensor]:
        return {"loss": self.restored(self.encoder(*self.texts(batch)), batch)}

    def texts(self, batch: "Bags") -> tuple[torch.Tensor, torch.Tensor]:
        """What the encoder takes."""
        return self._tensor(batch.ids), self._tensor(batch.offsets)

    def restored(self, embedding_BD: torch.Tensor, batch: "Bags") -> torch.Tensor:
        """The loss of the class's first line."""
        log_M, documents_M, weights_M = self.likelihoods(embedding_BD, batch)
        totals_B = weights_M.new_zeros(len(embedding_BD)).index_add_(0, documents_M, weights_M)
        present = (totals_B > 0).sum().clamp_min(1)
        return -(log_M * (weights_M / totals_B[documents_M])).sum() / present

    def likelihoods(self, embedding_BD: torch.Tensor, batch: "Bags") -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(log softmax(decoder(embedding)), document, weight in its bag), each [M], of the words that are restored."""
        documents, words, weights = (self._tensor(a) for a in (batch.bag_documents, batch.bag_words, batch.bag_weights))
        log_BR = torch.log_softmax(self.decoder(embedding_BD), dim=1)
        columns = self.columns[words]
        there = columns >= 0
        documents, columns, weights = documents[there], columns[there], weights[there]
        return log_BR[documents, columns], documents, weights

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self.columns.device)
