"""What every registered objective must do, one table: a new objective is tested by being in the registry."""

import math
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from sslcore.errors import UserError
from sslcore.models.encoder import Encoder
from sslcore.objectives.registry import AnyObjective, objective_kinds, parse_objective
from sslcore.randomness import torch_generator
from sslcore.tokenization.encoding import EncodedCorpus
from sslcore.training.learner import Metrics
from sslcore.training.pretraining import pretrain, write_encoder

KINDS = sorted(objective_kinds())


SMALL = {
    "deterministic": True,
    "size": "tiny",
    "maximum_tokens": 64,
    "batch_tokens": 1024,
    "batch_size": 16,
    "queue": 64,
    "span_tokens": 8,
    "members": [{"kind": "masked_lm"}, {"kind": "sim_cse", "weight": 0.1, "batch_size": 16}],
    "labelled_batch_size": 16,
}


def small(kind: str, epochs: int = 1) -> AnyObjective:
    """The objective at its defaults, repeatable and of the smallest size where it may choose."""
    model = objective_kinds()[kind]
    fields = {name: value for name, value in SMALL.items() if name in model.model_fields}
    if kind == "cpc":
        fields["batch_size"] = 64  # it standardises over the batch, and 16 pieces say too little
    return model(epochs=epochs, **fields)


def corpus_for(kind: str, items: EncodedCorpus) -> EncodedCorpus:
    """All the items, or the first 60 for a transformer, which takes its time."""
    if "size" not in objective_kinds()[kind].model_fields:
        return items
    end = int(items.document_offsets[60])
    bounds = items.sentence_offsets[:61], items.document_offsets[:61]
    return labelled(EncodedCorpus(items.ids[:end], *bounds, items.tokenizer))


def labelled(corpus: EncodedCorpus) -> EncodedCorpus:
    """The same with a label for each document, which some objectives learn from."""
    corpus.labels = np.arange(corpus.documents, dtype=np.int32) % 2
    corpus.label_names = ("even", "odd")
    return corpus


@pytest.fixture
def corpus(kind: str, items: EncodedCorpus) -> EncodedCorpus:
    return corpus_for(kind, items)


@pytest.fixture(scope="module")
def items() -> EncodedCorpus:
    """300 news items of the Australian Broadcasting Corporation, 60,000 words, that gensim ships."""
    spec = find_spec("gensim")
    assert spec is not None
    assert spec.submodule_search_locations
    file = Path(spec.submodule_search_locations[0]) / "test/test_data/lee_background.cor"
    lines = file.read_text(encoding="utf-8").lower().splitlines()
    return labelled(EncodedCorpus.from_token_lists([line.split() for line in lines], minimum_count=3))


@pytest.fixture(scope="module")
def trained(items: EncodedCorpus) -> dict[str, tuple[Encoder, list[tuple[int, Metrics]]]]:
    results = {}
    for kind in KINDS:
        steps: list[tuple[int, Metrics]] = []
        corpus = corpus_for(kind, items)
        encoder = pretrain(small(kind), corpus, seed=7, workers=2, on_metrics=lambda s, m, to=steps: to.append((s, m)))
        results[kind] = (encoder, steps)
    return results


TEXTS = ["the prime minister said", "fire", "unseenword", "", "police in new south wales " * 50]


