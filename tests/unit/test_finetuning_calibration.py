"""Calibration: the temperature is the likeliest one, and the measures are what others compute."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.metrics import brier_score_loss, log_loss

from sslcore.errors import UserError
from sslcore.finetuning.calibration import (
    BOUNDS,
    brier,
    calibration,
    confidence_and_success,
    expected_error,
    expected_error_interval,
    fit_temperature,
    reliability,
    share_interval,
)
from sslcore.finetuning.scores import cross_entropy
from sslcore.finetuning.shapes.classification import softmax


def drawn(rows: int, classes: int, seed: int, scale: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits and classes drawn from their softmax: calibrated as they are."""
    generator = np.random.default_rng(seed)
    logits = scale * generator.normal(size=(rows, classes))
    draws = generator.random(rows)[:, None]
    return logits, (softmax(logits).cumsum(axis=1) < draws).sum(axis=1).clip(max=classes - 1)


@pytest.mark.parametrize("factor", [0.02, 0.3, 1.0, 4.0, 30.0])
def test_the_temperature_that_was_put_in_is_found(factor: float) -> None:
    logits, classes = drawn(20_000, 5, seed=0)
    found = fit_temperature(logits * factor, classes)
    assert found.temperature == pytest.approx(factor, rel=0.05)
    assert found.at_bound is None
    assert found.note == ""
    scaled = calibration(logits * factor / found.temperature, classes, seed=0, resamples=50)
    assert scaled.expected_error < 0.015
    assert scaled.accuracy == calibration(logits, classes, seed=0, resamples=50).accuracy  # no decision changes


def test_it_is_the_minimum_that_a_general_solver_finds() -> None:
    logits, classes = drawn(300, 4, seed=1, scale=5.0)
    by_scipy = minimize_scalar(lambda t: cross_entropy(classes, logits / t), bounds=(0.05, 20), method="bounded")
    assert fit_temperature(logits, classes).temperature == pytest.approx(by_scipy.x, rel=1e-4)


def test_two_classes_and_one_margin_have_a_closed_form() -> None:
    """Right with share r at a margin m: softmax(m / T) = r, so T = m / ln(r / (1 − r))."""
    classes = np.array([0] * 90 + [1] * 10)
    logits = np.tile([3.0, 0.0], (100, 1))
    assert fit_temperature(logits, classes).temperature == pytest.approx(3 / np.log(9), rel=1e-6)


def test_rows_without_a_mistake_are_not_taken_for_certainty() -> None:
    """18 of 18 right at one margin: 19/20 sure. The likeliest temperature would be 0."""
    logits = np.tile([[2.0, 0.0]], (18, 1))
    logits[::2] = logits[::2, ::-1]
    classes = logits.argmax(axis=1)
    found = fit_temperature(logits, classes)
    assert found.mistakes == 0
    assert softmax(logits / found.temperature).max() == pytest.approx(19 / 20, rel=1e-6)
    assert "no mistake among 18 rows" in found.note
    assert "only 18 validation rows" in found.note


def test_degenerate_rows_are_handled_and_said() -> None:
    none = fit_temperature(np.empty((0, 3)), np.empty(0, int))
    assert (none.temperature, none.rows) == (1, 0)
    assert "no labelled validation rows" in none.note
    flat = fit_temperature(np.ones((200, 3)), np.zeros(200, int))
    assert flat.temperature == 1
    assert "equal logits" in flat.note
    logits, _ = drawn(500, 3, seed=2)
    wrong = fit_temperature(logits, logits.argmin(axis=1))
    assert (wrong.temperature, wrong.at_bound) == (BOUNDS[1], "high")
    assert "less than chance" in wrong.note
    one = fit_temperature(logits, np.zeros(500, int))
    assert "all validation rows have one class" in one.note
    assert np.isfinite(fit_temperature(logits * 1e4, np.arange(500) % 3).temperature)


def test_mistakes_of_the_caller_name_the_row() -> None:
    logits, classes = drawn(4, 3, seed=0)
    with pytest.raises(UserError, match=r"as row 2 \(class 7\)"):
        fit_temperature(logits, np.array([0, 1, 7, 2]))
    with pytest.raises(UserError, match=r"shape \[4, 3\] do not fit 3 classes"):
        fit_temperature(logits, classes[:3])
    logits[1, 0] = np.nan
    with pytest.raises(UserError, match="as those of row 1"):
        calibration(logits, classes, seed=0)
    with pytest.raises(UserError, match="no rows"):
        calibration(np.empty((0, 3)), np.empty(0, int), seed=0)


def test_brier_and_likelihood_are_scikit_learns() -> None:
    logits, classes = drawn(200, 4, seed=3)
    probabilities = softmax(logits)
    measured = calibration(logits, classes, seed=0, resamples=10)
    assert measured.negative_log_likelihood == pytest.approx(log_loss(classes, probabilities, labels=range(4)))
    assert brier(logits, classes) == measured.brier
    ours = brier_score_loss(classes, probabilities, labels=range(4), scale_by_half=False)
    assert measured.brier == pytest.approx(ours)


def test_expected_error_by_hand_and_by_a_loop() -> None:
    confidence = np.array([0.9, 0.6, 0.8, 0.5])
    right = np.array([True, False, False, True])
    # two bins: {0.5 right, 0.6 wrong} and {0.8 wrong, 0.9 right}
    assert expected_error(confidence, right, bins=2) == pytest.approx(0.5 * abs(0.5 - 0.55) + 0.5 * abs(0.5 - 0.85))
    confidence, right = confidence_and_success(*drawn(1003, 3, seed=4))
    order = np.argsort(confidence, kind="stable")
    parts = np.array_split(order, 15)
    by_loop = sum(len(p) / 1003 * abs(right[p].mean() - confidence[p].mean()) for p in parts)
    assert expected_error(confidence, right, bins=15) == pytest.approx(by_loop)
    bins = reliability(confidence, right, bins=15)
    assert [b.rows for b in bins] == [len(p) for p in parts]
    assert sum(b.rows / 1003 * abs(b.accuracy - b.confidence) for b in bins) == pytest.approx(by_loop)
    assert all(b.low <= b.accuracy <= b.high for b in bins)
    assert len(reliability(confidence[:4], right[:4], bins=15)) == 4


def test_the_interval_holds_what_it_says() -> None:
    """Probabilities that are true have an error of 0, and ones that are too sure by 0.1 one of 0.1."""
    covered = {0.0: 0, 0.1: 0}
    for seed in range(100):
        generator = np.random.default_rng(seed)
        probability = generator.uniform(0.55, 0.85, size=600)
        right = generator.random(600) < probability
        for excess in covered:
            low, high = expected_error_interval(probability + excess, right, resamples=200, seed=seed)
            covered[excess] += low <= excess + 1e-9 and high >= excess
    assert covered[0.0] >= 92
    assert covered[0.1] >= 80  # 0.88 of 300 in a longer run


def test_a_share_interval_is_wilsons() -> None:
    assert share_interval(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert share_interval(0, 10)[0] == 0
    assert share_interval(10, 10)[1] == pytest.approx(1)
    assert share_interval(0, 0) == (0, 1)
