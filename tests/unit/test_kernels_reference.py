"""The reference is checked against the papers' formulas typed once more, and its gradient against differences."""

import heapq
import math
from collections.abc import Callable

import numpy as np
import pytest

from sslcore.kernels import huffman, reference


def pair_loss(u: np.ndarray, v: np.ndarray, noise: np.ndarray) -> float:
    """Mikolov et al. 2013b, equation 4, as a loss, for one pair of vectors and the vectors of its negatives."""

    def log_sigmoid(x: float) -> float:
        return math.log(1 / (1 + math.exp(-x)))

    return -(log_sigmoid(float(u @ v)) + sum(log_sigmoid(-float(u @ n)) for n in noise))


def window_loss(
    inputs: np.ndarray, outputs: np.ndarray, center: int, contexts: list[int], negatives: list[int]
) -> float:
    return sum(pair_loss(inputs[c], outputs[center], outputs[[n for n in negatives if n != center]]) for c in contexts)


CASES = [(3, [1, 2], [5, 6]), (0, [1, 1, 2], [4, 4, 5]), (2, [2], [2, 3]), (4, [0, 1, 2, 3], [4, 4])]


def numeric_gradient(loss: Callable[[], float], matrix: np.ndarray, h: float = 1e-6) -> np.ndarray:
    """By central differences; `loss` reads `matrix`."""
    gradient = np.zeros_like(matrix)
    for index in np.ndindex(*matrix.shape):
        value = matrix[index]
        matrix[index] = value + h
        above = loss()
        matrix[index] = value - h
        gradient[index] = (above - loss()) / (2 * h)
        matrix[index] = value
    return gradient


@pytest.mark.parametrize(("center", "contexts", "negatives"), CASES)
def test_an_update_is_a_gradient_step_on_equation_4(center: int, contexts: list[int], negatives: list[int]) -> None:
    generator = np.random.default_rng(0)
    inputs, outputs = generator.normal(size=(7, 5)), generator.normal(size=(7, 5))
    after_inputs, after_outputs = inputs.copy(), outputs.copy()
    targets = reference.negative_targets(center, np.array(negatives))
    loss, pairs = reference.update_skip_gram(after_inputs, after_outputs, [(np.array(contexts), targets)], 0.1)

    def by_the_paper() -> float:
        return window_loss(inputs, outputs, center, contexts, negatives)

    assert pairs == len(contexts)
    assert loss == pytest.approx(by_the_paper())
    for matrix, after in ((inputs, after_inputs), (outputs, after_outputs)):
        np.testing.assert_allclose(after - matrix, -0.1 * numeric_gradient(by_the_paper, matrix), atol=1e-8)


@pytest.mark.parametrize("combine", ["mean", "sum"])
@pytest.mark.parametrize(("center", "contexts", "negatives"), CASES)
def test_cbow_steps_along_the_gradient_of_the_contexts_together(
    center: int, contexts: list[int], negatives: list[int], combine: str
) -> None:
    """The outputs take an exact step; each context takes that of the mean, or the number's part of that of the sum."""
    generator = np.random.default_rng(0)
    inputs, outputs = generator.normal(size=(7, 5)), generator.normal(size=(7, 5))
    together = (inputs[contexts].mean if combine == "mean" else inputs[contexts].sum)(0)
    noise = [n for n in negatives if n != center]

    def by_the_paper() -> float:
        return pair_loss(together, outputs[center], outputs[noise])

    to_outputs, to_together = numeric_gradient(by_the_paper, outputs), numeric_gradient(by_the_paper, together)
    before = inputs.copy()
    targets = reference.negative_targets(center, np.array(negatives))
    changed = outputs.copy()
    loss, pairs = reference.update_cbow(inputs, changed, [(np.array(contexts), targets)], 0.1, combine)
    assert pairs == 1
    assert loss == pytest.approx(by_the_paper())
    np.testing.assert_allclose(changed - outputs, -0.1 * to_outputs, atol=1e-8)
    each = -0.1 * to_together / (1 if combine == "mean" else len(contexts))
    for word in range(7):
        np.testing.assert_allclose(inputs[word] - before[word], contexts.count(word) * each, atol=1e-8)


def test_hierarchical_softmax_is_a_distribution_over_the_words() -> None:
    """Its loss is -log p(center | context), and the p of all words sum to 1 (Mikolov et al. 2013b, equation 3)."""
    generator = np.random.default_rng(0)
    paths = huffman.huffman_paths(np.array([0, 5, 1, 8, 2, 2, 40]))
    inputs, outputs = generator.normal(size=(7, 5)), generator.normal(size=(6, 5))
    total = 0.0
    for word in range(1, 7):
        targets = reference.path_targets(word, paths)
        after_inputs, after_outputs = inputs.copy(), outputs.copy()
        loss, _ = reference.update_skip_gram(after_inputs, after_outputs, [(np.array([3]), targets)], 0.1)
        total += math.exp(-loss)

        def again(targets: reference.Targets = targets) -> float:
            return reference.step(inputs[[3]], outputs[targets[0]], targets[1])[2]

        np.testing.assert_allclose(after_inputs - inputs, -0.1 * numeric_gradient(again, inputs), atol=1e-8)
        np.testing.assert_allclose(after_outputs - outputs, -0.1 * numeric_gradient(again, outputs), atol=1e-8)
    assert total == pytest.approx(1)


