"""The heads and the loss of order, apart from the configurations: reading those needs no torch.

M tokens with the frames, B sequences, D dimensions, K masked tokens, V vocabulary.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch

from sslcore.models.ragged import Sequences
from sslcore.objectives._masked_lm import TokenHead
from sslcore.objectives.masked_lm import NOT_PREDICTED

if TYPE_CHECKING:
    from sslcore.models.transformer import TransformerEncoder
    from sslcore.objectives.pair_objective import PairedTexts


def summed(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """−Σ log p(target) over the rows that have one, in nats."""
    return torch.nn.functional.cross_entropy(logits, targets, reduction="sum", ignore_index=NOT_PREDICTED)


class OrderedPairs(torch.nn.Module):
    """loss: order_loss, the mean of −log p(b follows a, or not) over the pairs, in nats, and masked_loss if asked for.

    The head is BERT's: a dense layer with tanh on the first token's state, and two logits.
    """

    def __init__(self, encoder: "TransformerEncoder", generator: torch.Generator, *, restores: bool) -> None:
        super().__init__()
        self.encoder = encoder
        width = encoder.dimensions
        self.pooler = torch.nn.Linear(width, width)
        self.order = torch.nn.Linear(width, 2)
        with torch.no_grad():
            for layer in (self.pooler, self.order):
                layer.weight.normal_(0, encoder.model.config.initializer_range, generator=generator)
                layer.bias.zero_()
        self.head = TokenHead(encoder, generator) if restores else None

    def forward(self, batch: "PairedTexts") -> dict[str, torch.Tensor]:
        table_VD = self.encoder.model.get_input_embeddings().weight
        ids, kinds, targets_M, wrong_B = (
            torch.from_numpy(array).to(table_VD.device)
            for array in (batch.ids, batch.kinds, batch.targets, batch.wrong)
        )
        sequences = Sequences(ids, batch.offsets, kinds)
        states_MD = self.encoder.states(sequences)
        logits_B2 = self.order(torch.tanh(self.pooler(states_MD[sequences.starts])))
        pairs = max(batch.pairs * batch.weight, 1e-9)  # a step may, now and then, have none
        order_loss = summed(logits_B2, wrong_B) / pairs
        metrics = {"order_loss": order_loss, "accuracy": (logits_B2.argmax(dim=1) == wrong_B).float().sum() / pairs}
        if self.head is None:
            return {"loss": order_loss, "accuracy": metrics["accuracy"]}
        places_K = torch.from_numpy(np.flatnonzero(batch.targets != NOT_PREDICTED)).to(table_VD.device)
        mean = self.head(states_MD[places_K], table_VD, targets_M[places_K])["loss"]
        masked_loss = mean * len(places_K) / max(batch.masked * batch.weight, 1e-9)
        return {"loss": order_loss + masked_loss, **metrics, "masked_loss": masked_loss}
