"""What is the word objectives' own, beyond the table of all objectives."""

import sys
import tracemalloc

import numpy as np
import pytest
from pydantic import ValidationError

from sslcore import kernels
from sslcore.errors import UserError
from sslcore.models.encoder import Encoder
from sslcore.objectives.cbow import CBOW
from sslcore.objectives.fast_text import FastText
from sslcore.objectives.skip_gram import SkipGram
from sslcore.objectives.word_objective import STRETCH, STRETCHES, WordObjective, documents_between, gpu_learner
from sslcore.randomness import torch_generator
from sslcore.tokenization.encoding import EncodedCorpus
from sslcore.training.epochs import EpochOrder
from sslcore.training.loop import Ahead, train
from sslcore.training.pretraining import pretrain


def two_topics(documents: int = 400, seed: int = 0) -> list[list[str]]:
    """Documents about fruit or about tools; a word of one never meets a word of the other."""
    generator = np.random.default_rng(seed)
    topics = [[f"{topic}{i}" for i in range(20)] for topic in ("fruit", "tool")]
    return [list(generator.choice(topics[d % 2], 30)) for d in range(documents)]


VARIANTS = {
    "skip-gram": SkipGram(dimensions=20, subsampling=0),
    "skip-gram, hierarchical softmax": SkipGram(dimensions=20, subsampling=0, output="hierarchical_softmax"),
    "CBOW of means": CBOW(dimensions=20, subsampling=0),
    "CBOW, hierarchical softmax": CBOW(dimensions=20, subsampling=0, output="hierarchical_softmax"),
}


def test_cbow_of_sums_keeps_what_all_words_share_as_gensims_does() -> None:
    """The sum of many contexts saturates: on a text like this both libraries leave one direction in every vector."""
    from gensim.models import Word2Vec

    settings = {"sg": 0, "cbow_mean": 0, "vector_size": 20, "window": 10, "sample": 0, "alpha": 0.05, "workers": 1}
    theirs = Word2Vec(two_topics(), min_count=1, epochs=5, **settings).wv
    ours = pretrain(CBOW(dimensions=20, subsampling=0, context="sum"), two_topics(), seed=0).to_keyed_vectors()
    for first, second in (("fruit", "fruit"), ("fruit", "tool")):
        words = [f"{first}{i}" for i in range(10)], [f"{second}{i}" for i in range(10, 20)]
        assert ours.n_similarity(*words) == pytest.approx(theirs.n_similarity(*words), abs=0.02)


@pytest.mark.parametrize("variant", VARIANTS)
def test_words_that_meet_come_to_lie_together(variant: str) -> None:
    keyed = pretrain(VARIANTS[variant], two_topics(), seed=0).to_keyed_vectors()
    fruits, tools = ([f"{topic}{i}" for i in range(20)] for topic in ("fruit", "tool"))
    within, across = keyed.n_similarity(fruits[:10], fruits[10:]), keyed.n_similarity(fruits, tools)
    assert within > 0.9
    assert across < within - 0.3


def test_threads_learn_the_same_thing_though_not_the_same_bits() -> None:
    lists = two_topics(6000)
    one = pretrain(SkipGram(dimensions=16, epochs=1, subsampling=0, deterministic=True), lists, seed=0)
    many = pretrain(SkipGram(dimensions=16, epochs=1, subsampling=0), lists, seed=0, workers=2)
    similar = [encoder.to_keyed_vectors().similarity("tool0", "tool1") for encoder in (one, many)]
    assert similar[1] == pytest.approx(similar[0], abs=0.1)


def test_the_number_of_workers_does_not_change_the_deterministic_result() -> None:
    lists = two_topics()
    objective = SkipGram(dimensions=8, epochs=1, deterministic=True)
    one, two = (pretrain(objective, lists, seed=0, workers=n) for n in (1, 2))
    assert np.array_equal(one.network.word_vectors(), two.network.word_vectors())


