"""SimSiam: predict the encoder's own vector of a text's other view, which is taken as given.

Chen & He 2021, "Exploring Simple Siamese Representation Learning", equation 2: ½ D(p₁, z₂) + ½ D(p₂, z₁) with
D = −cos, z the projection, p the predictor's output, and no gradient through z. One is added, so that the loss is never
negative. The predictor has a bottleneck of a quarter of the width (section 3).

Wants: as sim_cse. Requires: an eye on uniformity and effective_rank in the curve, as byol.
Costs: two passes of the encoder over a text.
Relation: byol without the slow copy, in half the memory.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict, Field

from sslcore.objectives.sentence_objective import ComparedTexts
from sslcore.objectives.text_views import Views

if TYPE_CHECKING:
    import torch

    from sslcore.models.encoder import Encoder


class SimSiam(ComparedTexts):
    """A transformer by predicting its own vector of a text's other view (SimSiam)."""

    model_config = ConfigDict(title="SimSiam")

    kind: Literal["sim_siam"] = "sim_siam"
    views: Views = Field(default="spans", description="Of a text: itself with other dropout, or two adjacent spans.")

    @property
    def rate_share(self) -> float:
        """At the size's rate the vectors lose most of their directions (docs/objectives.md, "Learning rates")."""
        return 0.15

    @property
    def two_views(self) -> Views:
        return self.views

    def loss(self, encoder: "Encoder", generator: "torch.Generator") -> "torch.nn.Module":
        from sslcore.objectives._sim_siam import SimpleSiamese

        return SimpleSiamese(encoder.network, generator, chunk=self.chunk)
