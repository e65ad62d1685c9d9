"""On real text: the compiled kernels agree with the reference, and the vectors with gensim's, as far as seeds agree.

The text is 300 news items of the Australian Broadcasting Corporation, 60,000 words, that gensim ships.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from sslcore.kernels import cpu, draws, huffman, reference
from sslcore.kernels.hot import Hot
from sslcore.objectives.cbow import CBOW
from sslcore.objectives.skip_gram import SkipGram
from sslcore.objectives.word_objective import WordObjective
from sslcore.training.pretraining import pretrain

FREQUENT, NEAREST, LEAST = 300, 10, 8
SETTINGS = {"window": 5, "epochs": 12}


@cache
def news() -> list[list[str]]:
    spec = find_spec("gensim")
    assert spec is not None
    assert spec.origin is not None
    lines = (Path(spec.origin).parent / "test/test_data/lee_background.cor").read_text("utf-8").splitlines()
    return [["".join(filter(str.isalpha, word)) or "0" for word in line.lower().split()] for line in lines]


MODELS: dict[str, tuple[int, int, Callable[..., tuple[float, int]]]] = {
    "skip-gram": (cpu.SKIP_GRAM, 5, reference.update_skip_gram),
    "CBOW": (cpu.CBOW_MEAN, 5, partial(reference.update_cbow, combine="mean")),
    "skip-gram, hierarchical softmax": (cpu.SKIP_GRAM, 0, reference.update_skip_gram),
}


@pytest.mark.parametrize("model", MODELS)
def test_the_kernel_ends_where_the_reference_does(model: str) -> None:
    """15,000 words, one after the other, so that a difference would have time to grow."""
    kind, K, update = MODELS[model]
    words, ids = np.unique([word for line in news() for word in line][:15_000], return_inverse=True)
    counts = np.bincount(ids)
    windows, state = draws.draw_windows(
        ids.astype(np.int32),
        np.array([0, 8_000, len(ids)]),
        reference.keep_probabilities(counts, 1e-3),
        5,
        np.uint64(1),
    )
    groups = -(-len(windows.words) // cpu.SHARING) if K else len(windows.words)
    noise = draws.alias_table(reference.noise_distribution(counts))
    negatives, times = draws.draw_negatives(noise, groups, K, state)
    paths = huffman.huffman_paths(counts)
    slow_in, slow_out = np.random.default_rng(0).normal(0, 0.1, (len(words), 16)), np.zeros((len(words), 16))
    fast_in, fast_out = (np.zeros((len(words), cpu.padded(16)), np.float32) for _ in range(2))
    fast_in[:, :16] = slow_in
    slow, slow_pairs = reference.update_windows(
        update, slow_in, slow_out, *windows[:3], negatives if K else paths, 0.1, 0.05
    )
    none_hot = Hot(fast_in[:0], fast_out[:0])
    fast, pairs = cpu.update_windows(
        kind, fast_in, fast_out, windows, negatives, times, huffman.NO_PATHS if K else paths, none_hot, 0.1, 0.05
    )
    assert pairs == slow_pairs
    assert fast == pytest.approx(slow, rel=1e-4)
    np.testing.assert_allclose(fast_in[:, :16], slow_in, atol=2e-3)
    np.testing.assert_allclose(fast_out[:, :16], slow_out, atol=2e-3)


def cosines(vectors: np.ndarray) -> np.ndarray:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T


def agreement(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Of the cosines between all words: how they correlate, and which share of the nearest neighbours is the same."""
    first, second = cosines(one), cosines(other)
    above = np.triu_indices(len(first), 1)
    near = [np.argsort(-np.where(np.eye(len(c)), -9, c), axis=1)[:, :NEAREST] for c in (first, second)]
    shared = np.mean([len(set(a) & set(b)) / NEAREST for a, b in zip(*near, strict=True)])
    return float(np.corrcoef(first[above], second[above])[0, 1]), float(shared)


def between(ones: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> np.ndarray:
    """The mean agreement of different runs."""
    return np.mean([agreement(one, other) for one in ones for other in others if one is not other], axis=0)


# Without hierarchical softmax: words of one frequency stand elsewhere in gensim's tree, and the tree shapes the space.
VARIANTS: dict[str, tuple[WordObjective, dict[str, float]]] = {
    "skip-gram": (SkipGram(dimensions=32, minimum_count=LEAST, **SETTINGS), {"sg": 1, "negative": 5}),
    "CBOW": (CBOW(dimensions=32, minimum_count=LEAST, **SETTINGS), {"sg": 0, "negative": 5}),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_words_lie_to_each_other_as_in_gensim(variant: str) -> None:
    """Ours agree with gensim's about as much as gensim's with each other, of another seed."""
    from gensim.models import Word2Vec

    objective, settings = VARIANTS[variant]
    theirs = [
        Word2Vec(
            news(), vector_size=32, min_count=LEAST, sample=objective.subsampling, alpha=objective.learning_rate,
            seed=seed, workers=1, **SETTINGS, **settings,
        ).wv
        for seed in (1, 2)
    ]  # fmt: skip
    ours = [pretrain(objective, news(), seed=seed, workers=1).to_keyed_vectors() for seed in (1, 2)]
    words = theirs[0].index_to_key[:FREQUENT]
    in_gensim, in_ours = ([keyed[words] for keyed in runs] for runs in (theirs, ours))
    noise, across = between(in_gensim, in_gensim), between(in_ours, in_gensim)
    assert (noise > [0.7, 0.1]).all()  # else there is nothing to agree on
    assert (across > noise - 0.05).all(), (noise, across)
