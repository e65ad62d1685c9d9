"""The losses against the papers' formulas, typed again in numpy, and their gradients against differences."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sslcore.finetuning.losses import ClassLoss, ClassLosses, LabelsLoss, ScoreLoss, balanced_weights, class_loss
from sslcore.finetuning.scores import (
    binary_cross_entropy,
    f1_of,
    macro_f1_of_labels,
    matthews,
    micro_f1_of_labels,
    pearson,
    spearman,
)

SHAPES = [(1, 2), (5, 3), (40, 7)]
GRID = list(product(SHAPES, (0.0, 0.1, 0.5), (0.0, 0.5, 2.0), (False, True)))


def drawn(shape: tuple[int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits [B, C], classes [B], weights [C]."""
    generator = np.random.default_rng(seed)
    return (
        generator.normal(size=shape) * 3,
        generator.integers(shape[1], size=shape[0]),
        generator.random(shape[1]) + 0.1,
    )


def retyped(logits: np.ndarray, classes: np.ndarray, weights: np.ndarray, smoothing: float, gamma: float) -> float:
    """Row by row and class by class."""
    total = normaliser = 0.0
    for row, true in zip(logits, classes, strict=True):
        p = np.exp(row) / np.exp(row).sum()
        for place in range(len(row)):
            target = smoothing / len(row) + (1 - smoothing) * (place == true)
            total -= weights[place] * target * (1 - p[place]) ** gamma * np.log(p[place])
        normaliser += weights[true]
    return total / normaliser


@pytest.mark.parametrize(("shape", "smoothing", "gamma", "weighted"), GRID)
def test_the_loss_of_classes_is_the_papers(
    shape: tuple[int, int], smoothing: float, gamma: float, weighted: bool
) -> None:
    logits, classes, weights = drawn(shape)
    weights = weights if weighted else np.ones(shape[1])
    ours = class_loss(
        torch.from_numpy(logits),
        torch.from_numpy(classes),
        weights_C=torch.from_numpy(weights) if weighted else None,
        smoothing=smoothing,
        gamma=gamma,
    )
    assert ours.item() == pytest.approx(retyped(logits, classes, weights, smoothing, gamma), rel=1e-10)


@pytest.mark.parametrize(("smoothing", "gamma", "weighted"), [*product((0.0, 0.2), (0.0, 0.5, 2.0), (False, True))])
def test_gradients_are_those_of_differences(smoothing: float, gamma: float, weighted: bool) -> None:
    logits, classes, weights = drawn((4, 3))
    of = torch.from_numpy(classes)
    weights_C = torch.from_numpy(weights) if weighted else None
    asked = torch.from_numpy(logits).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: class_loss(x, of, weights_C=weights_C, smoothing=smoothing, gamma=gamma), (asked,)
    )


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_a_row_that_is_certain_has_a_finite_gradient(gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0], [0.0, 0.1]], requires_grad=True)
    class_loss(logits, torch.tensor([0, 1]), gamma=gamma).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[1].abs().sum() > 0


def test_focus_turns_to_the_rows_that_are_wrong() -> None:
    logits = torch.tensor([[4.0, 0.0], [0.0, 1.0]], requires_grad=True)
    shares = []
    for gamma in (0.0, 2.0):
        (gradient,) = torch.autograd.grad(class_loss(logits, torch.tensor([0, 0]), gamma=gamma), logits)
        norms = gradient.norm(dim=1)
        shares.append(float(norms[0] / norms.sum()))
    assert shares[1] < 0.1 * shares[0]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60))
def test_balanced_classes_count_the_same(classes: list[int]) -> None:
    from sklearn.utils.class_weight import compute_class_weight

    found = np.array(classes)
    weights = balanced_weights(found, 5)
    present = np.unique(found)
    theirs = compute_class_weight("balanced", classes=present, y=found) * len(present) / 5
    np.testing.assert_allclose(weights[present], theirs, rtol=1e-6)
    assert not weights[np.setdiff1d(np.arange(5), present)].any()
    totals = weights * np.bincount(found, minlength=5)
    np.testing.assert_allclose(totals[present], len(found) / 5, rtol=1e-6)


