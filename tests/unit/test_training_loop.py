"""The loop and what consumes it, driven by a learner small enough to see through."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
import torch

import sslcore
from sslcore.contracts import CURVE, check_folder
from sslcore.errors import UserError
from sslcore.tokenization.encoding import EncodedCorpus
from sslcore.training.devices import check_device, torch_threads
from sslcore.training.learner import KernelLearner, TorchLearner
from sslcore.training.loop import Curve, reported, train
from sslcore.training.pretraining import write_encoder
from sslcore.training.schedules import constant, linear_decay, warmup_cosine, warmup_linear, warmup_trapezoid


class Share(NamedTuple):
    tokens: int
    begin: float
    end: float


def shares(n: int) -> Iterator[Share]:
    return (Share(10, i / n, (i + 1) / n) for i in range(n))


def counting(loss_of: list[float] | None = None) -> KernelLearner:
    losses = iter(loss_of or [1.0] * 10_000)
    return KernelLearner(None, lambda batch, begin, end: {"loss": next(losses)}, lambda: None, linear_decay(1, 0), {})  # type: ignore[arg-type]


def test_steps_count_from_one_and_say_where_the_run_stands() -> None:
    steps = list(train(counting(), shares(4)))
    assert [step for step, _ in steps] == [1, 2, 3, 4]
    assert [m["tokens"] for _, m in steps] == [10, 20, 30, 40]
    assert [m["done"] for _, m in steps] == [0.25, 0.5, 0.75, 1]
    assert [m["learning_rate"] for _, m in steps] == [1, 0.75, 0.5, 0.25]


def test_who_stops_consuming_stops_the_training() -> None:
    taken = []

    def batches() -> Iterator[Share]:
        for share in shares(100):
            taken.append(share)
            yield share

    steps = train(counting(), batches())
    next(steps)
    next(steps)
    assert len(taken) == 2


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_run_with_advice(bad: float) -> None:
    with pytest.raises(
        UserError, match=r"at step 2 with learning_rate 0\.67.*choose a learning_rate several times lower"
    ):
        list(train(counting([1.0, bad]), shares(3)))


@pytest.mark.parametrize("n", [1, 3, 200, 777])
def test_a_summary_has_at_most_its_points_ends_with_the_last_step_and_loses_no_loss(n: int) -> None:
    losses = [float(i % 7) for i in range(n)]
    curve = Curve(points=50)
    points = [point for step, metrics in train(counting(losses), shares(n)) if (point := curve.add(step, metrics))]
    assert points == curve.points
    assert len(points) <= 50
    assert points[-1][0] == n
    bounds = [0, *(step for step, _ in points)]
    for (_, metrics), a, b in zip(points, bounds, bounds[1:], strict=False):
        assert metrics["loss"] == pytest.approx(sum(losses[a:b]) / (b - a))


def test_progress_hears_speed_loss_rate_and_time_left() -> None:
    heard: list[tuple[float, str]] = []
    steps = list(reported(train(counting(), shares(5)), lambda f, message: heard.append((f, message)), "skip_gram"))
    assert len(steps) == 5
    assert heard[-1][0] == 1
    assert all(part in heard[-1][1] for part in ("skip_gram", "tokens/s", "loss 1.000", "learning rate", "s left"))
    assert len(heard) < 5  # not once a step


def test_torch_learner_descends_and_follows_the_schedule() -> None:
    class Square(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.x = torch.nn.Parameter(torch.tensor(3.0))

        def forward(self, batch: Share) -> dict[str, torch.Tensor]:
            return {"loss": self.x**2}

    loss = Square()
    learner = TorchLearner(
        None, loss, [torch.optim.SGD(loss.parameters(), lr=9)], linear_decay(0.1, 0), threads=1, seed=0
    )  # type: ignore[arg-type]
    first, second = (learner.update(batch) for batch in (Share(1, 0, 0.5), Share(1, 0.5, 1)))
    assert first == {"loss": 9.0, "learning_rate": 0.1}
    assert second["learning_rate"] == 0.05
    assert loss.x.item() == pytest.approx(3 * (1 - 2 * 0.1) * (1 - 2 * 0.05))


def test_schedules_start_peak_and_end_where_they_say() -> None:
    assert (linear_decay(2, 1)(0), linear_decay(2, 1)(0.5), linear_decay(2, 1)(1)) == (2, 1.5, 1)
    rate = warmup_cosine(0.4, warmup=0.1)
    assert 0 < rate(0) < 0.01
    assert rate(0.1) == 0.4
    assert rate(0.55) == pytest.approx(0.2)
    assert rate(1) == pytest.approx(0)


def test_the_linear_schedule_and_the_trapezoid_fall_where_they_say() -> None:
    linear, trapezoid = warmup_linear(0.4, warmup=0.1), warmup_trapezoid(0.4, warmup=0.1)
    assert (linear(0.1), linear(0.55), linear(1)) == (0.4, pytest.approx(0.2), 0)
    assert (trapezoid(0.1), trapezoid(0.8), trapezoid(0.9), trapezoid(1)) == pytest.approx((0.4, 0.4, 0.2, 0))


def learner_of(loss: torch.nn.Module, **settings: Any) -> TorchLearner:
    optimizer = torch.optim.SGD(loss.parameters(), lr=1)
    return TorchLearner(None, loss, [optimizer], constant(0.1), threads=1, seed=5, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(("longest", "moved"), [(None, 0.6), (2.0, 0.2), (60.0, 0.6)])
def test_a_gradient_that_is_too_long_is_scaled_to_the_length_given(longest: float | None, moved: float) -> None:
    class Square(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.x = torch.nn.Parameter(torch.tensor(3.0))

        def forward(self, batch: Share) -> dict[str, torch.Tensor]:
            return {"loss": self.x**2}

    loss = Square()
    metrics = learner_of(loss, gradient_norm=longest).update(Share(1, 0, 1))
    assert loss.x.item() == pytest.approx(3 - moved)
    assert metrics.get("gradient_norm") == (None if longest is None else 6)


def test_the_scale_of_a_float16_loss_is_part_of_the_state() -> None:
    class Steep(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.x = torch.nn.Parameter(torch.tensor(1.0))

        def forward(self, batch: Share) -> dict[str, torch.Tensor]:
            return {"loss": 1e34 * self.x}

    losses = Steep(), Steep()
    first, again = (learner_of(loss, precision="float16") for loss in losses)
    first.update(Share(1, 0, 0.5))
    # Times 2¹⁶, where the scale begins, the gradient is too much for float32: the step is left out, the scale halved.
    assert losses[0].x.item() == 1
    again.restore(first.state())
    for learner, loss in zip((first, again), losses, strict=True):
        learner.update(Share(1, 0.5, 1))
        assert loss.x.item() == pytest.approx(-1e33)


def test_what_a_step_draws_follows_from_the_seed_and_the_step_and_from_nothing_else() -> None:
    class Drawing(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.x = torch.nn.Parameter(torch.tensor(0.0))

        def forward(self, batch: Share) -> dict[str, torch.Tensor]:
            return {"loss": self.x + torch.rand(())}

    def drawn() -> list[float]:
        learner = learner_of(Drawing())
        torch.rand(3)
        return [learner.update_at(Share(1, 0, 1), 0.0)["loss"] for _ in range(4)]

    assert drawn() == drawn()
    assert len(set(drawn())) == 4


@pytest.mark.parametrize("device", ["cuda:99", "gpu", ""])
def test_a_device_that_cannot_be_used_is_refused_with_those_that_can(device: str) -> None:
    with pytest.raises(UserError, match=r"cannot be used on this machine.*here: cpu"):
        check_device(device)


def test_torch_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    with contextlib.suppress(KeyError), torch_threads(1):
        assert torch.get_num_threads() == 1
        raise KeyError
    assert torch.get_num_threads() == before


def test_workers_below_one_are_refused() -> None:
    with pytest.raises(UserError, match="workers is 0"):
        sslcore.pretrain(sslcore.SkipGram(), [["a", "b"] * 5], seed=0, workers=0)


def test_the_artefact_meets_its_contract_and_the_curve_holds_no_clock(tmp_path: Path) -> None:
    corpus = EncodedCorpus.from_token_lists([["a", "b", "c"] * 20] * 5)
    heard = []
    objective = sslcore.SkipGram(dimensions=8)
    summary = write_encoder(objective, corpus, tmp_path, seed=0, on_metrics=lambda step, m: heard.append((step, m)))
    check_folder("encoder", tmp_path)
    curve = pq.read_table(tmp_path / "curve.parquet", schema=CURVE)
    assert set(curve["metric"].to_pylist()) == {"loss", "learning_rate", "tokens"}
    assert curve["step"].to_pylist()[-1] == heard[-1][0] == summary["steps"]
    assert summary["parameters"] == 8 * corpus.tokenizer.vocabulary_size
    assert summary["dimensions"] == 8
    assert summary["tokens"] == 5 * corpus.tokens
    assert summary["tokens_per_second"] > 0