@pytest.mark.parametrize("kind", KINDS)
class TestEveryObjective:
    def test_loss_is_finite_and_the_run_is_complete(self, kind: str, trained: dict, corpus: EncodedCorpus) -> None:
        steps = trained[kind][1]
        assert all(math.isfinite(m["loss"]) and m["loss"] > 0 and m["learning_rate"] > 0 for _, m in steps)
        assert steps[-1][1]["done"] == 1
        assert steps[-1][1]["tokens"] == corpus.tokens

    def test_loss_falls(self, kind: str, corpus: EncodedCorpus) -> None:
        steps: list[Metrics] = []
        pretrain(small(kind, epochs=3), corpus, seed=1, on_metrics=lambda s, m: steps.append(m))
        assert steps[-1]["loss"] < steps[0]["loss"]

    def test_the_encoder_moves(self, kind: str, trained: dict) -> None:
        encoder = trained[kind][0]
        before = encoder.fresh(torch_generator(7, kind, "network"))  # the very weights it started from
        moved = {
            name: not torch.equal(parameter, dict(before.network.named_parameters())[name])
            for name, parameter in encoder.network.named_parameters()
        }
        assert all(moved.values()), moved

    def test_one_seed_one_result_and_another_seed_another(
        self, kind: str, trained: dict, corpus: EncodedCorpus
    ) -> None:
        encoder = trained[kind][0]
        again = pretrain(small(kind), corpus, seed=7, workers=2)
        for name, tensor in encoder.network.state_dict().items():
            assert torch.equal(tensor, again.network.state_dict()[name]), name
        other = pretrain(small(kind), corpus, seed=8, workers=2)
        assert not np.array_equal(encoder.encode(TEXTS), other.encode(TEXTS))

    def test_saved_and_loaded_it_encodes_the_same(self, kind: str, trained: dict, tmp_path: Path) -> None:
        encoder = trained[kind][0]
        encoder.save(tmp_path)
        loaded = Encoder.load(tmp_path)
        assert np.array_equal(loaded.encode(TEXTS), encoder.encode(TEXTS))
        assert (loaded.objective, loaded.seed, loaded.dimensions) == (encoder.objective, 7, encoder.dimensions)

    def test_two_writings_are_the_same_bytes(self, kind: str, corpus: EncodedCorpus, tmp_path: Path) -> None:
        for name in "ab":
            (tmp_path / name).mkdir()
            summary = write_encoder(small(kind), corpus, tmp_path / name, seed=3, workers=2)
            assert summary["tokens"] == corpus.tokens
        files = sorted(p.name for p in (tmp_path / "a").iterdir())
        assert {"weights.safetensors", "encoder.json", "curve.parquet", "tokenizer.json"} <= set(files)
        for name in files:
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name

    def test_vectors_are_finite_floats_and_zero_without_known_words(self, kind: str, trained: dict) -> None:
        vectors = trained[kind][0].encode(TEXTS)
        assert vectors.dtype == np.float32
        assert vectors.shape == (len(TEXTS), trained[kind][0].dimensions)
        assert np.isfinite(vectors).all()
        assert vectors[[0, 1, 4]].any(axis=1).all()
        assert not vectors[3].any()
        assert vectors[2].any() == hasattr(trained[kind][0].network, "ids_with_unseen")

    def test_a_text_has_the_same_vector_alone_and_in_a_batch(self, kind: str, trained: dict) -> None:
        encoder = trained[kind][0]
        together = encoder.encode(TEXTS * 3, batch_size=4)
        alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
        np.testing.assert_allclose(together, np.tile(alone, (3, 1)), atol=1e-6)

    def test_gradients_reach_every_parameter(self, kind: str, trained: dict) -> None:
        """Fine-tuning may train all of it; the groups name each parameter once."""
        network = trained[kind][0].fresh(torch_generator(0)).network
        ids, offsets = trained[kind][0].tokenizer.encode_batch(TEXTS)
        network(torch.from_numpy(ids).long(), torch.from_numpy(offsets)).square().sum().backward()
        names = [name for name, _ in network.named_parameters()]
        assert all(p.grad is not None and p.grad.any() for p in network.parameters())
        grouped = [name for _, group in trained[kind][0].layer_groups() for name in group]
        assert sorted(grouped) == sorted(names)

    def test_configuration_round_trips_and_refuses_what_it_does_not_know(self, kind: str) -> None:
        objective = small(kind)
        assert parse_objective(objective.model_dump(mode="json")) == objective
        with pytest.raises(UserError, match="learning_ratte"):
            parse_objective({"kind": kind, "learning_ratte": 1})
        for field, value in (("learning_rate", float("nan")), ("learning_rate", 0), ("dimensions", 0), ("epochs", 0)):
            with pytest.raises(ValidationError, match=field):
                objective_kinds()[kind](**{field: value})

    def test_every_field_is_described(self, kind: str) -> None:
        fields = objective_kinds()[kind].model_fields
        assert not [name for name, field in fields.items() if name != "kind" and not field.description]

    def test_a_corpus_of_one_word_is_refused_before_any_work(self, kind: str) -> None:
        with pytest.raises(UserError, match="2 different words"):
            pretrain(small(kind), [["same"] * 50], seed=0)

    def test_a_tiny_corpus_trains(self, kind: str) -> None:
        """Fewer documents than a batch, fewer words than negatives, and a document without any known word."""
        lists = [["a", "b", "a", "b"] * 5, ["b", "a", "c"] * 5, ["only-once"]]
        encoder = pretrain(small(kind), labelled(EncodedCorpus.from_token_lists(lists)), seed=0)
        assert np.isfinite(encoder.encode(["a b", "c"])).all()

    @pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
    def test_a_device_that_is_not_there_is_refused(self, kind: str, corpus: EncodedCorpus) -> None:
        with pytest.raises(UserError, match="device 'cuda' cannot be used"):
            pretrain(small(kind), corpus, seed=0, device="cuda")
