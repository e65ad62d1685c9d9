"""The generator, the head and the losses of ELECTRA, apart from the configuration: reading that needs no torch.

M tokens with the frames, K of them masked, D dimensions of the encoder, V vocabulary.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch

from sslcore.models import ragged
from sslcore.models.dropout import draw_quickly
from sslcore.models.ragged import Sequences
from sslcore.objectives._linear_cross_entropy import linear_cross_entropy
from sslcore.objectives.masked_lm import NOT_PREDICTED
from sslcore.randomness import drawn_from, drawn_seed

if TYPE_CHECKING:
    from sslcore.models.transformer import TransformerEncoder
    from sslcore.objectives.replaced_tokens import ReplacedTexts


def detection_sum(judged_M: torch.Tensor, replaced_M: torch.Tensor) -> torch.Tensor:
    """Σ of −log D of the original and −log (1 − D) of the replaced, in nats.

    `judged` is the logit of a token being replaced, as in the authors' program; D is the probability of the original.
    """
    return torch.nn.functional.binary_cross_entropy_with_logits(
        judged_M, replaced_M.to(judged_M.dtype), reduction="sum"
    )


def drawn(probabilities_RV: torch.Tensor) -> torch.Tensor:
    return torch.multinomial(probabilities_RV, 1)[:, 0]


class ReplacedTokenDetection(torch.nn.Module):
    """loss: generator_loss + λ × detection_loss, means over the masked and over all tokens; the rest for the eye."""

    def __init__(
        self,
        encoder: "TransformerEncoder",
        generator: torch.Generator,
        *,
        width: float,
        detection_weight: float,
        mask_id: int,
    ) -> None:
        from transformers import ElectraConfig, ElectraModel
        from transformers.models.electra.modeling_electra import (
            ElectraDiscriminatorPredictions,
            ElectraGeneratorPredictions,
        )

        super().__init__()
        self.encoder = encoder
        self.detection_weight = detection_weight
        self.mask_id = mask_id
        large = encoder.model.config
        hidden = max(1, round(width * large.hidden_size))
        most = max(1, round(width * large.num_attention_heads))
        config = ElectraConfig(
            vocab_size=large.vocab_size,
            embedding_size=large.hidden_size,
            hidden_size=hidden,
            num_hidden_layers=large.num_hidden_layers,
            num_attention_heads=next(heads for heads in range(most, 0, -1) if hidden % heads == 0),
            intermediate_size=4 * hidden,
            max_position_embeddings=large.max_position_embeddings,
            hidden_dropout_prob=large.hidden_dropout_prob,
            attention_probs_dropout_prob=0.0,
            pad_token_id=large.pad_token_id,
        )
        with drawn_from(drawn_seed(generator)):
            self.generator = ElectraModel._from_config(config, attn_implementation=ragged.NAME)
            draw_quickly(self.generator)
            self.generator.embeddings.word_embeddings = encoder.model.get_input_embeddings()
            self.generator_head = ElectraGeneratorPredictions(config)
            self.detection_head = ElectraDiscriminatorPredictions(large)
            for head in (self.generator_head, self.detection_head):
                for layer in head.modules():
                    if isinstance(layer, torch.nn.Linear):
                        layer.weight.data.normal_(0, large.initializer_range)
                        layer.bias.data.zero_()
        self.bias = torch.nn.Parameter(torch.zeros(large.vocab_size))

    def forward(self, batch: "ReplacedTexts") -> dict[str, torch.Tensor]:
        texts = batch.texts
        table_VD = self.encoder.model.get_input_embeddings().weight
        ids_M, targets_M = (torch.from_numpy(array).to(table_VD.device) for array in (texts.ids, texts.targets))
        places_K = torch.from_numpy(np.flatnonzero(texts.targets != NOT_PREDICTED)).to(table_VD.device)
        targets_K = targets_M[places_K]
        masked_M = ids_M.index_fill(0, places_K, self.mask_id)  # here every chosen token, where BERT leaves some
        original_M = ids_M.index_copy(0, places_K, targets_K)
        states_KD = self._generator_states(Sequences(masked_M, texts.offsets), places_K)
        generator_sum, drawn_K = linear_cross_entropy(states_KD, table_VD, targets_K, self.bias, choose=drawn)
        corrupted_M = original_M.index_copy(0, places_K, drawn_K)
        replaced_M = corrupted_M != original_M
        states_MD = self.encoder.states(Sequences(corrupted_M, texts.offsets))
        judged_M = self.detection_head(states_MD)
        generator_loss = generator_sum / (batch.asked * batch.weight)
        detection_loss = detection_sum(judged_M, replaced_M) / batch.weight
        return {
            "loss": generator_loss + self.detection_weight * detection_loss,
            "generator_loss": generator_loss,
            "detection_loss": detection_loss,
            "replaced_share": replaced_M.float().mean(),
            "accuracy": ((judged_M > 0) == replaced_M).float().mean(),
        }

    def _generator_states(self, sequences: Sequences, places_K: torch.Tensor) -> torch.Tensor:
        said = self.generator(
            input_ids=sequences.ids[None], position_ids=sequences.positions[None], sequences=sequences
        )
        return self.generator_head(said.last_hidden_state[0, places_K])
