"""The loss of InfoNCE over adjacent spans, apart from its configuration."""

from typing import TYPE_CHECKING

import torch

from sslcore.objectives._sim_cse import sim_cse_loss
from sslcore.objectives._vectors import vectors_of
from sslcore.training.collapse import collapse
from sslcore.training.precision import exact

if TYPE_CHECKING:
    from sslcore.models.transformer import TransformerEncoder
    from sslcore.objectives.text_views import TextBatch


def info_nce_loss(first_BD: torch.Tensor, second_BD: torch.Tensor, temperature: float) -> dict[str, torch.Tensor]:
    """The mean of both directions."""
    there = sim_cse_loss(first_BD, second_BD, temperature)
    back = sim_cse_loss(second_BD, first_BD, temperature)
    return {name: (there[name] + back[name]) / 2 for name in there}


class AdjacentSpans(torch.nn.Module):
    def __init__(self, encoder: "TransformerEncoder", *, temperature: float, chunk: int = 0) -> None:
        super().__init__()
        self.encoder = encoder
        self.temperature = temperature
        self.chunk = chunk

    def forward(self, batch: "TextBatch") -> dict[str, torch.Tensor]:
        vectors_SD = vectors_of(self.encoder, batch, self.chunk)
        with exact(vectors_SD.device):
            first_BD, second_BD = vectors_SD.chunk(2)
            return {**info_nce_loss(first_BD, second_BD, self.temperature), **collapse(first_BD, second_BD)}
