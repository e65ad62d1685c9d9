"""Bootstrap your own latent: predict a slow copy's vector of a text's other view; there are no negatives.

Grill et al. 2020, "Bootstrap Your Own Latent", equation 2: ‖q̄(z) − z̄'‖² = 2 − 2 cos(q(z), z'), both ways summed; z is
the projection, q the predictor, z' the slow network's projection of the other view, through which no gradient flows.
Its weights follow the encoder's with a momentum that rises from its start to 1 in a cosine (section 3.2). Batch
normalisation is over the whole batch, whatever the number of processes.

Wants: as sim_cse. Requires: memory for a second encoder; an eye on uniformity and effective_rank in the curve, since
nothing but the predictor keeps the vectors apart.
Costs: two passes of the encoder over a text with gradients and two without.
Relation: sim_siam without the slow copy; moco with negatives.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict, Field

from sslcore.objectives.sentence_objective import ComparedTexts
from sslcore.objectives.text_views import Views

if TYPE_CHECKING:
    import torch

    from sslcore.models.encoder import Encoder


class BYOL(ComparedTexts):
    """A transformer by predicting what a slow copy says of a text's other view (BYOL)."""

    model_config = ConfigDict(title="Bootstrap your own latent")

    kind: Literal["byol"] = "byol"
    views: Views = Field(default="spans", description="Of a text: itself with other dropout, or two adjacent spans.")
    momentum: float = Field(default=0.996, ge=0, le=1, description="Of the slow weights, at the start; it rises to 1.")

    @property
    def two_views(self) -> Views:
        return self.views

    def loss(self, encoder: "Encoder", generator: "torch.Generator") -> "torch.nn.Module":
        from sslcore.objectives._byol import BootstrappedLatent

        return BootstrappedLatent(encoder.network, generator, momentum=self.momentum, chunk=self.chunk)
