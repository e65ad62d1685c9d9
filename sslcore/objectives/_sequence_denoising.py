"""The decoder and the loss of sequence denoising, apart from the configuration: reading that needs no torch.

B texts, N tokens that are predicted, L of the longest text, D dimensions, V vocabulary.
"""

import copy
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from sslcore.models.dropout import draw_quickly
from sslcore.models.ragged import Sequences
from sslcore.objectives._linear_cross_entropy import token_loss
from sslcore.randomness import drawn_from, drawn_seed

if TYPE_CHECKING:
    from sslcore.models.transformer import TransformerEncoder
    from sslcore.objectives.tsdae import DamagedTexts


class SaidAgain(torch.nn.Module):
    """loss: mean of −log p(token) over all tokens the decoder says, in nats; accuracy: share that is guessed.

    The decoder is BERT's layers with attention to the encoder's states, as in BART; both it and its output share the
    encoder's table of token vectors. Its texts are padded, and padding is never predicted.
    """

    def __init__(self, encoder: "TransformerEncoder", generator: torch.Generator, *, layers: int) -> None:
        from transformers import BertModel

        super().__init__()
        self.encoder = encoder
        config = copy.deepcopy(encoder.model.config)
        config.is_decoder = config.add_cross_attention = True
        config.use_cache = False
        config.num_hidden_layers = layers
        config.max_position_embeddings = 2 * encoder.maximum_tokens  # masks stand between what is hidden
        with drawn_from(drawn_seed(generator)):
            self.decoder = BertModel._from_config(config, attn_implementation="sdpa", add_pooling_layer=False)
        draw_quickly(self.decoder)
        self.decoder.set_input_embeddings(encoder.model.get_input_embeddings())

    def forward(self, batch: "DamagedTexts") -> dict[str, torch.Tensor]:
        table_VD = self.encoder.model.get_input_embeddings().weight
        device = table_VD.device
        states_MD = self.encoder.states(Sequences(torch.from_numpy(batch.ids).to(device), batch.offsets))
        said = torch.from_numpy(batch.whole_ids).to(device)
        last = np.zeros(len(batch.whole_ids), bool)
        last[batch.whole_offsets[1:] - 1] = True  # each token but the last of a text is asked what follows
        places_N = torch.from_numpy(np.flatnonzero(~last)).to(device)
        lengths = np.diff(batch.whole_offsets) - 1
        read_BL, inside_BL = _padded(said[places_N], lengths)
        states_BLD, seen_BL = _padded(states_MD, np.diff(batch.offsets))
        decoded = self.decoder(
            input_ids=read_BL,
            attention_mask=inside_BL.long(),
            encoder_hidden_states=states_BLD,
            encoder_attention_mask=seen_BL.long(),
        ).last_hidden_state[inside_BL]
        return token_loss(decoded, table_VD, said[places_N + 1])


def _padded(rows: torch.Tensor, lengths: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """([B, L, …] of the rows of B texts one after another, bool [B, L]: what is no padding)."""
    inside = torch.arange(int(lengths.max())) < torch.from_numpy(lengths)[:, None]
    return pad_sequence(rows.split(lengths.tolist()), batch_first=True), inside.to(rows.device)
