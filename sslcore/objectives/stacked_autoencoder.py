"""A stacked autoencoder: layers learn one after another, each to restore what the one below says, then all together.

Bengio, Lamblin, Popovici, Larochelle 2007, "Greedy Layer-Wise Training of Deep Networks"; Vincent, Larochelle, Lajoie,
Bengio, Manzagol 2010, "Stacked Denoising Autoencoders". The first layer restores the words of the text (the loss of
bag_objective.py); layer k restores the states of layer k − 1, h, by tanh(V g + c) of its own states g, through the mean
squared error; at the end the decoders stand on one another and restore the words through all layers (Hinton,
Salakhutdinov 2006, figure 1). Where deletion is not 0, a layer sees a part of what it restores: of the words, or of the
states below, which then come from the whole text.

Which layer learns follows from the share of the run that is done; each begins with a warm-up of the rate.

Wants: documents of some length, tens of thousands of them. Requires: nothing else.
Costs: `autoencoder` once for each layer, and once for all together.
Relation: `denoising_autoencoder` with layers between the words and the vector; its probes on 20 Newsgroups and R52 are
below those of one layer.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict, Field

from sslcore.models.word_weights import sif_weights, word_counts
from sslcore.objectives.bag_objective import BagObjective
from sslcore.training.schedules import warmup_cosine

if TYPE_CHECKING:
    import torch

    from sslcore.models.bag_autoencoder import DeepBagEncoder
    from sslcore.models.encoder import Encoder
    from sslcore.tokenization.tokenizer import Tokenizer


class StackedAutoencoder(BagObjective):
    """Text vectors by restoring words through several layers, which learn one by one first (stacked autoencoder)."""

    model_config = ConfigDict(title="Stacked autoencoder")

    kind: Literal["stacked_autoencoder"] = "stacked_autoencoder"
    layers: int = Field(default=2, ge=2, le=20, description="Of the encoder; the decoder has as many.")
    hidden_dimensions: int = Field(default=512, ge=1, le=8192, description="Width of the layers below the last.")
    layerwise: float = Field(
        default=0.5, ge=0, lt=1, description="Share of the run in which layers learn one by one, an equal part each."
    )
    deletion: float = Field(
        default=0.0, ge=0, lt=1, description="Share of what a layer is to restore that is hidden from it."
    )

    def network(self, tokenizer: "Tokenizer", generator: "torch.Generator") -> "DeepBagEncoder":
        from sslcore.models.bag_autoencoder import DeepBagEncoder

        widths = [self.hidden_dimensions] * (self.layers - 1) + [self.dimensions]
        return DeepBagEncoder(sif_weights(word_counts(tokenizer)), widths, generator)

    def phase(self, begin: float, end: float) -> tuple[int, float]:
        """(which layer learns, from 0, or `layers` for all; share of that phase that is done).

        The last step is one of all layers, so that even a run of few steps leaves none untrained.
        """
        if begin < self.layerwise and end < 1:
            number, within = divmod(begin / self.layerwise * self.layers, 1)
            return int(number), within
        return self.layers, max(0.0, (begin - self.layerwise) / (1 - self.layerwise))

    def _rate(self, done: float) -> float:
        return warmup_cosine(self.learning_rate)(self.phase(done, done)[1])

    def _deletion(self, done: float) -> float:
        return self.deletion if self.phase(done, done)[0] in (0, self.layers) else 0.0

    def _loss(self, encoder: "Encoder", generator: "torch.Generator") -> "torch.nn.Module":
        from sslcore.objectives._stacked_reconstruction import StackedReconstruction

        return StackedReconstruction(self, *self._restoring(encoder), generator)