@pytest.mark.parametrize("seed", range(5))
def test_the_tree_is_as_short_as_a_huffman_tree(seed: int) -> None:
    counts = np.random.default_rng(seed).zipf(1.3, 300).clip(max=10**9)
    counts[[0, 17]] = 0
    heap = [(int(count), 0) for count in counts if count]
    heapq.heapify(heap)
    cost = 0
    while len(heap) > 1:
        joined = heapq.heappop(heap)[0] + heapq.heappop(heap)[0]
        cost += joined
        heapq.heappush(heap, (joined, 0))
    paths = huffman.huffman_paths(counts)
    lengths = np.diff(paths.offsets)
    assert (counts * lengths).sum() == cost
    assert lengths[0] == lengths[17] == 0
    assert sum(0.5 ** lengths[counts > 0]) == 1  # every turn leads somewhere, no word lies on another's way
    assert paths.nodes.max() == 296
    assert (paths.nodes[paths.offsets[:-1][counts > 0]] == 0).all()  # all begin at the root


def test_the_windows_of_a_group_lie_apart_and_share_their_negatives_and_rate() -> None:
    seen = []

    def update(
        inputs: np.ndarray, outputs: np.ndarray, group: list[reference.Window], rate: float
    ) -> tuple[float, int]:
        seen.append(([int(targets[0][0]) for _, targets in group], {int(targets[0][1]) for _, targets in group}, rate))
        return 0.0, 0

    words, zeros = np.arange(7), np.zeros((9, 2))
    negatives = np.array([[7], [8], [7]])
    reference.update_windows(update, zeros, zeros, words, words * 0, words * 0 + 7, negatives, 0.3, 0.0)
    assert [(centers, noise) for centers, noise, _ in seen] == [([0, 3, 6], {7}), ([1, 4], {8}), ([2, 5], {7})]
    assert [rate for *_, rate in seen] == pytest.approx([0.3, 0.2, 0.1])


@pytest.mark.parametrize("combine", ["mean", "sum"])
def test_the_windows_of_a_cbow_group_are_one_step(combine: str) -> None:
    """Each sees what was before; together they move what the sum of their losses says, also a row that both hold."""
    generator = np.random.default_rng(0)
    inputs, outputs = generator.normal(size=(7, 5)), generator.normal(size=(7, 5))
    group = [(np.array([1, 2]), reference.negative_targets(3, np.array([5, 4]))),
             (np.array([2, 6]), reference.negative_targets(5, np.array([5, 4])))]  # fmt: skip
    together, apart = (inputs.copy(), outputs.copy()), [(inputs.copy(), outputs.copy()) for _ in group]
    loss, pairs = reference.update_cbow(*together, group, 0.1, combine)
    alone = [
        reference.update_cbow(*matrices, [window], 0.1, combine) for matrices, window in zip(apart, group, strict=True)
    ]
    assert (loss, pairs) == (pytest.approx(sum(loss for loss, _ in alone)), 2)
    for m, before in enumerate((inputs, outputs)):
        np.testing.assert_allclose(together[m] - before, sum(matrices[m] - before for matrices in apart))


def test_keep_probability_is_that_of_word2vec_c() -> None:
    counts, threshold = np.array([0, 900, 90, 10]), 1e-2
    expected = [0.0] + [
        min(1.0, (math.sqrt(n / (threshold * 1000)) + 1) * (threshold * 1000) / n) for n in (900, 90, 10)
    ]
    np.testing.assert_allclose(reference.keep_probabilities(counts, threshold), expected)


def test_without_subsampling_every_word_stays_and_special_tokens_do_not() -> None:
    assert reference.keep_probabilities(np.array([0, 5, 1]), 0).tolist() == [0, 1, 1]


def test_noise_of_another_exponent_still_leaves_out_what_never_occurs() -> None:
    np.testing.assert_allclose(reference.noise_distribution(np.array([0, 1, 3]), 0.0), [0, 0.5, 0.5])
    np.testing.assert_allclose(reference.noise_distribution(np.array([0, 1, 3]), -1.0), [0, 0.75, 0.25])


def test_noise_is_counts_to_the_three_quarters() -> None:
    np.testing.assert_allclose(reference.noise_distribution(np.array([0, 1, 16])), [0, 1 / 9, 8 / 9])


def test_contexts_are_the_words_around_and_a_lonely_word_has_none() -> None:
    inputs, outputs = np.ones((4, 2)), np.ones((4, 2))
    words, first, last = np.array([1, 2, 3]), np.array([0, 0, 2]), np.array([2, 2, 3])
    negatives = np.zeros((3, 1), int)
    update = reference.update_skip_gram
    _, pairs = reference.update_windows(update, inputs, outputs, words, first, last, negatives, 0.1, 0.1)
    assert pairs == 2
    assert inputs[3].tolist() == [1, 1]
