"""Momentum contrast: find the other view of a text among the keys of many batches, which a slow encoder made.

He, Fan, Wu, Xie, Girshick 2020, "Momentum Contrast for Unsupervised Visual Representation Learning", equation 1:
−log exp(q·k⁺ / τ) / Σ_k exp(q·k / τ), and equation 2: θ_k ← m θ_k + (1 − m) θ_q before each batch. The keys of the
batch itself are in the queue already, as in Wu et al. 2022, "ESimCSE", so one of the queue's keys is the right one.
While the queue fills, its wrong keys count for the missing ones: the loss is that of a full queue from the first step,
where the paper's random keys would let it start near zero and rise.

Wants: many more texts than the queue has keys, else a text meets its own older keys as wrong ones. Requires: memory for
a second encoder. Relation: sim_cse (views: dropout) or info_nce (views: spans) with more negatives than a batch has.
Costs: one pass of the encoder over a text with gradients and one without.
"""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from sslcore.objectives.sentence_objective import ComparedTexts
from sslcore.objectives.text_views import Views

if TYPE_CHECKING:
    import torch

    from sslcore.models.encoder import Encoder


class MoCo(ComparedTexts):
    """A transformer by finding a text's other view in a queue of many (momentum contrast, MoCo)."""

    model_config = ConfigDict(title="Momentum contrast")

    kind: Literal["moco"] = "moco"
    views: Views = Field(default="spans", description="Of a text: itself with other dropout, or two adjacent spans.")
    temperature: float = Field(default=0.07, gt=0, le=10, description="Cosines are divided by it.")
    queue: int = Field(default=4096, ge=4, le=10_000_000, description="Keys that are kept, at least batch_size.")
    momentum: float = Field(default=0.999, ge=0, lt=1, description="Of the slow encoder's weights, kept at each step.")

    @model_validator(mode="after")
    def _queue_holds_a_batch(self) -> Any:
        if self.queue < self.batch_size:
            raise ValueError(f"queue is {self.queue}, less than batch_size {self.batch_size}: give a longer queue")
        return self

    @property
    def two_views(self) -> Views:
        return self.views

    def loss(self, encoder: "Encoder", generator: "torch.Generator") -> "torch.nn.Module":
        from sslcore.objectives._moco import MomentumContrast

        return MomentumContrast(
            encoder.network, temperature=self.temperature, queue=self.queue, momentum=self.momentum, chunk=self.chunk
        )
