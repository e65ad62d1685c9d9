"""A contractive autoencoder over bags of words: restore a text's words from a vector that small changes do not move.

    loss = reconstruction + weight × mean over texts of ‖∂h/∂x‖²
    ‖∂h/∂x‖² = Σ_j (1 − h_j²)² ‖W_j‖²  for h = tanh(W x + b)

Rifai, Vincent, Muller, Glorot, Bengio 2011, "Contractive Auto-Encoders", equation 2 (there with sigmoid units).
x is what enters the network, the weighted bag after it is scaled to unit length, with an entry for every token of the
vocabulary; the scaling itself is not part of the Jacobian, as pixels scaled beforehand are not in the paper.
W_j is the column of the word vectors' matrix for unit j. A step costs a pass over that matrix, and its gradient.

Wants: documents of some length, tens of thousands of them. Requires: nothing else.
Costs: as `autoencoder`; the penalty reads the weights of the words of a document once more.
Relation: `autoencoder` and a penalty; where `denoising_autoencoder` makes the words restored robust to lost input, this
makes the vector itself so, in all directions at once and without noise.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict, Field

from sslcore.objectives.bag_objective import BagObjective

if TYPE_CHECKING:
    import torch

    from sslcore.models.encoder import Encoder


class ContractiveAutoencoder(BagObjective):
    """Text vectors by restoring words, steady under small changes of the text (contractive autoencoder over bags)."""

    model_config = ConfigDict(title="Contractive autoencoder")

    kind: Literal["contractive_autoencoder"] = "contractive_autoencoder"
    contraction: float = Field(
        default=1e-5,
        ge=0,
        description="Weight of the squared norm of the encoder's Jacobian beside the reconstruction.",
    )

    def _loss(self, encoder: "Encoder", generator: "torch.Generator") -> "torch.nn.Module":
        from sslcore.objectives._penalised_reconstruction import ContractiveReconstruction

        return ContractiveReconstruction(self, *self._restoring(encoder), generator)
