"""A transformer encoder as what others load: a Hugging Face folder, a sentence-transformers folder, an ONNX graph.

All three give the vector that `Encoder.encode` gives, but for a text without any known token, which is zeros here and
the state of an empty text there. Of a classifier on top of one the ONNX graph gives the probabilities of its labels
too.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from sslcore.errors import UserError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

    from sslcore.finetuning.model import FineTunedModel
    from sslcore.models.encoder import Encoder
    from sslcore.models.transformer import TransformerEncoder

Format = Literal["huggingface", "sentence-transformers", "onnx"]
ONNX_FILE, LABELS = "model.onnx", "labels.json"


def export(model: "Encoder | FineTunedModel", folder: str | Path, kind: Format) -> Path:
    """Write the encoder, or that of a fine-tuned model, into `folder`, which must be new or empty. Returns the folder.

    "huggingface": AutoModel and AutoTokenizer load it. "sentence-transformers": SentenceTransformer loads it, and so do
    the former two. "onnx": model.onnx takes input_ids and attention_mask, int64 [texts, tokens], and gives
    last_hidden_state [texts, tokens, dimensions] and text_vector [texts, dimensions]; the tokenizer lies beside it. Of
    a model of texts and their classes it also gives probabilities [texts, labels], calibrated as the model's own are,
    in the order of labels.json.
    Raises UserError for an encoder that is no transformer, a folder with files in it, and without the package onnx.
    """
    folder = Path(folder)
    encoder: Any = getattr(model, "encoder", model)
    if not hasattr(encoder.network, "states"):
        raise UserError(
            f"{encoder!r} is no transformer, so it has no such folder; its word vectors go to gensim by "
            "to_keyed_vectors(), and every encoder loads by sslcore.load"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not an empty folder; name another")
    if kind not in get_args(Format):
        raise UserError(f"there is no format {kind!r}; choose among {', '.join(get_args(Format))}")
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "onnx":
        _onnx(encoder, folder, model if _of_texts(model) else None)  # type: ignore[arg-type]
    else:
        {"huggingface": _huggingface, "sentence-transformers": _sentence_transformers}[kind](encoder, folder)
    return folder


def tokenizer_with_frame(encoder: "Encoder") -> "PreTrainedTokenizerFast":
    """The encoder's tokenizer as transformers has it, which frames and cuts texts as the network does."""
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    tokens, network = encoder.tokenizer.tokens, encoder.network
    first, last = (tokens[i] for i in network.frame)
    framed = Tokenizer.from_str(encoder.tokenizer.huggingface().to_str())
    single, pair = f"{first} $A {last}", f"{first} $A {last} $B:1 {last}:1"
    if network.causal:  # where a text ends is for it to say, not to be told
        single, pair = f"{first} $A", f"{first} $A $B"
    framed.post_processor = TemplateProcessing(
        single=single,
        pair=pair,
        special_tokens=list(zip((first, last), network.frame, strict=True)),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=framed,
        model_max_length=network.maximum_tokens,
        pad_token=tokens[encoder.tokenizer.padding_id],
        unk_token=tokens[encoder.tokenizer.unknown_id],
        cls_token=tokens[encoder.tokenizer.classification_id],
        sep_token=tokens[encoder.tokenizer.separator_id],
        mask_token=tokens[encoder.tokenizer.mask_id],
    )


def _huggingface(encoder: "Encoder", folder: Path) -> None:
    encoder.network.model.save_pretrained(folder)
    tokenizer_with_frame(encoder).save_pretrained(folder)


def _sentence_transformers(encoder: "Encoder", folder: Path) -> None:
    _huggingface(encoder, folder)
    network = encoder.network
    pooling = "1_Pooling"
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": pooling, "type": "sentence_transformers.models.Pooling"},
    ]
    (folder / pooling).mkdir()
    files: dict[str, Any] = {
        "modules.json": modules,
        "sentence_bert_config.json": {"max_seq_length": network.maximum_tokens, "do_lower_case": False},
        f"{pooling}/config.json": {
            "word_embedding_dimension": network.dimensions,
            "pooling_mode_cls_token": network.pooling == "first",
            "pooling_mode_mean_tokens": network.pooling == "mean",
            "pooling_mode_lasttoken": network.pooling == "last",
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def _onnx(encoder: "Encoder", folder: Path, classifier: "FineTunedModel | None") -> None:
    import torch

    try:
        import onnxscript  # noqa: F401
    except ImportError:
        raise UserError("ONNX needs packages that are not installed: pip install 'sslcore[onnx]'") from None
    model = _padded(encoder.network, classifier)
    outputs = ["last_hidden_state", "text_vector"]
    if classifier is not None:
        outputs.append("probabilities")
        (folder / LABELS).write_text(json.dumps(classifier.labels, ensure_ascii=False) + "\n", "utf-8")
    inputs = (torch.full((2, 5), encoder.network.first_word_id), torch.ones(2, 5, dtype=torch.int64))
    texts, tokens = torch.export.Dim("texts"), torch.export.Dim("tokens", max=encoder.network.maximum_tokens)
    torch.onnx.export(
        model,
        inputs,
        folder / ONNX_FILE,
        input_names=["input_ids", "attention_mask"],
        output_names=outputs,
        dynamic_shapes={name: {0: texts, 1: tokens} for name in ("input_ids", "attention_mask")},
        dynamo=True,
        verbose=False,
    )
    tokenizer_with_frame(encoder).save_pretrained(folder)


def _of_texts(model: Any) -> bool:
    """Whether it is a model of texts and their classes."""
    from sslcore.finetuning.shapes.classification import Classification

    return isinstance(getattr(getattr(model, "description", None), "shape", None), Classification)


def _padded(network: "TransformerEncoder", classifier: "FineTunedModel | None") -> "torch.nn.Module":
    """The same weights on padded batches, the one form that other runtimes take."""
    import copy

    import torch
    from transformers import AutoModel

    model = AutoModel.from_config(network.model.config.__class__.from_dict(network.model.config.to_dict()))
    model.load_state_dict(network.model.state_dict(), strict=False)
    model.set_attn_implementation("sdpa")
    pooling = network.pooling

    class Padded(torch.nn.Module):
        mean: torch.Tensor
        spread: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.model = model
            if classifier is not None:
                under: Any = classifier.network
                self.head = copy.deepcopy(under.head)
                self.register_buffer("mean", under.feature_mean.clone())
                self.register_buffer("spread", under.feature_spread.clone())

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
            states = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            vectors = self.pooled(states, attention_mask)
            if classifier is None:
                return states, vectors
            logits = self.head((vectors - self.mean) / self.spread)
            if classifier.gives_one_class:
                return states, vectors, torch.softmax(logits / classifier.temperature, dim=1)
            return states, vectors, torch.sigmoid(logits)

        def pooled(self, states: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            if pooling == "first":
                return states[:, 0]
            if pooling == "last":
                last = (attention_mask.sum(dim=1) - 1)[:, None, None].expand(-1, 1, states.shape[2])
                return states.gather(1, last)[:, 0]
            inside = attention_mask[:, :, None].to(states.dtype)
            return (states * inside).sum(dim=1) / inside.sum(dim=1)

    return Padded().eval()
