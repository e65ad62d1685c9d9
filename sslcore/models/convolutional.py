"""A convolutional encoder of texts: words as vectors, convolutions along the text, their mean over it, squashed.

Zhang, Shen, Wang, Gan, Henao, Carin 2017, "Deconvolutional Paragraph Representation Learning", section 2.1, but that a
text's vector should not depend on where in it a thing is said. Their convolutions have stride 2, so that a word means
one thing at an even place and another at an odd: untrained ones probed at chance. Their last spans the whole text. Here
the stride is 1, and the mean of the states goes through a dense layer; tanh stands for ReLU, whose states share a
mean that hides the rest. Word vectors are scaled by the words' SIF weights.

Letters: N tokens, B texts, L tokens of the longest text, E width of a word, C channels, D dimensions.
"""

from itertools import pairwise

import numpy as np
import torch

from sslcore.models.bag_autoencoder import dense

TEXTS_AT_ONCE = 256  # of any batch: memory for the padded states of more would be gigabytes
INITIAL_SPREAD = 0.1


class ConvolutionalEncoder(torch.nn.Module):
    """forward(ids int64 [N], offsets int64 [B + 1]) -> float32 [B, D]; zeros for no known word.

    A text is its first `maximum_tokens` known words, those of a weight that is not 0.
    """

    weights: torch.Tensor

    def __init__(
        self,
        token_weights: np.ndarray,
        generator: torch.Generator,
        *,
        word_dimensions: int,
        channels: int,
        layers: int,
        kernel: int,
        dimensions: int,
        maximum_tokens: int,
    ) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.maximum_tokens = maximum_tokens
        self.register_buffer("weights", torch.from_numpy(token_weights.astype(np.float32)))
        self.rows = torch.nn.Parameter(torch.empty(len(token_weights), word_dimensions))
        widths = [word_dimensions] + [channels] * layers
        convolutions = [torch.nn.Conv1d(i, o, kernel, padding=kernel // 2) for i, o in pairwise(widths)]
        self.convolutions = torch.nn.ModuleList(convolutions)
        self.out = dense(channels, dimensions, generator)
        with torch.no_grad():
            self.rows.normal_(0, INITIAL_SPREAD, generator=generator)
            for convolution in convolutions:
                uniform_(convolution, convolution.in_channels * kernel, generator)

    def forward(self, ids_N: torch.Tensor, offsets_B: torch.Tensor) -> torch.Tensor:
        ids_BL, lengths_B = self.padded(ids_N, offsets_B)
        parts = zip(ids_BL.split(TEXTS_AT_ONCE), lengths_B.split(TEXTS_AT_ONCE), strict=True)
        return torch.cat([self._vectors(*part) for part in parts])

    def padded(self, ids_N: torch.Tensor, offsets_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(ids int64 [B, L], lengths int64 [B]): the known words of each text, cut; any id where no word stands."""
        known_N = self.weights[ids_N] > 0
        before = torch.nn.functional.pad(known_N.cumsum(0), (1, 0))
        starts_B = before[offsets_B[:-1]]
        lengths_B = (before[offsets_B[1:]] - starts_B).clamp_max(self.maximum_tokens)
        places_L = torch.arange(max(1, int(lengths_B.max())), device=ids_N.device)
        words = torch.nn.functional.pad(ids_N[known_N], (0, 1))
        places_BL = (starts_B[:, None] + places_L).clamp_max(len(words) - 1)
        return words[places_BL], lengths_B

    def _vectors(self, ids_BL: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        states = (self.rows[ids_BL] * self.weights[ids_BL].unsqueeze(2)).transpose(1, 2)
        states = within(states, lengths_B)
        for convolution in self.convolutions:
            states = within(torch.tanh(convolution(states)), lengths_B)
        mean_BC = states.sum(2) / lengths_B.clamp_min(1).unsqueeze(1)
        return torch.where(lengths_B.unsqueeze(1) > 0, torch.tanh(self.out(mean_BC)), 0.0)

    def layer_groups(self) -> list[tuple[str, list[str]]]:
        numbers = range(len(self.convolutions))
        convolutions = [
            (f"convolution {n + 1}", [f"convolutions.{n}.weight", f"convolutions.{n}.bias"]) for n in numbers
        ]
        return [("words", ["rows"]), *convolutions, ("out", ["out.weight", "out.bias"])]


def within(states_BCL: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
    """The states with zeros behind the end of each text, as a convolution takes what lies outside to be."""
    places_L = torch.arange(states_BCL.shape[2], device=states_BCL.device)
    return states_BCL * (places_L < lengths_B[:, None]).unsqueeze(1)


def uniform_(layer: torch.nn.Conv1d | torch.nn.ConvTranspose1d, inputs: int, generator: torch.Generator) -> None:
    """Weights that keep the size of a ReLU's states (He et al. 2015), no offset."""
    with torch.no_grad():
        bound = (6 / inputs) ** 0.5
        layer.weight.uniform_(-bound, bound, generator=generator)
        assert layer.bias is not None
        layer.bias.zero_()