def test_training_goes_on_from_the_vectors_the_encoder_has() -> None:
    """The seam of continued pretraining: a learner starts from its encoder, not from fresh vectors."""
    corpus, objective = EncodedCorpus.from_token_lists(two_topics()), SkipGram(dimensions=8, epochs=1)
    encoder = pretrain(objective, corpus, seed=0)
    before = encoder.network.word_vectors().copy()
    learner = objective.learner(encoder, torch_generator(0), device="cpu", workers=1)
    assert np.array_equal(learner.encoder.network.word_vectors(), before)
    first = next(train(learner, Ahead(objective.batches(corpus, 1))))[1]
    fresh = Encoder(corpus.tokenizer, objective.network(corpus.tokenizer, torch_generator(1)), encoder.objective, 0)
    start = next(
        train(
            objective.learner(fresh, torch_generator(0), device="cpu", workers=1),
            Ahead(objective.batches(corpus, 1)),
        )
    )[1]
    assert first["loss"] != start["loss"]


def test_batches_cover_every_token_once_in_each_epoch() -> None:
    lists = [[str(i % 50)] * (1 + i % 700) for i in range(900)]  # 315,000 tokens: several batches, odd lengths
    corpus = EncodedCorpus.from_token_lists(lists)
    batches = list(Ahead(SkipGram(epochs=2).batches(corpus, 0)))
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


def corpus_of(ids: np.ndarray) -> EncodedCorpus:
    """One document of these ids over the vocabulary of two topics."""
    offsets = np.array([0, len(ids)])
    return EncodedCorpus(ids, offsets, offsets, EncodedCorpus.from_token_lists(two_topics(100)).tokenizer)


@pytest.mark.parametrize("wrong", [-1, 45, 2**31 - 1])
def test_an_id_outside_the_vocabulary_is_named_before_it_is_used(wrong: int) -> None:
    ids = np.tile(np.arange(5, 45, dtype=np.int32), 30)
    ids[777] = wrong
    with pytest.raises(UserError, match=f"token 777 of the corpus has the id {wrong}, but its vocabulary has 45"):
        pretrain(SkipGram(dimensions=8, epochs=1), corpus_of(ids), seed=0)


def test_a_corpus_of_more_than_two_to_the_31_tokens_is_cut_where_it_should_be() -> None:
    """One word that stands two thousand million times, without taking memory: the last batch trains as any other."""
    tokens = 2**31 + 3 * STRETCH
    corpus = corpus_of(np.broadcast_to(np.int32(7), tokens))
    corpus.document_offsets = np.array([0, 10, 2**31 + 5, tokens])
    objective = SkipGram(dimensions=8, epochs=1, deterministic=True, subsampling=0)

    batches = objective.batches(corpus, 0)
    last = batches[EpochOrder(len(batches), 0).place_of_last(0)]
    assert last.tokens == tokens % (STRETCH * STRETCHES)
    assert sum(len(stretch.ids) for stretch in last.stretches) == last.tokens
    assert last.stretches[0].boundaries.tolist() == [0, 5, STRETCH]
    assert last.end - last.begin == pytest.approx(last.tokens / tokens)
    network = objective.network(corpus.tokenizer, torch_generator(0))
    before = network.word_vectors().copy()
    encoder = Encoder(corpus.tokenizer, network, objective.model_dump(mode="json"), 0)
    learner = objective.learner(encoder, torch_generator(0), device="cpu", workers=1)
    assert np.isfinite(learner.update(last)["loss"])
    moved = np.flatnonzero((learner.encoder.network.word_vectors() != before).any(axis=1))
    assert moved.tolist() == [7]


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


def test_words_rarer_than_the_minimum_count_are_passed_over() -> None:
    """As if they were not there: the others are trained as on a text without them, and have the only vectors."""
    lists = [["a", "rare", "b", "c", "rare"], ["rare", "c", "b", "a"]] + [["a", "b", "c"]] * 20
    corpus = EncodedCorpus.from_token_lists(lists, minimum_count=1)
    objective = SkipGram(dimensions=6, epochs=2, minimum_count=4, subsampling=0, deterministic=True)
    encoder = pretrain(objective, corpus, seed=0)
    assert sorted(encoder.to_keyed_vectors().index_to_key) == ["a", "b", "c"]
    assert not encoder.encode(["rare"]).any()
    assert np.array_equal(encoder.encode(["a rare b"]), encoder.encode(["a b"]))
    untouched = encoder.fresh(torch_generator(0, "skip_gram", "network")).network.word_vectors()
    rare = corpus.tokenizer.ids["rare"]
    assert np.array_equal(encoder.network.word_vectors()[rare], untouched[rare])


def test_a_minimum_count_that_leaves_no_two_words_is_refused() -> None:
    with pytest.raises(UserError, match=r"0 that occur 100 times or more \(minimum_count\), of 2"):
        pretrain(SkipGram(minimum_count=100), [["a", "b"]] * 10, seed=0)


