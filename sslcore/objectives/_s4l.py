"""The classifier of S4L and its loss, apart from the configuration: reading that needs no torch.

B texts, D dimensions, C labels.
"""

from typing import TYPE_CHECKING

import torch

from sslcore.models.ragged import Sequences
from sslcore.objectives._vectors import drawing_from

if TYPE_CHECKING:
    from sslcore.models.transformer import TransformerEncoder
    from sslcore.objectives.s4l import LabelledBatch


class Classifier(torch.nn.Module):
    """loss: mean of −log p(label) over the texts, in nats; accuracy: share of them whose label is the likeliest."""

    def __init__(self, encoder: "TransformerEncoder", generator: torch.Generator, *, labels: int) -> None:
        super().__init__()
        self.encoder = encoder
        with drawing_from(generator):
            self.head = torch.nn.Linear(encoder.dimensions, labels)

    def forward(self, batch: "LabelledBatch") -> dict[str, torch.Tensor]:
        device = self.head.weight.device
        sequences = Sequences(torch.from_numpy(batch.ids).to(device), batch.offsets)
        labels_B = torch.from_numpy(batch.labels).to(device)
        logits_BC = self.head(self.encoder.pooled(self.encoder.states(sequences), sequences))
        texts = max(1, batch.weight)  # a process's share of a small batch may be empty
        loss = torch.nn.functional.cross_entropy(logits_BC, labels_B, reduction="sum") / texts
        return {"loss": loss, "accuracy": (logits_BC.argmax(dim=1) == labels_B).float().sum() / texts}
