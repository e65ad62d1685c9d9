"""The losses of the sparse and the contractive autoencoder: reconstruction, and a penalty on the embedding.

Letters: B texts, D dimensions, V vocabulary.
"""

from typing import TYPE_CHECKING, Any

import torch

from sslcore.objectives._bag_reconstruction import BagReconstruction

if TYPE_CHECKING:
    from sslcore.objectives.bag_objective import Bags
    from sslcore.objectives.contractive_autoencoder import ContractiveAutoencoder
    from sslcore.objectives.sparse_autoencoder import SparseAutoencoder


class PenalisedReconstruction(BagReconstruction):
    """reconstruction + weight × penalty; the penalty is over texts with a known word, 0 where there is none."""

    weight: float

    def forward(self, batch: "Bags") -> dict[str, torch.Tensor]:
        texts = self.texts(batch)
        embedding_BD = self.encoder(*texts)
        reconstruction = self.restored(embedding_BD, batch)
        known_B = self.encoder.known(*texts).squeeze(1)
        penalty = self.penalty(embedding_BD[known_B]) if known_B.any() else 0 * reconstruction
        return {"loss": reconstruction + self.weight * penalty, "reconstruction": reconstruction, "penalty": penalty}

    def penalty(self, embedding_BD: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class SparseReconstruction(PenalisedReconstruction):
    def __init__(self, objective: "SparseAutoencoder", *arguments: Any) -> None:
        super().__init__(*arguments)
        self.weight = objective.penalty_weight
        self.kind = objective.penalty
        self.target = objective.target_activation

    def restored(self, embedding_BD: torch.Tensor, batch: "Bags") -> torch.Tensor:
        """The decoder's weights and offset are those of units around 0: else what all units share hides the rest."""
        spread = (self.target * (1 - self.target)) ** 0.5
        return super().restored((embedding_BD - self.target) / spread, batch)

    def penalty(self, embedding_BD: torch.Tensor) -> torch.Tensor:
        if self.kind == "l1":
            return embedding_BD.abs().sum(1).mean()
        return bernoulli_divergence(self.target, embedding_BD.mean(0)).sum()


class ContractiveReconstruction(PenalisedReconstruction):
    def __init__(self, objective: "ContractiveAutoencoder", *arguments: Any) -> None:
        super().__init__(*arguments)
        self.weight = objective.contraction

    def penalty(self, embedding_BD: torch.Tensor) -> torch.Tensor:
        return squared_jacobian(embedding_BD, self.encoder.rows).mean()


def bernoulli_divergence(target: float, means: torch.Tensor) -> torch.Tensor:
    """KL(target ‖ mean) of coins, entry by entry, in nats."""
    means = means.clamp(1e-6, 1 - 1e-6)  # a sigmoid rounds to 0 and 1
    return target * (target / means).log() + (1 - target) * ((1 - target) / (1 - means)).log()


def squared_jacobian(embedding_BD: torch.Tensor, rows_VD: torch.Tensor) -> torch.Tensor:
    """[B]: Σ_j (1 − h_j²)² ‖W_j‖², the squared Frobenius norm of ∂h/∂x for h = tanh(W x + b), W_j = rows[:, j]."""
    return (1 - embedding_BD.square()).square() @ rows_VD.square().sum(0)
