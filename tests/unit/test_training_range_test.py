"""`learning_rate: find`: a rate that trains, kept with the checkpoints, and an error where there is none."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sslcore
from sslcore.errors import UserError
from sslcore.objectives.masked_lm import MaskedLM
from sslcore.progress import silent
from sslcore.training import checkpoints, pretraining
from sslcore.training.learner import TorchLearner
from sslcore.training.range_test import found_rate
from sslcore.training.schedules import constant


class Steps:
    def __len__(self) -> int:
        return 7

    def __getitem__(self, step: int) -> Any:
        return step


def learner_of(loss: torch.nn.Module) -> TorchLearner:
    return TorchLearner(None, loss, [torch.optim.SGD(loss.parameters(), lr=1)], constant(0), threads=1, seed=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("curvature", [1.0, 10.0])
def test_it_stays_well_below_where_training_diverges(curvature: float) -> None:
    """½ c x² by gradient descent diverges from a rate of 2 / c on."""

    class Bowl(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.x = torch.nn.Parameter(torch.tensor(3.0))

        def forward(self, batch: int) -> dict[str, torch.Tensor]:
            return {"loss": 0.5 * 100 * curvature * self.x**2}

    rate = found_rate(learner_of(Bowl()), Steps(), silent)
    assert 0.01 < rate * 100 * curvature < 2


@pytest.mark.parametrize("value", [float("nan"), 1.0])
def test_a_loss_that_never_falls_is_an_error_that_says_what_to_do(value: float) -> None:
    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.x = torch.nn.Parameter(torch.tensor(1.0))

        def forward(self, batch: int) -> dict[str, torch.Tensor]:
            return {"loss": self.x * 0 + value}

    with pytest.raises(UserError, match=r"no learning rate .* at which the loss falls; give learning_rate a number"):
        found_rate(learner_of(Flat()), Steps(), silent)


def lists() -> Iterator[list[str]]:
    generator = np.random.default_rng(0)
    return ([f"{'ab'[d % 2]}{j}" for j in generator.integers(0, 20, 30)] for d in range(200))


def test_a_run_finds_its_rate_once_and_goes_on_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)
    objective = MaskedLM(
        size="tiny", maximum_tokens=32, batch_tokens=1024, epochs=4, learning_rate="find", schedule="trapezoid"
    )
    unbroken: list[dict[str, float]] = []
    expected = sslcore.pretrain(objective, lists(), seed=0, on_metrics=lambda step, m: unbroken.append(m))
    found = expected.objective["learning_rate"]
    assert 1e-4 < found < 1e-1
    assert max(m["learning_rate"] for m in unbroken) == pytest.approx(found)

    class StoppedError(Exception):
        pass

    def stop(step: int, metrics: dict[str, float]) -> None:
        if step == 5:
            raise StoppedError

    with pytest.raises(StoppedError):
        sslcore.pretrain(objective, lists(), seed=0, on_metrics=stop, checkpoints=tmp_path)

    def never(*_: Any) -> float:
        raise AssertionError("the rate was kept")

    monkeypatch.setattr(pretraining, "found_rate", never)
    resumed = sslcore.pretrain(objective, lists(), seed=0, checkpoints=tmp_path)
    assert resumed.objective["learning_rate"] == found
    for name, tensor in expected.network.state_dict().items():
        assert torch.equal(tensor, resumed.network.state_dict()[name]), name
