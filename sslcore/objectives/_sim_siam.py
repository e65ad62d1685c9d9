"""The heads and the loss of SimSiam, apart from its configuration."""

from typing import TYPE_CHECKING

import torch

from sslcore.objectives._vectors import drawing_from, perceptron, vectors_of
from sslcore.training.collapse import collapse
from sslcore.training.precision import exact

if TYPE_CHECKING:
    from sslcore.models.transformer import TransformerEncoder
    from sslcore.objectives.text_views import TextBatch


def sim_siam_loss(
    predicted: tuple[torch.Tensor, torch.Tensor], projected: tuple[torch.Tensor, torch.Tensor]
) -> torch.Tensor:
    """1 − ½ cos(p₁, z₂) − ½ cos(p₂, z₁), mean over the batch; the z are taken as given."""
    there, back = (
        torch.nn.functional.cosine_similarity(predicted[i], projected[1 - i].detach()).mean() for i in (0, 1)
    )
    return 1 - (there + back) / 2


class SimpleSiamese(torch.nn.Module):
    def __init__(self, encoder: "TransformerEncoder", generator: torch.Generator, *, chunk: int = 0) -> None:
        super().__init__()
        width = encoder.dimensions
        self.encoder = encoder
        with drawing_from(generator):
            self.projector = perceptron(width, width, width)
            self.projector.append(torch.nn.BatchNorm1d(width, track_running_stats=False))
            self.predictor = perceptron(width, max(1, width // 4), width)
        self.chunk = chunk

    def forward(self, batch: "TextBatch") -> dict[str, torch.Tensor]:
        vectors_SD = vectors_of(self.encoder, batch, self.chunk)
        with exact(vectors_SD.device):
            first, second = (self.projector(view) for view in vectors_SD.chunk(2))
            loss = sim_siam_loss((self.predictor(first), self.predictor(second)), (first, second))
            # The loss compares the projections: they collapse first, and while a text's vector still differs.
            measures = collapse(*vectors_SD.chunk(2)) | collapse(first, of="projection_")
            return {"loss": loss, **measures}
