"""InfoNCE over adjacent spans: which of the batch's spans stands beside this one in its document?

The loss of van den Oord, Li, Vinyals 2018, "Representation Learning with Contrastive Predictive Coding", equation 4,
with cosines over a temperature, both ways: ½ CE(left → right) + ½ CE(right → left). Positives as the adjacent ones of
Giorgi, Nitski, Wang, Bader 2021, "DeCLUTR", section 3.1, and Logeswaran & Lee 2018, "Quick Thoughts": a block of a
document is cut at a place drawn in its middle half, anew in each epoch.

Wants: documents of several sentences, a hundred thousand or more. Requires: two documents of 2 × minimum_tokens.
Costs: one pass of the encoder over each of two spans; with `chunk`, one more without gradients.
Relation: sim_cse's views share every word, these share a topic; cpc predicts what follows instead of matching it.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict, Field

from sslcore.objectives.sentence_objective import ComparedTexts

if TYPE_CHECKING:
    import torch

    from sslcore.models.encoder import Encoder


class InfoNCE(ComparedTexts):
    """A transformer by matching spans that stand side by side in a document (InfoNCE)."""

    model_config = ConfigDict(title="InfoNCE of adjacent spans")

    kind: Literal["info_nce"] = "info_nce"
    temperature: float = Field(default=0.05, gt=0, le=10, description="Cosines are divided by it.")

    @property
    def two_views(self) -> Literal["spans"]:
        return "spans"

    def loss(self, encoder: "Encoder", generator: "torch.Generator") -> "torch.nn.Module":
        from sslcore.objectives._info_nce import AdjacentSpans

        return AdjacentSpans(encoder.network, temperature=self.temperature, chunk=self.chunk)
