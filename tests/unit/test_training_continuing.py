"""Training that goes on with more text: the vocabulary grows, and what was learned stays."""

import numpy as np
import pytest
import torch

import sslcore
from sslcore.errors import UserError
from sslcore.objectives.registry import AnyObjective
from sslcore.tokenization import Tokenizer, fit_tokenizer, grow_tokenizer
from sslcore.tokenization.bpe import BPE
from sslcore.tokenization.encoding import EncodedCorpus
from sslcore.tokenization.words import Words

NO_STEP = 1e-12  # a learning rate at which nothing moves


def sentences(groups: dict[str, list[str]], n: int, seed: int) -> list[list[str]]:
    """Each sentence takes its words from one group."""
    generator = np.random.default_rng(seed)
    names = list(groups)
    return [list(generator.choice(groups[names[i % len(names)]], 8)) for i in range(n)]


EARLY = {"sea": ["ship", "wave", "sail", "port"], "wood": ["tree", "leaf", "root", "bark"]}
LATE = {"sea": ["ship", "wave", "harbour", "tide"], "wood": ["tree", "leaf", "branch", "moss"]}
FIELDS = {"dimensions": 16, "subsampling": 0.0, "deterministic": True, "epochs": 8, "continuable": True}
OBJECTIVES: dict[str, AnyObjective] = {
    "skip_gram": sslcore.SkipGram(**FIELDS),
    "cbow": sslcore.CBOW(**FIELDS),
    "fast_text": sslcore.FastText(**FIELDS, buckets=500),
    "hierarchical": sslcore.SkipGram(**FIELDS, output="hierarchical_softmax"),
}


def grown(encoder: sslcore.Encoder, lists: list[list[str]], minimum_count: int = 1) -> EncodedCorpus:
    return EncodedCorpus.from_token_lists(lists, minimum_count=minimum_count, growing=encoder.tokenizer)


def test_a_grown_vocabulary_keeps_its_ids_counts_on_and_takes_in_what_is_frequent() -> None:
    before = EncodedCorpus.from_token_lists([["a", "a", "a", "b", "b", "c"]], minimum_count=2).tokenizer
    after = EncodedCorpus.from_token_lists([["b", "d", "d", "c", "e", "e", "e"]], minimum_count=2, growing=before)
    assert before.tokens[5:] == ["a", "b"]
    assert after.tokenizer.tokens[5:] == ["a", "b", "e", "d"]
    assert after.tokenizer.counts.tolist() == [0, 0, 0, 0, 0, 3, 3, 3, 2]
    assert after.ids.tolist() == [6, 8, 8, 1, 7, 7, 7]
    limited = EncodedCorpus.from_token_lists([["d", "d", "e"]], minimum_count=1, vocabulary_size=8, growing=before)
    assert limited.tokenizer.tokens[5:] == ["a", "b", "d"]


def test_a_tokenizer_of_text_grows_and_one_of_pieces_does_not() -> None:
    before = fit_tokenizer(Words(minimum_count=1), ["The sea, the sea!"])
    after = grow_tokenizer(before, ["The open sea."])
    assert isinstance(after, Tokenizer)
    assert after.tokens[: len(before.tokens)] == before.tokens
    assert set(after.tokens) - set(before.tokens) >= {"open"}
    assert after.encode("the sea").tolist() == before.encode("the sea").tolist()
    pieces = fit_tokenizer(BPE(vocabulary_size=512), ["the sea the sea the sea"] * 50)
    with pytest.raises(UserError, match="cannot grow"):
        grow_tokenizer(pieces, ["the open sea"])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_it_begins_where_the_earlier_one_ended(name: str) -> None:
    """At a learning rate of nothing, the words that were known stay where they were, also in their texts."""
    objective = OBJECTIVES[name]
    first = sslcore.pretrain(objective, sentences(EARLY, 400, seed=0), seed=1)
    still = objective.model_copy(update={"learning_rate": NO_STEP, "epochs": 1})
    second = sslcore.pretrain(still, grown(first, sentences(LATE, 400, seed=2)), seed=3, continuing=first)
    old, new = first.to_keyed_vectors(), second.to_keyed_vectors()
    assert set(new.key_to_index) == {word for groups in (EARLY, LATE) for words in groups.values() for word in words}
    for word in old.index_to_key:
        np.testing.assert_allclose(new[word], old[word], atol=1e-5)
    if objective.output == "negative_sampling":
        known = len(first.tokenizer.tokens)
        torch.testing.assert_close(second.network.outputs[:known], first.network.outputs, atol=1e-5, rtol=0)
        assert second.network.outputs[known:].abs().max() < 1e-5


