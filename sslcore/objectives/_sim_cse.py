"""The loss of SimCSE, apart from its configuration."""

from typing import TYPE_CHECKING

import torch

from sslcore.objectives._vectors import drawing_from, vectors_of
from sslcore.training.collapse import collapse, unit
from sslcore.training.precision import exact

if TYPE_CHECKING:
    from sslcore.models.transformer import TransformerEncoder
    from sslcore.objectives.text_views import TextBatch


def in_batch_logits(first_BD: torch.Tensor, second_BD: torch.Tensor, temperature: float) -> torch.Tensor:
    """[B, B]: cos(first i, second j) / temperature."""
    return unit(first_BD) @ unit(second_BD).T / temperature


def found(logits_BJ: torch.Tensor, places_B: torch.Tensor) -> dict[str, torch.Tensor]:
    """loss: mean of −log softmax at each row's place, in nats; accuracy: share of rows whose place is the highest."""
    return {
        "loss": torch.nn.functional.cross_entropy(logits_BJ, places_B),
        "accuracy": (logits_BJ.argmax(dim=1) == places_B).to(logits_BJ.dtype).mean(),
    }


def sim_cse_loss(first_BD: torch.Tensor, second_BD: torch.Tensor, temperature: float) -> dict[str, torch.Tensor]:
    return found(in_batch_logits(first_BD, second_BD, temperature), torch.arange(len(first_BD), device=first_BD.device))


class SameSentence(torch.nn.Module):
    def __init__(
        self,
        encoder: "TransformerEncoder",
        generator: torch.Generator,
        *,
        temperature: float,
        head: str = "none",
        chunk: int = 0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head: torch.nn.Module = torch.nn.Identity()
        if head == "mlp":
            with drawing_from(generator):
                self.head = torch.nn.Sequential(
                    torch.nn.Linear(encoder.dimensions, encoder.dimensions), torch.nn.Tanh()
                )
        self.temperature = temperature
        self.chunk = chunk

    def forward(self, batch: "TextBatch") -> dict[str, torch.Tensor]:
        vectors_SD = vectors_of(self.encoder, batch, self.chunk)
        with exact(vectors_SD.device):
            first_BD, second_BD = self.head(vectors_SD).chunk(2)
            return {**sim_cse_loss(first_BD, second_BD, self.temperature), **collapse(*vectors_SD.chunk(2))}
