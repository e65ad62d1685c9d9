"""The decoders and losses of the stacked autoencoder."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from sslcore.models.bag_autoencoder import DeepBagEncoder, dense
from sslcore.objectives._bag_reconstruction import BagReconstruction

if TYPE_CHECKING:
    from sslcore.objectives.bag_objective import Bags
    from sslcore.objectives.stacked_autoencoder import StackedAutoencoder


class StackedReconstruction(BagReconstruction):
    """loss(batch) of the layer whose turn it is; only its parameters, and its decoder's, get a gradient."""

    trains_in_turns = True

    def __init__(
        self,
        objective: "StackedAutoencoder",
        encoder: DeepBagEncoder,
        words: np.ndarray,
        vocabulary: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__(encoder, words, vocabulary, generator, decoded=encoder.widths[0])
        self.objective = objective
        self.decoders = torch.nn.ModuleList(
            dense(inputs, outputs, generator)
            for inputs, outputs in zip(encoder.widths[1:], encoder.widths[:-1], strict=True)
        )

    def forward(self, batch: "Bags") -> dict[str, torch.Tensor]:
        phase, _ = self.objective.phase(batch.begin, batch.end)
        if phase == 0:
            loss = self.restored(self.encoder.words(*self.texts(batch)), batch)
        elif phase < self.objective.layers:
            loss = self._of_states(phase, *self.texts(batch))
        else:
            states = self.encoder(*self.texts(batch))
            for decoder in reversed(self.decoders):
                states = torch.tanh(decoder(states))
            loss = self.restored(states, batch)
        return {"loss": loss, "phase": loss.new_tensor(phase)}

    def _of_states(self, layer: int, ids: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            below = self.encoder.below(ids, offsets, layer)
            below = below[self.encoder.known(ids, offsets).squeeze(1)]
            seen = below * (torch.rand_like(below) >= self.objective.deletion)
        states = torch.tanh(self.encoder.upper[layer - 1](seen))
        restored = torch.tanh(self.decoders[layer - 1](states))
        return (restored - below).square().sum() / max(1, below.numel())
