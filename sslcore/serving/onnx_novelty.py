"""How novel a row is, as a part of an ONNX graph: the scores of finetuning/novelty.py, in torch.

B rows, C classes, D dimensions.
"""

from typing import TYPE_CHECKING

import torch
from torch import nn

from sslcore.finetuning.novelty import NEIGHBOURS

if TYPE_CHECKING:
    from sslcore.finetuning.novelty import Detector


class NoveltyOutputs(nn.Module):
    """forward(logits [B, C] before the temperature, features [B, D]) -> `novelty`, float32 [B], and `is_novel`."""

    means: torch.Tensor
    whitening: torch.Tensor
    rows: torch.Tensor

    def __init__(self, detector: "Detector") -> None:
        super().__init__()
        self.score, self.threshold = detector.description.score, detector.description.threshold
        for name, array in detector.arrays.items():
            self.register_buffer(name, torch.from_numpy(array))

    def forward(self, logits_BC: torch.Tensor, features_BD: torch.Tensor) -> dict[str, torch.Tensor]:
        novelty_B = getattr(self, f"_{self.score}")(logits_BC.double(), features_BD)
        return {"novelty": novelty_B.float(), "is_novel": novelty_B > self.threshold}

    def _softmax(self, logits_BC: torch.Tensor, features_BD: torch.Tensor) -> torch.Tensor:
        sorted_BC = logits_BC.topk(logits_BC.shape[1], dim=1).values
        others_B = (sorted_BC[:, 1:] - sorted_BC[:, :1]).exp().sum(dim=1)
        return others_B / (1 + others_B)

    def _energy(self, logits_BC: torch.Tensor, features_BD: torch.Tensor) -> torch.Tensor:
        return -logits_BC.logsumexp(dim=1)

    def _mahalanobis(self, logits_BC: torch.Tensor, features_BD: torch.Tensor) -> torch.Tensor:
        whitened_BD, means_CD = features_BD.double() @ self.whitening.double(), self.means.double()
        squares_BC = (whitened_BD**2).sum(dim=1, keepdim=True) + (means_CD**2).sum(dim=1) - 2 * whitened_BD @ means_CD.T
        return squares_BC.amin(dim=1).clamp(min=0)

    def _nearest(self, logits_BC: torch.Tensor, features_BD: torch.Tensor) -> torch.Tensor:
        likeness_BR = nn.functional.normalize(features_BD) @ self.rows.T
        nearest_B = likeness_BR.topk(min(NEIGHBOURS, len(self.rows)), dim=1).values[:, -1]
        return (2 - 2 * nearest_B.double()).clamp(min=0).sqrt()
