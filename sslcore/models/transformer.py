"""A transformer as an encoder of texts: one of transformers' own models, run on sequences without padding.

The weights are the architecture's of Hugging Face, name by name, so a folder that `save_pretrained` writes loads
everywhere. A text is framed as the architecture wants it ([CLS] … [SEP]) and cut at `maximum_tokens`; its vector is the
mean of its last states, the frame's among them (as sentence-transformers takes it), the first or the last one. In a
causal model no token sees those after it; a text has no end token there.

Letters: N tokens of all texts, B texts, D dimensions, M tokens with the frames.
"""

import itertools
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from sslcore.models import ragged
from sslcore.models.architecture import KINDS, first_position
from sslcore.models.dropout import draw_quickly
from sslcore.models.framing import frame_pairs, frame_pieces, without_ends
from sslcore.models.ragged import Sequences
from sslcore.randomness import drawn_from, drawn_seed

if TYPE_CHECKING:
    from transformers import PretrainedConfig

Pooling = Literal["mean", "first", "last"]


KEYS_AND_VALUES = (
    ".key",
    ".value",
    ".k_lin",
    ".v_lin",
    ".c_attn",
    ".Wqkv",
    ".attn.k",
    ".attn.v",
    ".key_proj",
    ".value_proj",
)
OUTPUTS = (".output.dense", ".ffn.lin2", ".mlp.c_proj", ".mlp.Wo", ".ffn_output")  # of feed-forward layers
RATES = ((768, 5e-5, 2e-4), (512, 1e-4, 6e-4), (0, 3e-4, 1e-3))  # from this width on


def tokens_at_once(device: torch.device) -> int:
    """Tokens in memory at a time where no gradient is wanted: a CPU has caches to stay in, a GPU wants more to do.

    MiniLM on 2 cores of an AMD EPYC (Zen 3), 2,500 questions: 1,024 take 5.0 s, 2,048 5.1, 4,096 5.5, 8,192 6.2. More
    is memory that goes back to the system between two layers and comes anew, page by page.
    """
    return 2_048 if device.type == "cpu" else 16_384


