"""The heads and the loss of BYOL, apart from its configuration."""

import copy
import math
from typing import TYPE_CHECKING

import torch

from sslcore.objectives._vectors import drawing_from, perceptron, update_towards, vectors_of
from sslcore.training.collapse import collapse
from sslcore.training.precision import exact

if TYPE_CHECKING:
    from sslcore.models.transformer import TransformerEncoder
    from sslcore.objectives.text_views import TextBatch


def byol_loss(predicted_BD: torch.Tensor, target_BD: torch.Tensor) -> torch.Tensor:
    """Mean of 2 − 2 cos; the target is taken as given."""
    return (2 - 2 * torch.nn.functional.cosine_similarity(predicted_BD, target_BD.detach())).mean()


def momentum_at(done: float, start: float) -> float:
    """1 − (1 − start) (cos(π done) + 1) / 2."""
    return 1 - (1 - start) * (math.cos(math.pi * done) + 1) / 2


class BootstrappedLatent(torch.nn.Module):
    def __init__(
        self, encoder: "TransformerEncoder", generator: torch.Generator, *, momentum: float, chunk: int = 0
    ) -> None:
        super().__init__()
        width = encoder.dimensions
        self.encoder = encoder
        with drawing_from(generator):
            self.projector = perceptron(width, 2 * width, width)
            self.predictor = perceptron(width, 2 * width, width)
        self.slow = copy.deepcopy(encoder).requires_grad_(False)
        self.slow_projector = copy.deepcopy(self.projector).requires_grad_(False)
        self.momentum = momentum
        self.chunk = chunk

    def forward(self, batch: "TextBatch") -> dict[str, torch.Tensor]:
        vectors_SD = vectors_of(self.encoder, batch, self.chunk)
        with torch.no_grad():
            momentum = momentum_at(batch.begin, self.momentum)
            update_towards(self.slow, self.encoder, momentum)
            update_towards(self.slow_projector, self.projector, momentum)
            slow_SD = vectors_of(self.slow, batch, self.chunk)
        with exact(vectors_SD.device):
            projected = [self.projector(view) for view in vectors_SD.chunk(2)]
            predicted = [self.predictor(view) for view in projected]
            targets = [self.slow_projector(view) for view in slow_SD.chunk(2)]
            loss = byol_loss(predicted[0], targets[1]) + byol_loss(predicted[1], targets[0])
            measures = collapse(*vectors_SD.chunk(2)) | collapse(projected[0], of="projection_")
            return {"loss": loss, **measures}
