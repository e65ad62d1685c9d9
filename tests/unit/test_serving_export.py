"""What is exported, loaded by the real libraries, gives our vectors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sslcore
from sslcore.errors import UserError
from sslcore.models.encoder import Encoder
from sslcore.objectives.causal_lm import CausalLM
from sslcore.objectives.masked_lm import MaskedLM
from sslcore.serving.export import export
from sslcore.tokenization.encoding import EncodedCorpus
from sslcore.tokenization.tokenizer import fit_tokenizer
from sslcore.tokenization.word_piece import WordPiece

TEXTS = ["the quick fox", "机器学习 is fun, they say", "fox " * 60, "unseen-zebra words"]


SMALL: dict[str, Any] = {"size": "tiny", "epochs": 1, "maximum_tokens": 32, "batch_tokens": 256}
OBJECTIVES = {
    "masked, mean": MaskedLM(**SMALL),
    "masked, first": MaskedLM(**SMALL, pooling="first"),
    "causal, mean": CausalLM(**SMALL),
    "causal, last": CausalLM(**SMALL, pooling="last"),
}


@pytest.fixture(scope="module", params=OBJECTIVES)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    texts = ["the quick brown fox is fun", "机器学习 很有趣, they say", "words of a fox"] * 20
    tokenizer = fit_tokenizer(WordPiece(vocabulary_size=512), texts)
    ids, offsets = tokenizer.encode_batch(texts)
    corpus = EncodedCorpus(ids, offsets, offsets, tokenizer)
    return sslcore.pretrain(OBJECTIVES[request.param], corpus, seed=0)


def test_auto_model_and_auto_tokenizer_load_the_folder(encoder: Encoder, tmp_path: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    export(encoder, tmp_path / "model", "huggingface")
    tokenizer, model = (auto.from_pretrained(tmp_path / "model") for auto in (AutoTokenizer, AutoModel))
    assert "sslcore" not in (tmp_path / "model" / "config.json").read_text()
    batch = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    assert batch["input_ids"].shape[1] == 32
    ids = encoder.tokenizer.encode(TEXTS[0])
    framed = [2, *ids.tolist()] if encoder.network.causal else [2, *ids.tolist(), 3]
    assert batch["input_ids"][0][batch["attention_mask"][0].bool()].tolist() == framed
    with torch.no_grad():
        states = model.eval()(**batch).last_hidden_state
    inside = batch["attention_mask"][:, :, None]
    pooled = {
        "mean": (states * inside).sum(1) / inside.sum(1),
        "first": states[:, 0],
        "last": states[torch.arange(len(TEXTS)), inside.sum(1)[:, 0] - 1],
    }[encoder.network.pooling]
    np.testing.assert_allclose(encoder.encode(TEXTS), pooled.numpy(), atol=1e-5)


def test_sentence_transformers_encodes_the_same(encoder: Encoder, tmp_path: Path) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    export(encoder, tmp_path / "model", "sentence-transformers")
    loaded = sentence_transformers.SentenceTransformer(str(tmp_path / "model"), device="cpu")
    np.testing.assert_allclose(loaded.encode(TEXTS), encoder.encode(TEXTS), atol=1e-5)


def test_onnx_gives_torchs_vectors_for_any_shape(encoder: Encoder, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from transformers import AutoTokenizer

    export(encoder, tmp_path / "model", "onnx")
    session = runtime.InferenceSession(tmp_path / "model" / "model.onnx")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    for texts in ([*TEXTS, ""], TEXTS[:1]):
        batch = tokenizer(texts, padding=True, truncation=True, return_tensors="np")
        fed = {name: batch[name].astype(np.int64) for name in ("input_ids", "attention_mask")}
        states, vectors = session.run(["last_hidden_state", "text_vector"], fed)
        assert states.shape == (*batch["input_ids"].shape, encoder.dimensions)
        np.testing.assert_allclose(vectors, encoder.encode(texts), atol=1e-5)


def test_what_cannot_be_exported_is_said(encoder: Encoder, tmp_path: Path) -> None:
    words = sslcore.pretrain(sslcore.SkipGram(dimensions=4, epochs=1), [["a", "b"] * 9], seed=0)
    with pytest.raises(UserError, match="is no transformer"):
        export(words, tmp_path / "words", "huggingface")
    with pytest.raises(UserError, match="there is no format 'gguf'"):
        export(encoder, tmp_path / "model", "gguf")  # type: ignore[arg-type]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text(json.dumps({}))
    with pytest.raises(UserError, match="is not an empty folder"):
        export(encoder, tmp_path / "full", "huggingface")
    assert not (tmp_path / "model").exists()
