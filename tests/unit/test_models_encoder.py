"""Encoders on disk: what is refused, by name."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import sslcore
from sslcore.errors import UserError
from sslcore.models.bags import bag_sums, bag_totals
from sslcore.models.encoder import Encoder


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    encoder = sslcore.pretrain(sslcore.SkipGram(dimensions=4, epochs=1), [["a", "b", "a"] * 10], seed=5)
    encoder.save(tmp_path)
    return tmp_path


def test_a_pickle_in_place_of_the_weights_is_refused_and_not_run(saved: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return (Path.touch, (saved / "it-ran",))

    (saved / "weights.safetensors").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UserError, match=r"weights\.safetensors is not a safetensors file.*never read from pickle"):
        Encoder.load(saved)
    assert not (saved / "it-ran").exists()


def change(saved: Path, **tensors: torch.Tensor | None) -> None:
    kept = {**load_file(saved / "weights.safetensors"), **tensors}
    save_file({name: t for name, t in kept.items() if t is not None}, saved / "weights.safetensors")


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"vectors": None}, r"vectors \[7, 4\] is missing"),
        ({"more": torch.zeros(2)}, r"more \[2\] is not expected"),
        ({"vectors": torch.zeros(9, 4)}, r"vectors has shape \[9, 4\], expected \[7, 4\]"),
    ],
)
def test_tensors_that_do_not_fit_are_named(saved: Path, tensors: dict, message: str) -> None:
    change(saved, **tensors)
    with pytest.raises(UserError, match=message):
        Encoder.load(saved)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": 2}, "has format 2, this sslcore reads up to 1: update sslcore"),
        ({"format": None}, "'format' is missing"),
        ({"objective": {"kind": "glove"}}, "glove"),
        ({"objective": {"kind": "skip_gram", "dimensions": 4, "windoe": 3}}, "windoe"),
        ({"objective": {"kind": "skip_gram", "dimensions": 5}}, r"vectors has shape \[7, 4\], expected \[7, 5\]"),
        ({"seed": "five"}, "'seed' is missing or not int"),
    ],
)
def test_a_description_that_does_not_fit_is_refused_by_field(saved: Path, fields: dict, message: str) -> None:
    description = json.loads((saved / "encoder.json").read_text())
    (saved / "encoder.json").write_text(json.dumps({**description, **fields}))
    with pytest.raises(UserError, match=message):
        Encoder.load(saved)


@pytest.mark.parametrize("name", ["encoder.json", "weights.safetensors", "vocabulary.parquet", "tokenizer.json"])
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        Encoder.load(saved)


def test_a_damaged_description_is_refused(saved: Path) -> None:
    (saved / "encoder.json").write_text("{")
    with pytest.raises(UserError, match=r"encoder\.json cannot be read"):
        Encoder.load(saved)


def test_fresh_is_the_same_network_with_other_weights(saved: Path) -> None:
    encoder = Encoder.load(saved)
    one, same, other = (encoder.fresh(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one.encode(["a b"]), same.encode(["a b"]))
    assert not np.array_equal(one.encode(["a b"]), other.encode(["a b"]))
    assert one.tokenizer is encoder.tokenizer
    assert [p.shape for p in one.network.parameters()] == [p.shape for p in encoder.network.parameters()]


def test_encode_takes_any_number_of_texts_but_not_one_string(saved: Path) -> None:
    encoder = Encoder.load(saved)
    assert encoder.encode([]).shape == (0, 4)
    assert encoder.encode(("a",)).shape == (1, 4)
    with pytest.raises(UserError, match=r"encode\(\[text\]\)"):
        encoder.encode("a text")


def test_bag_sums_and_totals_against_a_loop() -> None:
    generator = np.random.default_rng(0)
    lengths = [0, 3, 1, 0, 5]
    offsets = torch.tensor(np.concatenate([[0], np.cumsum(lengths)]))
    ids = torch.tensor(generator.integers(0, 6, sum(lengths)))
    rows, weights = torch.tensor(generator.normal(size=(6, 4))).float(), torch.tensor(generator.random(6)).float()
    sums, totals = bag_sums(rows, ids, offsets, weights), bag_totals(weights[ids], offsets)
    for b in range(len(lengths)):
        of_text = ids[offsets[b] : offsets[b + 1]]
        expected = sum((weights[i] * rows[i] for i in of_text), torch.zeros(4))
        torch.testing.assert_close(sums[b], expected)
        assert totals[b].item() == pytest.approx(weights[of_text].sum().item())


FRUIT = [["apple", "pear", "plum", "cherry"] * 5, ["hammer", "nail", "saw", "drill"] * 5] * 40


@pytest.mark.parametrize("binary", [True, False])
def test_word2vec_files_of_gensim_come_back_as_encoders(tmp_path: Path, binary: bool) -> None:
    from gensim.models import KeyedVectors

    encoder = sslcore.pretrain(sslcore.SkipGram(dimensions=9, subsampling=0, pooling="mean"), FRUIT, seed=0)
    encoder.to_keyed_vectors().save_word2vec_format(str(tmp_path / "vectors"), binary=binary)
    again = Encoder.from_keyed_vectors(KeyedVectors.load_word2vec_format(str(tmp_path / "vectors"), binary=binary))
    texts = ["Apple", "pear saw", "unseen", ""]
    np.testing.assert_allclose(again.encode(texts)[1:], encoder.encode(texts)[1:], rtol=1e-5, atol=1e-7)
    assert again.encode(texts)[0].any()  # Words() knows no case
    again.save(tmp_path / "saved")
    assert np.array_equal(Encoder.load(tmp_path / "saved").encode(texts), again.encode(texts))


def test_a_fasttext_file_answers_for_unseen_words_as_in_gensim(tmp_path: Path) -> None:
    from gensim.models import FastText
    from gensim.models.fasttext import load_facebook_vectors, save_facebook_model

    model = FastText(FRUIT, vector_size=8, bucket=3000, min_count=1, epochs=2, workers=1)
    save_facebook_model(model, str(tmp_path / "model.bin"))
    keyed = load_facebook_vectors(str(tmp_path / "model.bin"))
    encoder = Encoder.from_keyed_vectors(keyed)
    np.testing.assert_allclose(encoder.encode(["apple"])[0], keyed["apple"], rtol=1e-5)
    assert encoder.encode(["cherryish"])[0].any()  # gensim's mean takes in buckets that were never trained, ours not


def test_the_nearest_words_of_a_text(tmp_path: Path) -> None:
    encoder = sslcore.pretrain(sslcore.SkipGram(dimensions=9, subsampling=0), FRUIT, seed=0)
    near, nothing = encoder.nearest(["apple pear", "unseen"], 4)
    assert {word for word, _ in near} == {"apple", "pear", "plum", "cherry"}
    assert near[0][1] >= near[-1][1] > 0.5
    assert nothing == []
