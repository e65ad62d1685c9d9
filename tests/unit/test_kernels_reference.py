"""The reference is checked against the papers' formulas typed once more, and its gradient against differences."""

import math

import numpy as np
import pytest

from sslcore.kernels import reference


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


@pytest.mark.parametrize(("center", "contexts", "negatives"), CASES)
def test_an_update_is_a_gradient_step_on_equation_4(center: int, contexts: list[int], negatives: list[int]) -> None:
    generator = np.random.default_rng(0)
    inputs, outputs = generator.normal(size=(7, 5)), generator.normal(size=(7, 5))
    after_inputs, after_outputs = inputs.copy(), outputs.copy()
    rate, h = 0.1, 1e-6
    loss = reference.update_window(after_inputs, after_outputs, center, np.array(contexts), np.array(negatives), rate)
    assert loss == pytest.approx(window_loss(inputs, outputs, center, contexts, negatives))
    for matrix, after in ((inputs, after_inputs), (outputs, after_outputs)):
        numeric = np.zeros_like(matrix)
        for index in np.ndindex(*matrix.shape):
            value = matrix[index]
            matrix[index] = value + h
            above = window_loss(inputs, outputs, center, contexts, negatives)
            matrix[index] = value - h
            below = window_loss(inputs, outputs, center, contexts, negatives)
            matrix[index] = value
            numeric[index] = (above - below) / (2 * h)
        np.testing.assert_allclose(after - matrix, -rate * numeric, atol=1e-8)


def test_keep_probability_is_that_of_word2vec_c() -> None:
    counts, threshold = np.array([0, 900, 90, 10]), 1e-2
    expected = [0.0] + [
        min(1.0, (math.sqrt(n / (threshold * 1000)) + 1) * (threshold * 1000) / n) for n in (900, 90, 10)
    ]
    np.testing.assert_allclose(reference.keep_probabilities(counts, threshold), expected)


def test_without_subsampling_every_word_stays_and_special_tokens_do_not() -> None:
    assert reference.keep_probabilities(np.array([0, 5, 1]), 0).tolist() == [0, 1, 1]


def test_noise_is_counts_to_the_three_quarters() -> None:
    np.testing.assert_allclose(reference.noise_distribution(np.array([0, 1, 16])), [0, 1 / 9, 8 / 9])


def test_contexts_are_the_words_around_and_a_lonely_word_has_none() -> None:
    inputs, outputs = np.ones((4, 2)), np.ones((4, 2))
    words, first, last = np.array([1, 2, 3]), np.array([0, 0, 2]), np.array([2, 2, 3])
    _, pairs = reference.update_windows(inputs, outputs, words, first, last, np.zeros((3, 1), int), 0.1, 0.1)
    assert pairs == 2
    assert inputs[3].tolist() == [1, 1]