def test_weights_come_from_the_training_rows_and_are_said() -> None:
    loss = ClassLoss(ClassLosses(class_weights="balanced"), 2)
    loss.prepare(np.array([0] * 9 + [1]))
    assert loss.notes(("often", "rare")) == ("rows count by the inverse frequency of their class: rare 5, often 0.556",)
    logits, classes = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1])
    expected = retyped(logits.numpy(), classes, np.array([10 / 18, 5.0]), 0, 0)
    assert loss(logits, classes).item() == pytest.approx(expected, rel=1e-6)
    assert not loss.state_dict()
    many = ClassLoss(ClassLosses(class_weights="balanced"), 50)
    many.prepare(np.repeat(np.arange(50), np.arange(1, 51)))
    (note,) = many.notes([f"c{n}" for n in range(50)])
    assert "(the highest and lowest of 50)" in note
    assert ": c0 25.5, " in note
    assert note.endswith("c49 0.51")


@pytest.mark.parametrize("shape", SHAPES)
def test_the_loss_of_label_sets_is_binary_cross_entropy(shape: tuple[int, int]) -> None:
    logits, _, _ = drawn(shape)
    truth = np.random.default_rng(1).random(shape) < 0.3
    p = 1 / (1 + np.exp(-logits))
    expected = -np.mean(truth * np.log(p) + ~truth * np.log(1 - p))
    assert LabelsLoss()(torch.from_numpy(logits), truth).item() == pytest.approx(expected, rel=1e-10)
    assert binary_cross_entropy(truth, logits) == pytest.approx(expected, rel=1e-10)
    asked = torch.from_numpy(logits).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: LabelsLoss()(x, truth), (asked,))


@pytest.mark.parametrize("features", [1, 16])
def test_scores_are_compared_in_parts_of_their_range(features: int) -> None:
    loss = ScoreLoss(features)
    loss.prepare(np.array([20.0, 30.0, 100.0]))
    start = loss.outputs(torch.tensor([[loss.first_outputs()]]))
    assert start.item() == pytest.approx(50)  # the mean
    raw = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    outputs = loss.outputs(raw)
    np.testing.assert_allclose(outputs.numpy(), [20, 20 + 80 / np.sqrt(features)], rtol=1e-6)
    assert loss(torch.tensor([20.0, 60.0]), np.array([100.0, 20.0])).item() == pytest.approx((1 + 0.25) / 2)
    asked = raw.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(loss.outputs(x), np.array([30.0, 40.0])), (asked,))


@pytest.mark.filterwarnings("ignore:A single label was found")  # scikit-learn's, and it is meant
@given(st.data())
def test_correlation_of_classes_is_scikit_learns(data: st.DataObject) -> None:
    from sklearn.metrics import matthews_corrcoef

    size = data.draw(st.integers(1, 30))
    truth, prediction = (
        np.array(data.draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))) for _ in range(2)
    )
    assert matthews(truth, prediction) == pytest.approx(matthews_corrcoef(truth, prediction), abs=1e-9)


@given(st.data())
def test_f1_of_labels_is_scikit_learns(data: st.DataObject) -> None:
    from sklearn.metrics import f1_score

    rows, labels = data.draw(st.integers(1, 8)), data.draw(st.integers(2, 4))
    cells = st.lists(st.booleans(), min_size=rows * labels, max_size=rows * labels)
    truth, prediction = (np.array(data.draw(cells)).reshape(rows, labels) for _ in range(2))
    micro = f1_score(truth, prediction, average="micro", zero_division=0)
    assert micro_f1_of_labels(truth, prediction) == pytest.approx(micro)
    occurs = np.flatnonzero(truth.any(axis=0))
    macro = f1_score(truth, prediction, average="macro", labels=occurs, zero_division=0) if len(occurs) else 0.0
    assert macro_f1_of_labels(truth, prediction) == pytest.approx(macro)
    assert f1_of(1, truth[:, 0].astype(int), prediction[:, 0].astype(int)) == pytest.approx(
        f1_score(truth[:, 0], prediction[:, 0], zero_division=0)
    )


def test_correlations_of_scores() -> None:
    generator = np.random.default_rng(0)
    truth = generator.normal(size=50)
    said = truth + generator.normal(size=50)
    assert pearson(truth, said) == pytest.approx(np.corrcoef(truth, said)[0, 1])
    ranks = (np.argsort(np.argsort(part)) for part in (truth, said))
    assert spearman(truth, said) == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert spearman(truth, np.ones(50)) == pearson(truth, np.ones(50)) == 0
