"""What is dropped is as many as asked, in no pattern, and the rest is scaled so that the mean stays."""

import numpy as np
import pytest
import torch

from sslcore.models.dropout import Dropout, draw_quickly
from sslcore.objectives.causal_lm import CausalLM
from sslcore.objectives.masked_lm import MaskedLM
from sslcore.objectives.registry import AnyObjective
from sslcore.randomness import drawn_from
from tests.topics import untrained


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 1 - 1e-9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_so_many_are_dropped_and_the_rest_is_scaled(share: float, dtype: torch.dtype) -> None:
    ones = torch.ones(999, 1001, dtype=dtype, requires_grad=True)
    with drawn_from(1, ones.device):
        said = Dropout(share)(ones)
    assert said.dtype == dtype
    dropped = (said == 0).double().mean().item()
    assert dropped == pytest.approx(share, abs=4 * (share * (1 - share) / ones.numel()) ** 0.5 + 2**-15)
    if share < 0.99:
        assert said.max().item() == pytest.approx(1 / (1 - share), rel=1e-2)
        assert len(said.unique()) == 2
        assert said.double().mean().item() == pytest.approx(1, abs=0.01)
    (3 * said).sum().backward()
    torch.testing.assert_close(ones.grad, 3 * said)  # of ones, so what an element was multiplied by


def test_no_element_follows_from_another_or_from_the_draw_before() -> None:
    share, ones = 0.3, torch.ones(400_000)
    drop = Dropout(share)
    with drawn_from(2, ones.device):
        first, second = ((drop(ones) == 0).double().numpy() for _ in range(2))
    with drawn_from(2, ones.device):
        again = (drop(ones) == 0).double().numpy()
    np.testing.assert_array_equal(first, again)
    pairs = [(first, second), *((first[lag:], first[:-lag]) for lag in (1, 2, 3, 4, 8))]  # 4 share 64 bits
    assert all(abs(np.corrcoef(a, b)[0, 1]) < 4 / len(ones) ** 0.5 for a, b in pairs)
    for place in range(4):
        assert first[place::4].mean() == pytest.approx(share, abs=4 * (share * (1 - share) / 1e5) ** 0.5)


def test_nothing_is_dropped_out_of_training_or_where_none_is_asked_for() -> None:
    elements = torch.randn(5, 7)
    assert torch.equal(Dropout(0.5).eval()(elements), elements)
    assert torch.equal(Dropout(0.0)(elements), elements)


@pytest.mark.parametrize("objective", [MaskedLM(size="tiny", maximum_tokens=32), CausalLM(size="tiny")])
def test_transformers_have_no_other(objective: AnyObjective) -> None:
    network = untrained(["the ship was seen"] * 9, objective).network
    found = [module for module in network.modules() if isinstance(module, torch.nn.Dropout)]
    # Attention has one by name, which only says its share: ragged.py gives that to torch's attention.
    assert len(found) > 4
    assert {type(module) for module in found} == {Dropout}


def test_those_of_any_depth_are_replaced() -> None:
    deep = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.3))
    model = torch.nn.Sequential(torch.nn.Dropout(0.2), deep)
    draw_quickly(model)
    found = [(type(module), module.p) for module in model.modules() if isinstance(module, torch.nn.Dropout)]
    assert found == [(Dropout, 0.2), (Dropout, 0.3)]
