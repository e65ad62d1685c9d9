"""The decoder, the variances and the loss of the variational autoencoder. Letters: B texts, D dimensions."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from sslcore.models.bag_autoencoder import DeepBagEncoder, dense
from sslcore.models.bags import SMALLEST
from sslcore.objectives._bag_reconstruction import BagReconstruction

if TYPE_CHECKING:
    from sslcore.objectives.bag_objective import Bags
    from sslcore.objectives.variational_autoencoder import VariationalAutoencoder

ACTIVE = 0.01  # variance of a posterior mean over texts (Burda et al. 2016)


class VariationalBound(BagReconstruction):
    """loss(batch) as the objective's file says; `reconstruction` and `kl` are those of the bound, in nats a text."""

    def __init__(
        self,
        objective: "VariationalAutoencoder",
        encoder: DeepBagEncoder,
        words: np.ndarray,
        vocabulary: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__(encoder, words, vocabulary, generator)
        self.objective = objective
        self.log_variance = dense(encoder.widths[-2], encoder.dimensions, generator)

    def forward(self, batch: "Bags") -> dict[str, torch.Tensor]:
        mean_BD, log_variance_BD = self.posterior(*self.texts(batch))
        z_BD = mean_BD + (0.5 * log_variance_BD).exp() * torch.randn_like(mean_BD)
        log_M, _, weights_M = self.likelihoods(z_BD, batch)
        reconstruction = -(log_M * weights_M).sum() / len(z_BD)
        words = (weights_M.sum() / len(z_BD)).clamp_min(SMALLEST)
        divergence_D = gaussian_divergence(mean_BD, log_variance_BD).mean(0)
        beta = self.objective.beta_at(batch.begin)
        return {
            "loss": (reconstruction + beta * divergence_D.clamp_min(self.objective.free_nats).sum()) / words,
            "reconstruction": reconstruction,
            "kl": divergence_D.sum(),
            "active_units": active_units(mean_BD),
        }

    def posterior(self, ids: torch.Tensor, offsets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(mean, logarithm of the variance) of q(z|x), [B, D] each."""
        below = self.encoder.below(ids, offsets, len(self.encoder.upper))
        known = self.encoder.known(ids, offsets)
        mean_BD, log_variance_BD = self.encoder.upper[-1](below), self.log_variance(below)
        return torch.where(known, mean_BD, 0.0), torch.where(known, log_variance_BD, 0.0)


def gaussian_divergence(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """KL(N(mean, variance) ‖ N(0, 1)), entry by entry, in nats."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def active_units(mean_BD: torch.Tensor) -> torch.Tensor:
    """Share of entries whose mean varies over the texts."""
    return (mean_BD.var(0, correction=0) > ACTIVE).to(mean_BD.dtype).mean()
