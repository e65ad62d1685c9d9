"""A transformer as what others load: a Hugging Face folder, a sentence-transformers folder, an ONNX graph.

All three give the vector that `Encoder.encode` gives, but for a text without any known token: that is zeros here and in
ONNX, and the state of an empty text in the former two. Of a fine-tuned model these have the encoder, ONNX all of it.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from sslcore.errors import UserError
from sslcore.serving.framed_tokenizer import tokenizer_with_frame

if TYPE_CHECKING:
    from sslcore.finetuning.model import FineTunedModel
    from sslcore.models.encoder import Encoder

Format = Literal["huggingface", "sentence-transformers", "onnx"]


def export(model: "Encoder | FineTunedModel", folder: str | Path, kind: Format) -> Path:
    """Write an encoder or a fine-tuned model into `folder`, which must be new or empty. Returns the folder.

    "huggingface": AutoModel and AutoTokenizer load the encoder. "sentence-transformers": SentenceTransformer loads it,
    and so do the former two. "onnx": model.onnx, with the tokenizer that frames and cuts texts as the model does, and
    labels.json, the order of labels and tags. It takes input_ids and attention_mask, int64 [rows, tokens], padded at
    the end, and gives, float32,

    * of an encoder, and of the next two: last_hidden_state [rows, tokens, dimensions], text_vector [rows, dimensions];
    * text → class: probabilities [rows, labels], calibrated as the model's own are;
    * text → tag: tag_scores and probabilities [rows, tokens, tags]. A word's are those of its first token, in a causal
      model its last. With a CRF no probabilities: the best path is for the caller to find, by transitions.json
      (`TaggerNetwork.beside`);
    * text pair by a cross_encoder, one sequence of both: probabilities [rows, labels], or score [rows];
    * by a bi_encoder, with input_ids_b and attention_mask_b of the second texts beside those of the first: the same;
    * question and passage in one sequence: start_scores and end_scores [rows, tokens]. Those of the first token are of
      no answer, those of the passage's of spans; others mean nothing.

    Two texts in one sequence also want token_type_ids where the model tells them apart, as BERT does.
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
        from sslcore.serving.onnx import write_onnx

        write_onnx(encoder, None if model is encoder else model, folder)  # type: ignore[arg-type]
    else:
        {"huggingface": _huggingface, "sentence-transformers": _sentence_transformers}[kind](encoder, folder)
    return folder


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