class TransformerEncoder(torch.nn.Module):
    """forward(ids int64 [N], offsets int64 [B + 1]) -> float32 [B, dimensions]; zeros for no known token."""

    def __init__(
        self,
        config: "PretrainedConfig",
        generator: torch.Generator,
        *,
        frame: tuple[int, int],
        first_word_id: int,
        pooling: Pooling,
    ) -> None:
        from transformers import AutoModel

        super().__init__()
        ragged.register()
        self.frame = frame  # the ids before and after a text
        self.first_word_id = first_word_id
        self.pooling = pooling
        self.kind = KINDS[config.model_type]
        self.causal, self.separators = self.kind.causal, self.kind.separators
        self.tells_apart = getattr(config, "type_vocab_size", 1) > 1  # two texts in one sequence, by a type
        self.first_position = first_position(config)
        self.maximum_tokens = int(config.max_position_embeddings) - self.first_position
        self.dimensions = int(config.hidden_size)
        with drawn_from(drawn_seed(generator)):  # transformers draws from torch's own generator
            without = {"add_pooling_layer": False} if self.kind.pooler else {}
            attention = "eager" if self.kind.padded else ragged.NAME
            self.model = AutoModel.from_config(config, attn_implementation=attention, **without)
        draw_quickly(self.model)

    def states(self, sequences: Sequences) -> torch.Tensor:
        """[M, D]: the last layer's state of each token of framed sequences."""
        if not len(sequences.ids):  # a process's share of a small batch: its weights take part, with gradients of zero
            one = Sequences(sequences.ids.new_tensor(self.frame[:1]), np.array([0, 1]), causal=self.causal)
            return self.states(one)[:0]
        if self.kind.padded:
            return self._states_of_blocks(sequences)
        said = self.model(**self._read(sequences), sequences=sequences)
        return said.last_hidden_state[0]

    def _states_of_blocks(self, sequences: Sequences) -> torch.Tensor:
        """[M, D]: the same by a model that takes padded blocks, one for all sequences of about one length."""
        sizes = [g * longest for (g, longest), _ in sequences.groups]
        blocks = {
            name: row_1M.new_zeros(sequences.padded).index_copy_(0, sequences.places, row_1M[0]).split(sizes)
            for name, row_1M in self._read(sequences).items()
        }
        states = []
        for number, (shape, mask) in enumerate(sequences.groups):
            read = {name: of_groups[number].view(shape) for name, of_groups in blocks.items()}
            inside_GL = torch.ones(shape, device=sequences.ids.device) if mask is None else mask[:, 0, 0].float()
            states.append(self.model(**read, attention_mask=inside_GL).last_hidden_state.flatten(0, 1))
        return torch.cat(states).index_select(0, sequences.places)

    def states_below(self, layers: int, sequences: Sequences) -> torch.Tensor:
        """[M, D]: the states that so many layers, 0 to all, make of framed sequences; `states_from` goes on."""
        return self._through(self.layers[:layers], self._embedded(sequences), sequences)[0]

    def states_from(self, layers: int, states_MD: torch.Tensor, sequences: Sequences) -> torch.Tensor:
        """[M, D]: the last states, of those that `states_below` gave for as many layers."""
        states_1MD = self._through(self.layers[layers:], states_MD[None], sequences)
        return (self.model.get_submodule(self.kind.last)(states_1MD) if self.kind.last else states_1MD)[0]

    def _embedded(self, sequences: Sequences) -> torch.Tensor:
        """[1, M, D]: what the first layer is given."""
        read, model = self._read(sequences), self.model
        if self.causal:
            return model.drop(model.wte(read["input_ids"]) + model.wpe(read["position_ids"]))
        if hasattr(model, "rotary_emb"):  # attention turns by the positions, which the embeddings do not take
            del read["position_ids"]
        states_1MD = model.embeddings(**read)
        for module in self.input_modules[1:]:
            states_1MD = module(states_1MD)
        return states_1MD

    def _through(self, layers: Any, states_1MD: torch.Tensor, sequences: Sequences) -> torch.Tensor:
        for layer in layers:
            turn: dict[str, Any] = {}
            if hasattr(self.model, "rotary_emb"):
                positions = sequences.positions[None]
                turn["position_embeddings"] = self.model.rotary_emb(states_1MD, positions, layer.attention_type)
            states_1MD = layer(states_1MD, None, sequences=sequences, **turn)
        return states_1MD

    def _read(self, sequences: Sequences) -> dict[str, torch.Tensor]:
        """What the embeddings are given."""
        kinds = {} if sequences.kinds is None else {"token_type_ids": sequences.kinds[None]}
        positions = self.first_position + sequences.positions
        return {"input_ids": sequences.ids[None], "position_ids": positions[None], **kinds}

    @property
    def layered(self) -> bool:
        """Whether layers can be run one by one, by `states_below` and `states_from`."""
        return self.kind.layers is not None

    @property
    def layers(self) -> Any:
        """From input to output, in order, of a layered one."""
        return self.model.get_submodule(str(self.kind.layers))

    @property
    def input_modules(self) -> list[torch.nn.Module]:
        """What makes the states that the first layer is given: the embeddings, and their dropout."""
        return [self.model.get_submodule(name) for name in self.kind.inputs if hasattr(self.model, name)]

    def attention_projections(self) -> list[str]:
        """Names of the linear modules that attention has: of queries, keys and values, and its output."""
        return [
            name
            for name, module in self.named_modules()
            if isinstance(getattr(module, "weight", None), torch.nn.Parameter)
            and module.weight.ndim == 2
            and {"attention", "attn"} & set(name.split("."))
        ]

    def keys_and_values(self) -> list[str]:
        """Names of the modules that make them; those of GPT-2 and ModernBERT make queries too."""
        return [name for name in self.attention_projections() if name.endswith(KEYS_AND_VALUES)]

    def feed_forward_outputs(self) -> list[str]:
        """Names of the linear modules that follow the activation."""
        attention = self.attention_projections()
        return [name for name, _ in self.named_modules() if name.endswith(OUTPUTS) and name not in attention]

    def framed(self, ids: torch.Tensor, offsets: torch.Tensor) -> Sequences:
        """Each text between the ids of the frame, cut to what the model can take."""
        bounds = offsets.cpu().numpy()
        longest = self.maximum_tokens - self.text_frame
        framed = frame_pieces(ids.cpu().numpy(), bounds, np.arange(len(bounds) - 1), *self.frame, longest=longest)
        framed_ids, framed_offsets = without_ends(*framed) if self.causal else framed
        return Sequences(torch.from_numpy(framed_ids).to(ids.device), framed_offsets, causal=self.causal)

    def framed_pairs(
        self, firsts: tuple[np.ndarray, np.ndarray], seconds: tuple[np.ndarray, np.ndarray], device: torch.device
    ) -> Sequences:
        """Two texts in each sequence, as the architecture has them: [CLS] a [SEP] b [SEP], <s> a </s></s> b </s>.

        Both are (ids, offsets [B + 1]) of texts that are short enough: `pair_frame` more than the two must fit.
        """
        ids, kinds, offsets = frame_pairs(firsts, seconds, *self.frame, separators=self.separators)
        if self.causal:
            ids, offsets = without_ends(ids, offsets)
            return Sequences(torch.from_numpy(ids).to(device), offsets, causal=True)
        kinds_M = torch.from_numpy(kinds).to(device) if self.tells_apart else None
        return Sequences(torch.from_numpy(ids).to(device), offsets, kinds_M)

    @property
    def text_frame(self) -> int:
        """Tokens around a text."""
        return 1 if self.causal else 2

    @property
    def pair_frame(self) -> int:
        """Tokens around and between two texts in one sequence."""
        return self.separators + self.text_frame

    def pooled(self, states_MD: torch.Tensor, sequences: Sequences) -> torch.Tensor:
        """[B, D]"""
        if self.pooling == "first":
            return states_MD[sequences.starts]
        if self.pooling == "last":
            return states_MD[sequences.bounds[1:] - 1]
        return torch.segment_reduce(states_MD, "mean", offsets=sequences.bounds)

    def forward(self, ids_N: torch.Tensor, offsets_B: torch.Tensor) -> torch.Tensor:
        at_once = tokens_at_once(ids_N.device)
        if torch.is_grad_enabled() or len(ids_N) <= at_once:
            return self._vectors(ids_N, offsets_B)
        cut = torch.searchsorted(offsets_B, torch.arange(0, len(ids_N), at_once, device=offsets_B.device))
        ends = torch.unique(torch.cat([cut, cut.new_tensor([0, len(offsets_B) - 1])])).tolist()
        rows = [offsets_B[first : last + 1] for first, last in itertools.pairwise(ends)]
        return torch.cat([self._vectors(ids_N[part[0] : part[-1]], part - part[0]) for part in rows])

    def _vectors(self, ids_N: torch.Tensor, offsets_B: torch.Tensor) -> torch.Tensor:
        sequences = self.framed(ids_N, offsets_B)
        vectors_BD = self.pooled(self.states(sequences), sequences).float()
        known_N = torch.nn.functional.pad((ids_N >= self.first_word_id).cumsum(0), (1, 0))
        return vectors_BD * (known_N[offsets_B[1:]] > known_N[offsets_B[:-1]])[:, None]

    @property
    def finetuning_rate(self) -> float:
        """AdamW's for pretrained weights: Devlin et al. 2019, appendix A.3; Turc et al. 2019 for the small."""
        return next(rate for width, rate, _ in RATES if self.dimensions >= width)

    @property
    def rate_from_scratch(self) -> float:
        """The same for random weights, which have a way to go: as in pretraining."""
        return next(rate for width, _, rate in RATES if self.dimensions >= width)

    def vocabulary_tensors(self) -> set[str]:
        """Names of the tensors that have a row for each token of the vocabulary."""
        table = self.model.get_input_embeddings().weight
        return {name for name, parameter in self.named_parameters() if parameter is table}

    def layer_groups(self) -> list[tuple[str, list[str]]]:
        groups: dict[str, list[str]] = {}
        group = "embeddings"
        for name, _ in self.named_parameters():
            number = next((part for part in name.split(".") if part.isdigit()), None)  # as in model.encoder.layer.3.…
            if number:
                group = f"layer {int(number) + 1}"
            elif self.kind.padded:
                group = "embeddings"  # of distances, for all layers
            # else a norm after the last layer, in its group
            groups.setdefault(group, []).append(name)
        return list(groups.items())
