"""Cross-entropy in chunks: the formula, its gradients, and that of all the logits at once."""

from typing import Any

import numpy as np
import pytest
import torch

from sslcore.objectives import _linear_cross_entropy
from sslcore.objectives._linear_cross_entropy import linear_cross_entropy, token_loss


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_linear_cross_entropy, "AT_ONCE", 100)
    monkeypatch.setattr(_linear_cross_entropy, "ROWS", 3)


def drawn(rows: int, vocabulary: int, width: int, dtype: torch.dtype = torch.float64) -> list[Any]:
    generator = torch.Generator().manual_seed(rows)
    shapes = (rows, width), (vocabulary, width), (vocabulary,)
    states, table, bias = (torch.randn(shape, generator=generator, dtype=dtype, requires_grad=True) for shape in shapes)
    return [states, table, torch.randint(0, vocabulary, (rows,), generator=generator), bias]


@pytest.mark.parametrize(("rows", "vocabulary", "width"), [(1, 2, 1), (5, 7, 3), (40, 11, 4)])
@pytest.mark.parametrize("biased", [False, True])
def test_the_loss_is_the_formula_and_so_are_its_gradients(rows: int, vocabulary: int, width: int, biased: bool) -> None:
    states, table, targets, bias = drawn(rows, vocabulary, width)
    total, right = 0.0, 0
    for state, target in zip(states.tolist(), targets.tolist(), strict=True):
        logits = [sum(s * t for s, t in zip(state, row, strict=True)) for row in table.tolist()]
        logits = np.array(logits) + (np.array(bias.tolist()) if biased else 0)
        total -= logits[target] - np.log(np.exp(logits).sum())
        right += int(logits.argmax() == target)
    said = token_loss(states, table, targets, bias if biased else None)
    assert said["loss"].item() == pytest.approx(total / rows, rel=1e-9)
    assert said["accuracy"].item() == pytest.approx(right / rows)

    def mean(states: torch.Tensor, table: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        return token_loss(states, table, targets, bias)["loss"]

    assert torch.autograd.gradcheck(mean, [states, table, bias] if biased else [states, table])


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16])
def test_it_is_what_all_logits_at_once_give(precision: torch.dtype) -> None:
    """The same states to products and gradients in half precision, where sums of chunks may be rounded otherwise."""
    states, table, targets, bias = drawn(50, 30, 8, torch.float32)
    found = []
    for chunked in (True, False):
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            if chunked:
                total, likeliest = linear_cross_entropy(states, table, targets, bias)
            else:
                logits = torch.nn.functional.linear(states, table, bias)
                total, likeliest = torch.nn.functional.cross_entropy(logits, targets, reduction="sum"), logits.argmax(1)
            assert total.dtype == torch.float32
        found.append((total, likeliest, *torch.autograd.grad(total * 7, [states, table, bias])))
    rounding = 1e-6 if precision == torch.float32 else 0.02
    for ours, expected in zip(*found, strict=True):
        assert ours.dtype == expected.dtype
        assert (ours - expected).abs().max() <= rounding * expected.abs().max()


def test_no_logit_is_too_far_out() -> None:
    """A target whose probability is below the smallest number still has its loss."""
    states, table = torch.tensor([[1.0], [1.0]]), torch.tensor([[0.0], [-400.0], [300.0]])
    total, likeliest = linear_cross_entropy(states, table, torch.tensor([1, 2]))
    assert total.item() == 700
    assert likeliest.tolist() == [2, 2]


def test_tokens_are_chosen_by_their_probabilities() -> None:
    states, table, targets, bias = drawn(50, 30, 8)
    seen: list[torch.Tensor] = []

    def least(probabilities: torch.Tensor) -> torch.Tensor:
        seen.append(probabilities.clone())
        return probabilities.argmin(dim=1)

    _, chosen = linear_cross_entropy(states, table, targets, bias, choose=least)
    expected = torch.nn.functional.linear(states, table, bias).softmax(dim=1)
    torch.testing.assert_close(torch.cat(seen), expected.detach())
    assert max(map(len, seen)) == 3
    assert torch.equal(chosen, expected.argmin(dim=1))


def test_of_no_predictions_everything_is_zero() -> None:
    states, table, targets, bias = drawn(0, 30, 8)
    said = token_loss(states, table, targets, bias)
    said["loss"].backward()
    assert [said["loss"].item(), said["accuracy"].item()] == [0, 0]
    assert not table.grad.any()
    assert states.grad.shape == (0, 8)


def test_nothing_of_the_vocabulary_s_width_is_kept_for_the_way_back() -> None:
    states, table, targets, bias = drawn(50, 30, 8)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        token_loss(states, table, targets, bias)
    assert sorted(kept) == [30, 30 * 8, 50 * 8]  # the arguments' gradients