def test_the_rate_falls_or_stays() -> None:
    corpus = EncodedCorpus.from_token_lists([["a", "b", "c"] * 10])

    def rates(objective: WordObjective) -> list[float]:
        steps: list[float] = []
        pretrain(objective, corpus, seed=0, on_metrics=lambda step, m: steps.append(m["learning_rate"]))
        return steps

    to_a_tenth = pytest.approx([0.1, 0.0775, 0.055, 0.0325])
    assert rates(SkipGram(epochs=4, learning_rate=0.1)) == to_a_tenth
    to_nearly_nothing = pytest.approx([0.1, 0.075, 0.05, 0.025], rel=1e-3)
    assert rates(SkipGram(epochs=4, learning_rate=0.1, output="hierarchical_softmax")) == to_nearly_nothing
    assert rates(FastText(epochs=4, learning_rate=0.1)) == to_nearly_nothing
    assert rates(SkipGram(epochs=4, learning_rate=0.1, schedule="constant")) == [0.1] * 4


def test_unit_pooling_is_the_mean_of_unit_vectors() -> None:
    encoder = pretrain(SkipGram(dimensions=5, epochs=1, pooling="unit"), [["a", "b", "a", "c"] * 9], seed=0)
    vectors = encoder.network.word_vectors()
    a, b = (vectors[encoder.tokenizer.ids[word]] for word in "ab")
    expected = (2 * a / np.linalg.norm(a) + b / np.linalg.norm(b)) / 3
    np.testing.assert_allclose(encoder.encode(["a b a"])[0], expected, rtol=1e-5, atol=1e-7)


def test_frequent_words_turn_less_often_on_their_path() -> None:
    """Hierarchical softmax reports a loss per pair that is a code length: below the entropy of the words in bits."""
    lists = [["the"] * 50 + [f"w{i}"] for i in range(64)] * 5
    steps: list[float] = []
    objective = SkipGram(dimensions=8, window=2, subsampling=0, output="hierarchical_softmax", epochs=3)
    pretrain(objective, lists, seed=0, on_metrics=lambda step, m: steps.append(m["loss"]))
    assert steps[-1] < 0.3  # nats; a flat code of 65 words would cost 4.2


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
        ("learning_rate", float("nan")),
        ("dimensions", 0),
        ("minimum_count", 0),
        ("output", "softmax"),
        ("schedule", "cosine"),
    ],
)
def test_values_out_of_range_are_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(ValidationError, match=field):
        SkipGram(**{field: value})


def test_a_gpu_without_triton_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = EncodedCorpus.from_token_lists([["sea", "ship"] * 9])
    objective = SkipGram(dimensions=4)
    network = objective.network(corpus.tokenizer, torch_generator(0))
    encoder = Encoder(corpus.tokenizer, network, objective.model_dump(mode="json"), 0)
    monkeypatch.delitem(sys.modules, "sslcore.kernels.gpu", raising=False)
    monkeypatch.delattr(kernels, "gpu", raising=False)
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(UserError, match=r"skip_gram on cuda:0 needs the package triton"):
        gpu_learner(objective, 0, encoder, "cuda:0")


def test_a_finished_learner_has_let_go_of_what_only_training_needs() -> None:
    corpus = EncodedCorpus.from_token_lists([[f"w{i % 5000}" for i in range(20_000)]], minimum_count=1)
    objective = CBOW(dimensions=64, minimum_count=1)
    encoder = Encoder(corpus.tokenizer, objective.network(corpus.tokenizer, torch_generator(0)), {}, 0)
    start = encoder.network.word_vectors().copy()
    tracemalloc.start()
    learner = objective.learner(encoder, torch_generator(0), device="cpu", workers=2)
    assert encoder.network.vectors.numel() == 0  # the kernel's matrix is the only copy
    for batch in Ahead(objective.batches(corpus, 0)):
        learner.update(batch)
    so_far = learner.encoder.network.word_vectors().copy()
    outputs = learner.matrices["outputs"].nbytes
    before, _ = tracemalloc.get_traced_memory()
    finished = learner.finish().network.word_vectors()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert before - after > 0.9 * outputs > 1_000_000
    np.testing.assert_array_equal(finished, so_far)
    assert not np.array_equal(finished, start)
