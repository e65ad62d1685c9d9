"""FastText: its n-grams against gensim's, its updates against the reference, and what it says of unseen words."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from sslcore.finetuning.encoded import EncodedTexts
from sslcore.kernels import draws, reference, subwords
from sslcore.kernels.cpu import padded
from sslcore.models.encoder import Encoder
from sslcore.models.subword_vectors import NgramSpace
from sslcore.objectives.fast_text import FastText
from sslcore.randomness import torch_generator
from sslcore.tokenization.encoding import EncodedCorpus
from sslcore.training.pretraining import pretrain

WORDS = [
    "a",
    "of",
    "word",
    "naïve",
    "über",
    "中",
    "中文",
    "自然语言",
    "aaaa",
    "<odd>",
    "𝄞𝄞",
    "pneumonoultramicroscopic",
]


@pytest.mark.parametrize(("shortest", "longest"), [(3, 6), (1, 3), (2, 2), (4, 4)])
def test_ngrams_fall_into_the_buckets_of_gensim(shortest: int, longest: int) -> None:
    from gensim.models.fasttext import ft_ngram_hashes

    offsets, buckets = NgramSpace(shortest, longest, 1000).of(WORDS)
    for w, word in enumerate(WORDS):
        theirs = ft_ngram_hashes(word, shortest, longest, 1000)
        ours = buckets[offsets[w] : offsets[w + 1]].tolist()
        if shortest == 1:  # fastText's own code leaves out < and > alone, gensim does not
            assert set(ours) <= set(theirs)
        else:
            assert sorted(ours) == sorted(theirs)


@pytest.mark.parametrize("dimensions", [1, 9, 100])
@pytest.mark.parametrize(("window", "negatives"), [(1, 1), (5, 5), (3, 20)])
def test_the_kernel_makes_the_updates_of_the_reference(window: int, negatives: int, dimensions: int) -> None:
    """Seven words in bags that share rows, one with a row twice."""
    generator = np.random.default_rng(dimensions)
    counts = np.array([0, 400, 300, 200, 50, 30, 15, 5])
    bags_of = [[], [1, 8, 9], [2, 9], [3, 8, 10, 10], [4], [5, 11], [6, 9, 10], [7, 8, 9, 10, 11]]
    bags = subwords.Bags(np.cumsum([0, *map(len, bags_of)]), np.concatenate(bags_of).astype(np.int32))
    ids = generator.choice(8, 40, p=counts / counts.sum()).astype(np.int32)
    keep = reference.keep_probabilities(counts, 0)
    windows, state = draws.draw_windows(ids, np.array([0, 15, 16, 40]), keep, window, np.uint64(3))
    noise = draws.alias_table(reference.noise_distribution(counts))
    drawn, times = draws.draw_negatives(noise, len(windows.words), negatives, state)
    times *= np.float32(0.5)
    slow_in, slow_out = (generator.normal(0, dimensions**-0.25, (n, dimensions)) for n in (12, 8))
    fast_in, fast_out = (np.zeros((n, padded(dimensions)), np.float32) for n in (12, 8))
    fast_in[:, :dimensions], fast_out[:, :dimensions] = slow_in, slow_out
    slow_loss = slow_pairs = 0.0
    for i, word in enumerate(windows.words):
        contexts = np.array([windows.words[j] for j in range(windows.first[i], windows.last[i]) if j != i], np.int64)
        if len(contexts):
            rate = 0.05 - 0.04 * i / len(windows.words)
            loss, pairs = reference.update_subwords(
                slow_in, slow_out, np.array(bags_of[word]), contexts, drawn[i], times[i], rate
            )
            slow_loss, slow_pairs = slow_loss + loss, slow_pairs + pairs
    fast_loss, fast_pairs = subwords.update_subword_windows(fast_in, fast_out, bags, windows, drawn, times, 0.05, 0.01)
    assert fast_pairs == slow_pairs
    assert fast_loss == pytest.approx(slow_loss, rel=1e-4)
    np.testing.assert_allclose(fast_in[:, :dimensions], slow_in, atol=2e-4)
    np.testing.assert_allclose(fast_out[:, :dimensions], slow_out, atol=2e-4)


def test_more_negatives_are_drawn_than_asked_for_and_all_together_count_as_those() -> None:
    """Where outputs are zero every decision costs log 2: one for the context, K for the noise."""
    V, K = 1000, 5
    bags = subwords.Bags(np.arange(V + 1), np.arange(V, dtype=np.int32))
    ids = np.random.default_rng(0).integers(0, V, 400).astype(np.int32)
    noise = draws.alias_table(np.full(V, 1 / V))
    inputs, outputs = (np.zeros((V, padded(8)), np.float32) for _ in range(2))
    loss, pairs = subwords.train_subword_stretch(
        ids, np.array([0, 400]), np.ones(V), 5, bags, noise, K, np.uint64(0), inputs, outputs, 0.0, 0.0
    )
    assert loss / pairs == pytest.approx((1 + K) * np.log(2), rel=0.02)  # a negative that is a context is left out


def test_taking_apart_and_putting_together_are_inverse() -> None:
    bags = subwords.Bags(np.array([0, 0, 3, 5]), np.array([1, 3, 4, 2, 4], np.int32))
    table = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    rows = table.copy()
    subwords.take_apart(rows, bags)
    np.testing.assert_allclose(rows[[1, 3, 4]].mean(0), table[1], rtol=1e-5)
    np.testing.assert_allclose(subwords.put_together(rows, bags), table, rtol=1e-5, atol=1e-6)


def test_words_alike_in_form_begin_alike() -> None:
    """The prior of the n-grams: before any training `fruitax` is nearer to `fruitay` than to `metalax`."""
    tokenizer = EncodedCorpus.from_token_lists(forms(20), minimum_count=1).tokenizer
    objective = FastText(dimensions=100, buckets=5000)
    network = objective.network(tokenizer, torch_generator(0))
    fresh = Encoder(tokenizer, network, objective.model_dump(mode="json"), 0)
    first, kin, stranger = fresh.encode(["fruitax", "fruitay", "metalax"])
    assert cosine(first, kin) > cosine(first, stranger) + 0.2


STEMS = ("fruit", "metal")


def forms(documents: int = 600) -> list[list[str]]:
    """Two topics whose words are forms of one stem each."""
    generator = np.random.default_rng(0)
    endings = [f"{a}{b}" for a in "abcdefg" for b in "xyz"]
    return [[STEMS[d % 2] + str(generator.choice(endings)) for _ in range(30)] for d in range(documents)]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return pretrain(FastText(dimensions=24, epochs=4, subsampling=0, buckets=5000), forms(), seed=0)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_an_unseen_form_lies_with_its_stem(encoder: Encoder) -> None:
    unseen, kin, stranger = encoder.encode(["fruitqq", "fruitax fruitby", "metalax metalby"])
    assert "fruitqq" not in encoder.tokenizer.ids
    assert cosine(unseen, kin) > 0.8
    assert cosine(unseen, stranger) < cosine(unseen, kin) - 0.3


def test_a_word_is_the_mean_of_its_bag_also_after_saving(encoder: Encoder, tmp_path: Path) -> None:
    encoder.save(tmp_path)
    loaded = Encoder.load(tmp_path)
    texts = ["fruitax", "fruitqq metalax", "zzz", ""]
    assert np.array_equal(loaded.encode(texts), encoder.encode(texts))
    assert not encoder.encode(["zzz", ""]).any()  # no n-gram of it was ever trained


def test_an_unseen_word_alone_is_the_mean_of_its_trained_ngrams(encoder: Encoder) -> None:
    offsets, buckets = NgramSpace(3, 6, 5000).of(["fruitqq"])
    table = encoder.network.vectors.detach().numpy()
    rows = [encoder.network.vocabulary + np.flatnonzero(encoder.network.used == b)[0]
            for b in buckets if b in encoder.network.used]  # fmt: skip
    assert 0 < len(rows) < offsets[1]
    np.testing.assert_allclose(encoder.encode(["fruitqq"])[0], table[rows].mean(0), rtol=1e-4, atol=1e-6)


def test_downstream_texts_hold_the_ngrams_of_unknown_words(encoder: Encoder) -> None:
    texts = EncodedTexts.of(["fruitax", "fruitqq", "zzz"], encoder.tokenizer, encoder.network, maximum_tokens=512)
    sizes = np.diff(texts.offsets).tolist()
    assert sizes[0] == 1
    assert sizes[1] > 5
    assert sizes[2] == 0
    assert texts.ids.max() < encoder.known_ids


def test_gensim_gets_the_same_vectors_of_seen_and_unseen_words(encoder: Encoder) -> None:
    keyed = encoder.to_keyed_vectors()
    np.testing.assert_allclose(keyed["fruitax"], encoder.encode(["fruitax"])[0], rtol=1e-5)
    assert "fruitqq" not in keyed.key_to_index
    assert cosine(keyed["fruitqq"], encoder.encode(["fruitqq"])[0]) == pytest.approx(1, abs=1e-5)


def test_chinese_words_share_their_characters() -> None:
    generator = np.random.default_rng(0)
    topics = [[a + b for a in half for b in half] for half in ("天地日月", "牛马羊鸡")]
    lists = [list(generator.choice(topics[d % 2], 20)) for d in range(400)]
    encoder = pretrain(FastText(dimensions=16, shortest_ngram=2, subsampling=0, buckets=999), lists, seed=0)
    unseen, kin, stranger = encoder.encode(["天日月", "天日 日月", "牛羊 羊鸡"])
    assert cosine(unseen, kin) > cosine(unseen, stranger) + 0.3


@pytest.mark.parametrize(("fields", "message"), [
    ({"shortest_ngram": 5, "longest_ngram": 4}, "shortest_ngram is 5, longest_ngram is 4"),
    ({"buckets": 0}, "buckets"),
    ({"output": "hierarchical_softmax"}, "output"),
])  # fmt: skip
def test_wrong_fields_are_refused(fields: dict[str, int], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FastText(**fields)
