"""The decoder and the loss of TSDAE, apart from its configuration.

B texts, N tokens that are predicted, D dimensions, V vocabulary.
"""

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sslcore.models.ragged import Sequences
from sslcore.objectives._masked_lm import TokenHead
from sslcore.objectives._vectors import drawing_from
from sslcore.training.collapse import collapse

if TYPE_CHECKING:
    from sslcore.models.transformer import TransformerEncoder
    from sslcore.objectives.tsdae import DamagedTexts


class _ToTokens(torch.autograd.Function):
    """[N, D] of [B, D]: each text's row for each of its tokens. The sums of the way back keep one order."""

    @staticmethod
    def forward(ctx: Any, rows_BD: torch.Tensor, offsets_B: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(offsets_B)
        return rows_BD.repeat_interleave(offsets_B.diff(), dim=0)

    @staticmethod
    def backward(ctx: Any, gradient_ND: torch.Tensor) -> tuple[torch.Tensor, None]:
        sums_BD = torch.segment_reduce(gradient_ND.float(), "sum", offsets=ctx.saved_tensors[0])
        return sums_BD.to(gradient_ND.dtype), None


class VectorAttention(torch.nn.Module):
    """Attention to one vector for all tokens of a text, with what follows attention in BERT's layers."""

    def __init__(self, config: Any) -> None:
        from transformers.models.bert.modeling_bert import BertSelfOutput

        super().__init__()
        self.value = torch.nn.Linear(config.hidden_size, config.hidden_size)
        self.output = BertSelfOutput(config)
        for linear in (self.value, self.output.dense):
            torch.nn.init.normal_(linear.weight, 0, config.initializer_range)
            torch.nn.init.zeros_(linear.bias)

    def forward(self, states_ND: torch.Tensor, vectors_BD: torch.Tensor, offsets_B: torch.Tensor) -> torch.Tensor:
        said_ND = _ToTokens.apply(self.output.dense(self.value(vectors_BD)), offsets_B)
        return self.output.LayerNorm(self.output.dropout(said_ND) + states_ND)


class RestoredSentences(torch.nn.Module):
    """loss: mean of −log p(token) over all tokens of the whole texts, in nats; accuracy: share that is guessed."""

    def __init__(self, encoder: "TransformerEncoder", generator: torch.Generator, *, tied: bool = True) -> None:
        super().__init__()
        self.encoder = encoder
        config = encoder.model.config
        with drawing_from(generator):
            self.cross = torch.nn.ModuleList(VectorAttention(config) for _ in range(config.num_hidden_layers))
        self.head = TokenHead(encoder, generator)
        self.own: Any = None
        if not tied:
            self.own = copy.deepcopy(encoder.model)
            self.own.set_input_embeddings(encoder.model.get_input_embeddings())

    def forward(self, batch: "DamagedTexts") -> dict[str, torch.Tensor]:
        table_VD = self.encoder.model.get_input_embeddings().weight
        device = table_VD.device
        damaged = Sequences(torch.from_numpy(batch.ids).to(device), batch.offsets)
        vectors_BD = self.encoder.pooled(self.encoder.states(damaged), damaged).float()

        lengths = np.diff(batch.whole_offsets) - 1  # each token but the last of a text is asked what follows
        asked = np.ones(len(batch.whole_ids), bool)
        asked[batch.whole_offsets[1:] - 1] = False
        read = Sequences(
            torch.from_numpy(batch.whole_ids[asked]).to(device), np.concatenate([[0], np.cumsum(lengths)]), causal=True
        )
        targets_N = torch.from_numpy(batch.whole_ids[np.flatnonzero(asked) + 1]).to(device)
        said = self.head(self.decoded(read, vectors_BD), table_VD, targets_N)
        return {**said, **collapse(vectors_BD)}

    def decoded(self, read: Sequences, vectors_BD: torch.Tensor) -> torch.Tensor:
        """[N, D]: the decoder's last states, each having seen the tokens up to its own and its text's vector."""
        model: Any = self.own or self.encoder.model
        states_1ND = model.embeddings(input_ids=read.ids[None], position_ids=read.positions[None])
        for layer, cross in zip(model.encoder.layer, self.cross, strict=True):
            attended_1ND, _ = layer.attention(states_1ND, None, sequences=read)
            states_1ND = layer.feed_forward_chunk(cross(attended_1ND[0], vectors_BD, read.bounds)[None])
        return states_1ND[0]
