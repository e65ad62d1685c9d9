"""Intervals and curves against slow, obvious versions."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from sslcore.evaluation.budgets import ALL, nested_subsets
from sslcore.evaluation.curves import area, break_even, labels_needed
from sslcore.evaluation.statistics import interval, resampled_scores, row_counts, seed_noise, seed_shares
from sslcore.finetuning.scores import accuracy, cross_entropy, macro_f1

LABELS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=60)


@given(LABELS)
def test_macro_f1_is_scikit_learns_over_the_classes_of_the_truth(rows: list[tuple[int, int]]) -> None:
    truth, prediction = np.array(rows).T
    expected = f1_score(truth, prediction, labels=np.unique(truth), average="macro", zero_division=0)
    assert macro_f1(truth, prediction) == pytest.approx(expected)
    assert accuracy(truth, prediction) == pytest.approx(accuracy_score(truth, prediction))


def test_cross_entropy_is_the_mean_negative_log_probability() -> None:
    logits = np.array([[2.0, 0.0, -1.0], [900.0, 0.0, 0.0]])
    probabilities = np.exp(logits[0]) / np.exp(logits[0]).sum()
    assert cross_entropy(np.array([1, 0]), logits) == pytest.approx(-np.log(probabilities[1]) / 2)


@given(LABELS, st.integers(0, 10))
@settings(max_examples=40)
def test_a_resample_scores_as_the_rows_it_drew(rows: list[tuple[int, int]], seed: int) -> None:
    truth, prediction = np.array(rows).T
    counts = row_counts(len(truth), 5, seed)
    f1, right = resampled_scores(truth, prediction, counts)
    for resample, count in enumerate(counts.astype(int)):
        drawn = np.repeat(np.arange(len(truth)), count)
        assert len(drawn) == len(truth)
        assert f1[resample] == pytest.approx(macro_f1(truth[drawn], prediction[drawn]))
        assert right[resample] == pytest.approx(accuracy(truth[drawn], prediction[drawn]))


def test_the_bootstrap_interval_is_as_wide_as_theory_says() -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(2, size=2000)
    prediction = np.where(generator.random(2000) < 0.8, truth, 1 - truth)
    _, right = resampled_scores(truth, prediction, row_counts(2000, 4000, seed=1))
    low, high = interval(right)
    share = accuracy(truth, prediction)
    assert (high - low) / 2 == pytest.approx(1.96 * np.sqrt(share * (1 - share) / 2000), rel=0.06)
    assert (high + low) / 2 == pytest.approx(share, abs=0.002)


def test_every_resample_draws_as_many_seeds_as_there_are() -> None:
    shares = seed_shares(3, 500, seed=0)
    assert np.allclose(shares.sum(axis=1), 1)
    assert set(np.unique(np.round(shares * 3))) == {0, 1, 2, 3}


def test_seed_noise_is_the_t_interval() -> None:
    # Three numbers with standard deviation 1: t(0.975, 2) = 4.3027.
    assert seed_noise(np.array([1.0, 2.0, 3.0])) == pytest.approx(4.3027 / np.sqrt(3), rel=1e-4)
    assert seed_noise(np.array([0.5])) is None


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=80),
    st.lists(st.integers(1, 40), min_size=1, max_size=4, unique=True),
    st.integers(0, 100),
)
def test_budgets_are_nested_and_buy_what_they_say(classes: list[int], budgets: list[int], seed: int) -> None:
    rows = np.array(classes)
    subsets = nested_subsets(rows, [*budgets, ALL], np.random.default_rng(seed))
    available = np.bincount(rows)
    for budget in budgets:
        assert np.array_equal(np.bincount(rows[subsets[budget]], minlength=len(available)), available.clip(max=budget))
        assert len(np.unique(subsets[budget])) == len(subsets[budget])
    ordered = [*sorted(budgets), ALL]
    for smaller, larger in pairwise(ordered):
        assert set(subsets[smaller]) <= set(subsets[larger])
    assert len(subsets[ALL]) == len(rows)


def test_the_draw_of_a_budget_is_random_and_repeats_with_its_seed() -> None:
    rows = np.repeat(np.arange(3), 50)
    first, again, other = (nested_subsets(rows, [4], np.random.default_rng(s))[4] for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_area_is_the_mean_over_log_labels() -> None:
    assert area(np.array([2.0, 8.0, 32.0]), np.array([0.0, 1.0, 0.0])) == pytest.approx(0.5)
    # From 2 to 8 is two doublings, from 8 to 128 is four: a third of the axis at the mean 0.5, two thirds at 1.
    assert area(np.array([2.0, 8.0, 128.0]), np.array([0.0, 1.0, 1.0])) == pytest.approx(1 / 3 * 0.5 + 2 / 3)
    assert area(np.array([5.0]), np.array([[0.3], [0.4]])).tolist() == [0.3, 0.4]


def test_labels_needed_interpolates_in_doublings_and_admits_its_limits() -> None:
    x, y = np.array([2.0, 8.0, 32.0]), np.array([0.2, 0.4, 0.8])
    assert labels_needed(x, y, 0.3) == (pytest.approx(4.0), "about")
    assert labels_needed(x, y, 0.6) == (pytest.approx(16.0), "about")
    assert labels_needed(x, y, 0.1) == (2.0, "at most")
    assert labels_needed(x, y, 0.9) == (32.0, "more than")


def test_break_even_is_where_the_gain_ends_for_good() -> None:
    x = np.array([2.0, 8.0, 32.0])
    assert break_even(x, np.array([0.2, 0.1, -0.1])) == (pytest.approx(16.0), "about")
    assert break_even(x, np.array([-0.1, 0.1, 0.0])) == (pytest.approx(32.0), "about")
    assert break_even(x, np.array([0.2, 0.1, 0.1])) == (32.0, "more than")
    assert break_even(x, np.array([-0.2, 0.0, -0.1])) == (2.0, "at most")
