"""A sparse autoencoder over bags of words: restore a text's words from a vector in which few entries are large.

    loss = reconstruction + weight × Σ_j KL(ρ ‖ mean over texts of h_j)
    KL(ρ ‖ q) = ρ log ρ/q + (1 − ρ) log (1 − ρ)/(1 − q)

Ng 2011, "Sparse autoencoder" (CS294A lecture notes), section 3, with sigmoid units h; the mean is the batch's. A target
for the mean activation, by a squared difference, is Lee, Ekanadham, Ng 2008, "Sparse Deep Belief Net Model for Visual
Area V2". With `penalty: l1` it is weight × mean over texts of Σ_j |h_j|.

The decoder is given (h − ρ) / √(ρ (1 − ρ)): the same decoder, written so that what all units share does not hide the
rest. Given h itself, the probe on R52 fell below that of an untrained encoder.

Wants: documents of some length, tens of thousands of them; for `kl`, batches that are large against 1/ρ. Requires:
nothing else. Relation: `autoencoder` with sigmoid for tanh, and a penalty. Of several processes each takes the mean
activation of its own texts.
Costs: as `autoencoder`.
"""

import math
from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict, Field

from sslcore.models.word_weights import sif_weights, word_counts
from sslcore.objectives.bag_objective import BagObjective

if TYPE_CHECKING:
    import torch

    from sslcore.models.bag_autoencoder import BagEncoder
    from sslcore.models.encoder import Encoder
    from sslcore.tokenization.tokenizer import Tokenizer


class SparseAutoencoder(BagObjective):
    """Text vectors by restoring words from a few active entries (sparse autoencoder over bags of words)."""

    model_config = ConfigDict(title="Sparse autoencoder")

    kind: Literal["sparse_autoencoder"] = "sparse_autoencoder"
    penalty: Literal["kl", "l1"] = Field(
        default="kl", description="On the mean activation, by its divergence from a target, or on every activation."
    )
    penalty_weight: float = Field(default=0.001, ge=0, description="Of the penalty beside the reconstruction.")
    target_activation: float = Field(
        default=0.1, gt=0, lt=1, description="Mean activation that `kl` draws to; units start there."
    )

    def network(self, tokenizer: "Tokenizer", generator: "torch.Generator") -> "BagEncoder":
        import torch

        from sslcore.models.bag_autoencoder import BagEncoder

        weights, start = sif_weights(word_counts(tokenizer)), self.target_activation
        bias = math.log(start / (1 - start))
        return BagEncoder(weights, self.dimensions, generator, activation=torch.sigmoid, bias=bias)

    def _loss(self, encoder: "Encoder", generator: "torch.Generator") -> "torch.nn.Module":
        from sslcore.objectives._penalised_reconstruction import SparseReconstruction

        return SparseReconstruction(self, *self._restoring(encoder), generator)
