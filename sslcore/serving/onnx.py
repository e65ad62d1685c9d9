"""A transformer, or a fine-tuned model on one, as an ONNX graph of padded batches.

B sequences, L tokens of the longest, D dimensions.
"""

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sslcore.errors import UserError
from sslcore.finetuning.shapes.seam import DownstreamNetwork, PaddedStates
from sslcore.serving.framed_tokenizer import tokenizer_with_frame
from sslcore.serving.onnx_novelty import NoveltyOutputs

if TYPE_CHECKING:
    from sslcore.finetuning.model import FineTunedModel
    from sslcore.models.encoder import Encoder
    from sslcore.models.transformer import TransformerEncoder

GRAPH, LABELS = "model.onnx", "labels.json"
INPUTS = {
    "text": ("input_ids", "attention_mask"),
    "two texts": ("input_ids", "attention_mask", "input_ids_b", "attention_mask_b"),
    "pair": ("input_ids", "attention_mask", "token_type_ids"),
    "window": ("input_ids", "attention_mask", "token_type_ids"),
}


def write_onnx(encoder: "Encoder", model: "FineTunedModel | None", folder: Path) -> None:
    """The files that `export` describes; `encoder` is that of `model`, if there is one.

    Raises UserError without the packages.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError:
        raise UserError("ONNX needs packages that are not installed: pip install 'sslcore[onnx]'") from None
    graph = PaddedModel(encoder.network, model).cpu().eval()
    rows = torch.export.Dim("rows")
    lengths = [torch.export.Dim(f"tokens{suffix}", max=encoder.network.maximum_tokens) for suffix in ("", "_b")]
    # Second texts of another length than the first: of one length, they would always have to be.
    inputs = {name: torch.ones(2, 4 + name.endswith("_b"), dtype=torch.int64) for name in graph.inputs}
    with torch.no_grad():
        outputs = list(graph.named(*inputs.values()))
    torch.onnx.export(
        graph,
        tuple(inputs.values()),
        folder / GRAPH,
        input_names=list(inputs),
        output_names=outputs,
        dynamic_shapes={"inputs": tuple({0: rows, 1: lengths[name.endswith("_b")]} for name in inputs)},
        dynamo=True,
        verbose=False,
    )
    files: dict[str, Any] = {} if model is None else model.network.beside()
    if model is not None and model.labels:
        files[LABELS] = model.labels
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False) + "\n", "utf-8")
    longest = encoder.network.maximum_tokens if model is None else _longest(encoder.network, model)
    names = [name for name in graph.inputs if not name.endswith("_b")]
    tokenizer_with_frame(encoder, longest=longest, inputs=names).save_pretrained(folder)


class PaddedModel(nn.Module):
    """forward(the tensors of `inputs`, int64 [B, L]) -> the values of `named`."""

    def __init__(self, encoder: "TransformerEncoder", model: "FineTunedModel | None") -> None:
        super().__init__()
        padded = PaddedEncoder(encoder)
        self.temperature = 1.0 if model is None else model.temperature
        self.novelty = NoveltyOutputs(model.detector) if model and model.detector else None
        # The head is copied with the padded encoder in the place of its own.
        self.network: Any = padded if model is None else copy.deepcopy(model.network, {id(encoder): padded})
        self.inputs = INPUTS["text" if model is None else model.network.reads]
        if not encoder.tells_apart:
            self.inputs = tuple(name for name in self.inputs if name != "token_type_ids")

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.named(*inputs).values())

    def named(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Output name → its values."""
        if not isinstance(self.network, DownstreamNetwork):
            return of_texts(self.network(*inputs))
        each = 2 if self.network.reads == "two texts" else len(inputs)
        encoder: Any = self.network.encoder
        read = [encoder(*inputs[first : first + each]) for first in range(0, len(inputs), each)]
        features = self.network.padded_features(*read)
        outputs = self.network.decided(features, None)
        of_encoder = of_texts(*read) if self.network.reads == "text" else {}
        novelty = self.novelty(outputs, features) if self.novelty else {}
        return {**of_encoder, **self.network.named(outputs / self.temperature), **novelty}


def of_texts(read: PaddedStates) -> dict[str, torch.Tensor]:
    """What is said of texts whatever else is."""
    return {"last_hidden_state": read.states, "text_vector": read.vectors}


class PaddedEncoder(nn.Module):
    """A transformer's weights on padded batches, padding last."""

    def __init__(self, network: "TransformerEncoder") -> None:
        super().__init__()
        self.model = copy.deepcopy(network.model)
        self.model.set_attn_implementation("eager" if network.kind.padded else "sdpa")
        self.pooling, self.first_position = network.pooling, network.first_position
        frame = network.frame[:1] if network.causal else network.frame
        self.first_word_id = network.first_word_id
        self.words_of_frame = sum(token >= network.first_word_id for token in frame)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> PaddedStates:
        kinds = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        positions_L = self.first_position + torch.arange(input_ids.shape[1], device=input_ids.device)
        states_BLD = self.model(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=positions_L[None], **kinds
        ).last_hidden_state
        pooled_BD = self.pooled(states_BLD, attention_mask)
        words_B = ((input_ids >= self.first_word_id) * attention_mask).sum(dim=1)
        return PaddedStates(states_BLD, pooled_BD, pooled_BD * (words_B > self.words_of_frame)[:, None])

    def pooled(self, states_BLD: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
        """[B, D]"""
        if self.pooling == "first":
            return states_BLD[:, 0]
        if self.pooling == "last":
            last_B11 = (mask_BL.sum(dim=1) - 1)[:, None, None]
            return states_BLD.gather(1, last_B11.expand(-1, 1, states_BLD.shape[2]))[:, 0]
        inside_BL1 = mask_BL[:, :, None].to(states_BLD.dtype)
        return (states_BLD * inside_BL1).sum(dim=1) / inside_BL1.sum(dim=1)


def _longest(network: "TransformerEncoder", model: "FineTunedModel") -> int:
    """Tokens of a sequence, its frame among them, that the model reads where it answers by itself."""
    frame = {"pair": network.pair_frame, "window": 0}.get(model.network.reads, network.text_frame)
    return min(network.maximum_tokens, model.description.config.most_tokens + frame)
