"""The loss of causal language modelling, apart from its configuration: reading that needs no torch.

M tokens, each with a target, D dimensions, V vocabulary.
"""

from typing import TYPE_CHECKING

import torch
from torch.utils.checkpoint import checkpoint

from sslcore.models.ragged import Sequences

if TYPE_CHECKING:
    from sslcore.models.transformer import TransformerEncoder
    from sslcore.objectives.masked_lm import MaskedTexts

ROWS = 1024  # of logits at a time: all of them at once would be most of the memory of a step


def token_loss(
    states_MD: torch.Tensor, table_VD: torch.Tensor, targets_M: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(mean of −log p(target) in nats, share of targets that are the likeliest), p the softmax of states · tableᵀ."""
    losses, right = zip(
        *(
            checkpoint(_sums, states, table_VD, targets, use_reentrant=False, preserve_rng_state=False)
            for states, targets in zip(states_MD.split(ROWS), targets_M.split(ROWS), strict=True)
        ),
        strict=True,
    )
    return torch.stack(losses).sum() / len(targets_M), torch.stack(right).sum() / len(targets_M)


def _sums(
    states_RD: torch.Tensor, table_VD: torch.Tensor, targets_R: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    logits_RV = torch.nn.functional.linear(states_RD, table_VD)
    loss = torch.nn.functional.cross_entropy(logits_RV, targets_R, reduction="sum")
    return loss, (logits_RV.argmax(dim=1) == targets_R).float().sum()


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
        loss, accuracy = token_loss(states_MD, table_VD, targets_M)
        return {"loss": loss, "accuracy": accuracy}
