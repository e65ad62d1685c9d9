"""The loss of causal language modelling, apart from its configuration: reading that needs no torch.

M tokens, each with a target, D dimensions, V vocabulary.
"""

from typing import TYPE_CHECKING

import torch

from sslcore.models.ragged import Sequences
from sslcore.objectives._linear_cross_entropy import token_loss

if TYPE_CHECKING:
    from sslcore.models.transformer import TransformerEncoder
    from sslcore.objectives.masked_lm import MaskedTexts


class NextTokens(torch.nn.Module):
    """loss: mean of −log p(next token) over all tokens, in nats; accuracy: share of them that are right.

    The output matrix is the encoder's table of token vectors, so nothing is trained beside the encoder.
    """

    def __init__(self, encoder: "TransformerEncoder") -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, batch: "MaskedTexts") -> dict[str, torch.Tensor]:
        table_VD = self.encoder.model.get_input_embeddings().weight
        ids, targets_M = (torch.from_numpy(array).to(table_VD.device) for array in (batch.ids, batch.targets))
        states_MD = self.encoder.states(Sequences(ids, batch.offsets, causal=True))
        return token_loss(states_MD, table_VD, targets_M)