@pytest.mark.parametrize("name", OBJECTIVES)
def test_new_words_find_their_place_among_the_old(name: str) -> None:
    objective = OBJECTIVES[name]
    first = sslcore.pretrain(objective, sentences(EARLY, 2000, seed=0), seed=1)
    second = sslcore.pretrain(objective, grown(first, sentences(LATE, 2000, seed=2)), seed=3, continuing=first)
    keyed = second.to_keyed_vectors()
    for near, far in (("sea", "wood"), ("wood", "sea")):
        for word in set(LATE[near]) - set(EARLY[near]):
            to_near = np.mean([keyed.similarity(word, other) for other in LATE[near] if other != word])
            to_far = np.mean([keyed.similarity(word, other) for other in LATE[far]])
            assert to_near > to_far + 0.2, (word, to_near, to_far)


def test_going_on_starts_from_a_lower_loss_than_starting_again() -> None:
    objective = sslcore.SkipGram(**FIELDS)
    text = sentences(EARLY, 400, seed=0)
    first = sslcore.pretrain(objective, text, seed=1)
    once = objective.model_copy(update={"epochs": 1, "learning_rate": 0.001})
    losses: dict[str, float] = {}

    def heard(name: str) -> object:
        return lambda step, metrics: losses.setdefault(name, metrics["loss"])

    sslcore.pretrain(once, grown(first, text), seed=2, continuing=first, on_metrics=heard("on"))  # type: ignore[arg-type]
    sslcore.pretrain(once, text, seed=2, on_metrics=heard("again"))  # type: ignore[arg-type]
    assert losses["on"] < losses["again"] - 0.3


def test_output_vectors_are_saved_where_training_may_go_on_and_only_there(tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    text = sentences(EARLY, 400, seed=0)
    kept = sslcore.pretrain(OBJECTIVES["skip_gram"], text, seed=1)
    kept.save(folder / "kept")
    torch.testing.assert_close(sslcore.load(folder / "kept").network.outputs, kept.network.outputs)
    assert kept.network.outputs.any()
    plain = sslcore.pretrain(sslcore.SkipGram(**{**FIELDS, "continuable": False}), text, seed=1)
    plain.save(folder / "plain")
    assert plain.network.outputs is None
    assert sslcore.load(folder / "plain").network.outputs is None


def test_what_cannot_go_on_is_said() -> None:
    first = sslcore.pretrain(OBJECTIVES["skip_gram"], sentences(EARLY, 50, seed=0), seed=1)
    late = grown(first, sentences(LATE, 50, seed=0))
    with pytest.raises(UserError, match="8 dimensions cannot go on from"):
        sslcore.pretrain(sslcore.SkipGram(dimensions=8), late, seed=0, continuing=first)
    with pytest.raises(UserError, match="no word in common"):
        sslcore.pretrain(sslcore.SkipGram(dimensions=16), [["x", "y"] * 9], seed=0, continuing=first)
    with pytest.raises(UserError, match="fast_text cannot go on from"):
        sslcore.pretrain(sslcore.FastText(dimensions=16), late, seed=0, continuing=first)
    with pytest.raises(UserError, match="denoising_autoencoder cannot go on from"):
        sslcore.pretrain(sslcore.DenoisingAutoencoder(dimensions=16), late, seed=0, continuing=first)


def test_the_autoencoder_goes_on_with_the_vocabulary_it_has() -> None:
    text = sentences(EARLY, 200, seed=0)
    first = sslcore.pretrain(sslcore.DenoisingAutoencoder(dimensions=8, epochs=2), text, seed=1)
    still = sslcore.DenoisingAutoencoder(dimensions=8, epochs=1, learning_rate=NO_STEP)
    second = sslcore.pretrain(still, text, seed=2, continuing=first)
    np.testing.assert_allclose(second.encode(["ship wave"]), first.encode(["ship wave"]), atol=1e-4)
