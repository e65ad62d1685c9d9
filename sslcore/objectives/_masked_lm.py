"""The head and loss of masked language modelling, apart from its configuration: reading that needs no torch.

M tokens with the frames, K predictions, D dimensions, V vocabulary.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch

from sslcore.models.architecture import activation, norm_epsilon
from sslcore.models.ragged import Sequences
from sslcore.objectives._linear_cross_entropy import token_loss
from sslcore.objectives.masked_lm import NOT_PREDICTED

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from sslcore.models.transformer import TransformerEncoder
    from sslcore.objectives.masked_lm import MaskedTexts


OURS = "masked_lm."  # the head among those of an encoder


class Transform(torch.nn.Module):
    """BERT's layer before the output matrix, to the width that the token vectors have: ELECTRA's are narrower."""

    def __init__(self, config: "PretrainedConfig", width: int) -> None:
        from transformers.activations import ACT2FN

        super().__init__()
        self.dense = torch.nn.Linear(config.hidden_size, width)
        self.activation = ACT2FN[activation(config)]
        self.LayerNorm = torch.nn.LayerNorm(width, eps=norm_epsilon(config))

    def forward(self, states_KD: torch.Tensor) -> torch.Tensor:
        normed: torch.Tensor = self.LayerNorm(self.activation(self.dense(states_KD)))
        return normed


class TokenHead(torch.nn.Module):
    """loss and accuracy of predictions by states [K, D]: BERT's head, its output matrix the encoder's token vectors."""

    def __init__(self, encoder: "TransformerEncoder", generator: torch.Generator) -> None:
        super().__init__()
        table = encoder.model.get_input_embeddings().weight
        self.transform = Transform(encoder.model.config, table.shape[1])
        self.bias = torch.nn.Parameter(torch.zeros(len(table)))
        with torch.no_grad():
            self.transform.dense.weight.normal_(0, encoder.model.config.initializer_range, generator=generator)
            self.transform.dense.bias.zero_()

    def forward(
        self, states_KD: torch.Tensor, table_VD: torch.Tensor, targets_K: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        return token_loss(self.transform(states_KD), table_VD, targets_K, self.bias)


class MaskedTokens(torch.nn.Module):
    """loss: mean of −log p(token) over the K predictions, in nats; accuracy: share of them that are right."""

    def __init__(
        self, encoder: "TransformerEncoder", generator: torch.Generator, heads: dict[str, torch.Tensor] | None = None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = TokenHead(encoder, generator)
        if heads:
            self.head.load_state_dict({name.removeprefix(OURS): tensor for name, tensor in heads.items()})

    def heads(self) -> dict[str, torch.Tensor]:
        """For training that goes on from the encoder."""
        return {OURS + name: tensor.detach().cpu() for name, tensor in self.head.state_dict().items()}

    def forward(self, batch: "MaskedTexts") -> dict[str, torch.Tensor]:
        table_VD = self.encoder.model.get_input_embeddings().weight
        device = table_VD.device
        sequences = Sequences(torch.from_numpy(batch.ids).to(device), batch.offsets)
        # Only the states that are asked for go through the head: the vocabulary is the widest layer of all.
        places = np.flatnonzero(batch.targets != NOT_PREDICTED)
        targets_K = torch.from_numpy(batch.targets[places]).to(device)
        states_KD = self.encoder.states(sequences)[torch.from_numpy(places).to(device)]
        return self.head(states_KD, table_VD, targets_K)
