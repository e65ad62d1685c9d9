"""The decoder and loss of the convolutional autoencoder.

Letters: B texts, L places, C channels, E width of a word, M restored places, R words that can be restored.
"""

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch

from sslcore.models.bag_autoencoder import dense
from sslcore.models.convolutional import ConvolutionalEncoder, uniform_

if TYPE_CHECKING:
    from sslcore.objectives.convolutional_autoencoder import ConvolutionalAutoencoder, CutTexts

STRIDE = 2  # of the transposed convolutions


class SequenceReconstruction(torch.nn.Module):
    """loss(batch): mean over texts of the mean over restored places of −log p(word), in nats a word."""

    columns: torch.Tensor
    words: torch.Tensor

    def __init__(
        self,
        objective: "ConvolutionalAutoencoder",
        encoder: ConvolutionalEncoder,
        words: np.ndarray,
        vocabulary: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.temperature = objective.temperature
        self.channels = objective.channels
        self.first_length = -(-objective.maximum_tokens // STRIDE**objective.layers)
        self.unfold = dense(encoder.dimensions, self.channels * self.first_length, generator)
        kernel, widths = objective.kernel, [self.channels] * objective.layers + [objective.word_dimensions]
        convolutions = [
            torch.nn.ConvTranspose1d(i, o, kernel, STRIDE, kernel // 2, output_padding=1) for i, o in pairwise(widths)
        ]
        self.convolutions = torch.nn.ModuleList(convolutions)
        for convolution in convolutions:
            uniform_(convolution, self.channels * kernel // STRIDE, generator)
        self.register_buffer("words", torch.from_numpy(words))
        columns = torch.full((vocabulary,), -1)  # token id → its place among the words
        columns[self.words] = torch.arange(len(words))
        self.register_buffer("columns", columns)

    def forward(self, batch: "CutTexts") -> dict[str, torch.Tensor]:
        ids, offsets, restored = (
            torch.from_numpy(a).to(self.columns.device) for a in (batch.ids, batch.offsets, batch.restored)
        )
        states_BLE = self.decoded(self.encoder(ids, offsets))
        chosen_M = restored.nonzero().squeeze(1)
        rows_M = torch.searchsorted(offsets, chosen_M, right=True) - 1
        states_ME = states_BLE[rows_M, chosen_M - offsets[rows_M]]
        words_RE = torch.nn.functional.normalize(self.encoder.rows[self.words], dim=1)
        cosines_MR = torch.nn.functional.normalize(states_ME, dim=1) @ words_RE.T
        losses_M = torch.nn.functional.cross_entropy(
            cosines_MR / self.temperature, self.columns[ids[chosen_M]], reduction="none"
        )
        places_B = torch.bincount(rows_M, minlength=batch.weight)
        return {"loss": (losses_M / places_B[rows_M]).sum() / (places_B > 0).sum().clamp_min(1)}

    def decoded(self, embedding_BD: torch.Tensor) -> torch.Tensor:
        """[B, L, E]: a state for each place, of as many as the longest text has."""
        states = self.unfold(embedding_BD).unflatten(1, (self.channels, self.first_length))
        for convolution in self.convolutions:
            states = convolution(torch.tanh(states))
        return states.transpose(1, 2)
