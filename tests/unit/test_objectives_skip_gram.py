"""What is skip-gram's own, beyond the table of all objectives."""

import numpy as np
import pytest
from pydantic import ValidationError

from sslcore.errors import UserError
from sslcore.models.encoder import Encoder
from sslcore.objectives.skip_gram import STRETCH, STRETCHES, SkipGram, documents_between
from sslcore.randomness import numpy_generator, torch_generator
from sslcore.tokenization.encoding import EncodedCorpus
from sslcore.training.loop import train
from sslcore.training.pretraining import pretrain


def two_topics(documents: int = 400, seed: int = 0) -> list[list[str]]:
    """Documents about fruit or about tools; a word of one never meets a word of the other."""
    generator = np.random.default_rng(seed)
    topics = [[f"{topic}{i}" for i in range(20)] for topic in ("fruit", "tool")]
    return [list(generator.choice(topics[d % 2], 30)) for d in range(documents)]


def test_words_that_meet_come_to_lie_together() -> None:
    keyed = pretrain(SkipGram(dimensions=20, subsampling=0), two_topics(), seed=0).to_keyed_vectors()
    within = keyed.n_similarity(["fruit0", "fruit1"], ["fruit2", "fruit3"])
    across = keyed.n_similarity(["fruit0", "fruit1"], ["tool2", "tool3"])
    assert within > 0.9
    assert across < within - 0.3


def test_threads_learn_the_same_thing_though_not_the_same_bits() -> None:
    lists = two_topics(6000)
    one = pretrain(SkipGram(dimensions=16, epochs=1, subsampling=0), lists, seed=0)
    many = pretrain(SkipGram(dimensions=16, epochs=1, subsampling=0, deterministic=False), lists, seed=0, workers=2)
    similar = [encoder.to_keyed_vectors().similarity("tool0", "tool1") for encoder in (one, many)]
    assert similar[1] == pytest.approx(similar[0], abs=0.1)


def test_the_number_of_workers_does_not_change_the_deterministic_result() -> None:
    lists = two_topics()
    one, two = (pretrain(SkipGram(dimensions=8, epochs=1), lists, seed=0, workers=n) for n in (1, 2))
    assert np.array_equal(one.network.word_vectors(), two.network.word_vectors())


def test_training_goes_on_from_the_vectors_the_encoder_has() -> None:
    """The seam of continued pretraining: a learner starts from its encoder, not from fresh vectors."""
    corpus, objective = EncodedCorpus.from_token_lists(two_topics()), SkipGram(dimensions=8, epochs=1)
    encoder = pretrain(objective, corpus, seed=0)
    before = encoder.network.word_vectors().copy()
    learner = objective.learner(encoder, torch_generator(0), device="cpu", workers=1)
    assert np.array_equal(learner.encoder.network.word_vectors(), before)
    first = next(train(learner, objective.batches(corpus, numpy_generator(1))))[1]
    fresh = Encoder(corpus.tokenizer, objective.network(corpus.tokenizer, torch_generator(1)), encoder.objective, 0)
    start = next(
        train(
            objective.learner(fresh, torch_generator(0), device="cpu", workers=1),
            objective.batches(corpus, numpy_generator(1)),
        )
    )[1]
    assert first["loss"] != start["loss"]


def test_batches_cover_every_token_once_in_each_epoch() -> None:
    lists = [[str(i % 50)] * (1 + i % 700) for i in range(900)]  # 315,000 tokens: several batches, odd lengths
    corpus = EncodedCorpus.from_token_lists(lists)
    batches = list(SkipGram(epochs=2).batches(corpus, numpy_generator(0)))
    assert sum(batch.tokens for batch in batches) == 2 * corpus.tokens
    assert all(batch.tokens <= STRETCH * STRETCHES for batch in batches)
    half = len(batches) // 2
    for epoch in (batches[:half], batches[half:]):
        ids = np.concatenate([stretch.ids for batch in epoch for stretch in batch.stretches])
        assert (np.bincount(ids) == np.bincount(corpus.ids)).all()
    assert [batch.begin for batch in batches[1:]] == [batch.end for batch in batches[:-1]]
    assert batches[-1].end == 1
    assert len({stretch.seed for batch in batches for stretch in batch.stretches}) == sum(
        len(batch.stretches) for batch in batches
    )


def test_document_bounds_within_a_stretch() -> None:
    offsets = np.array([0, 3, 3, 7, 10])
    assert documents_between(offsets, 0, 10).tolist() == [0, 3, 3, 7, 10]
    assert documents_between(offsets, 2, 8).tolist() == [0, 1, 1, 5, 6]
    assert documents_between(offsets, 3, 7).tolist() == [0, 4]


def test_keyed_vectors_are_gensims_with_counts_and_without_special_tokens() -> None:
    encoder = pretrain(SkipGram(dimensions=7, epochs=1), [["a", "b", "a"] * 10], seed=0)
    keyed = encoder.to_keyed_vectors()
    assert sorted(keyed.index_to_key) == ["a", "b"]
    assert keyed.get_vecattr("a", "count") == 20
    assert np.array_equal(keyed["b"], encoder.network.word_vectors()[encoder.tokenizer.ids["b"]])


def test_the_vector_of_a_text_is_the_sif_weighted_mean_of_its_words() -> None:
    """Arora et al. 2017, algorithm 1 line 2, normalised by the weights' sum; typed again."""
    encoder = pretrain(SkipGram(dimensions=5, epochs=1), [["a", "b", "a", "c"] * 9], seed=0)
    ids, vectors = encoder.tokenizer.ids, encoder.network.word_vectors().astype(float)
    weight = {"a": 1e-3 / (1e-3 + 18 / 36), "b": 1e-3 / (1e-3 + 9 / 36)}
    expected = (2 * weight["a"] * vectors[ids["a"]] + weight["b"] * vectors[ids["b"]]) / (2 * weight["a"] + weight["b"])
    np.testing.assert_allclose(encoder.encode(["a unknown a b"])[0], expected, rtol=1e-5, atol=1e-7)


def test_mean_pooling_is_the_plain_mean() -> None:
    encoder = pretrain(SkipGram(dimensions=5, epochs=1, pooling="mean"), [["a", "b", "a", "c"] * 9], seed=0)
    ids, vectors = encoder.tokenizer.ids, encoder.network.word_vectors()
    np.testing.assert_allclose(
        encoder.encode(["a a b"])[0], (2 * vectors[ids["a"]] + vectors[ids["b"]]) / 3, rtol=1e-5, atol=1e-7
    )


def test_negatives_may_outnumber_the_vocabulary() -> None:
    encoder = pretrain(SkipGram(dimensions=4, negatives=200), [["a", "b"] * 20], seed=0)
    assert np.isfinite(encoder.network.word_vectors()).all()


def test_documents_of_one_word_teach_nothing_and_are_refused() -> None:
    with pytest.raises(UserError, match="no document of this corpus has two words"):
        pretrain(SkipGram(), [["a"], ["b"]] * 5, seed=0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("window", 0),
        ("negatives", 0),
        ("subsampling", -1),
        ("subsampling", float("nan")),
        ("learning_rate", float("inf")),
    ],
)
def test_values_out_of_range_are_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(ValidationError, match=field):
        SkipGram(**{field: value})
