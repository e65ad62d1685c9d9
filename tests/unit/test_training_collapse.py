"""Vectors that no longer tell texts apart: how it is measured, when it is said, and what ends the run."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sslcore
from sslcore.artifacts import CHECKPOINT
from sslcore.errors import UserError
from sslcore.objectives import _info_nce
from sslcore.objectives.registry import objective_kinds
from sslcore.tokenization.encoding import EncodedCorpus
from sslcore.training import checkpoints
from sslcore.training.alarm import CollapsedError, collapse_in
from sslcore.training.collapse import alignment, collapse, dead_units, effective_rank, uniformity
from sslcore.training.learner import Metrics
from sslcore.training.loop import Point
from sslcore.training.pretraining import write_encoder
from tests.unit.conftest import topic_texts

SMALL: dict[str, Any] = {"size": "tiny", "layers": 1, "dimensions": 32, "maximum_tokens": 32, "batch_size": 32}
CONTRAST = sorted(kind for kind, model in objective_kinds().items() if model.family == "contrast")


@pytest.fixture(scope="module")
def corpus() -> EncodedCorpus:
    texts, _ = topic_texts(400, seed=0)
    return EncodedCorpus.from_token_lists([text.split() for text in texts], minimum_count=1)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("shape", [(2, 3), (7, 5), (20, 40), (64, 16)])
def test_the_measures_are_the_papers(shape: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=shape), generator.normal(size=shape)
    first[:, 0] = 0  # a unit that is dead
    x, y = unit(first), unit(second)
    n, d = shape
    apart = [np.exp(-2 * np.sum((x[i] - x[j]) ** 2)) for i in range(n) for j in range(n) if i != j]
    by_hand = {
        "alignment": np.mean([np.sum((x[i] - y[i]) ** 2) for i in range(n)]),
        "uniformity": np.log(np.mean(apart)),
        "dead_units": np.mean([x[:, k].std() * np.sqrt(d) < 0.01 for k in range(d)]),
    }
    singular = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
    share = singular[singular > 1e-9] / singular.sum()
    by_hand["effective_rank"] = np.exp(-np.sum(share * np.log(share)))
    said = collapse(torch.from_numpy(first), torch.from_numpy(second))
    assert {name: value.item() for name, value in said.items()} == pytest.approx(by_hand, rel=1e-4)
    assert set(collapse(torch.from_numpy(first), of="projection_")) == {
        f"projection_{name}" for name in by_hand if name != "alignment"
    }


def test_the_measures_say_what_a_point_a_line_and_a_sphere_are() -> None:
    sphere = torch.from_numpy(np.random.default_rng(0).normal(size=(500, 16)))
    line = torch.zeros(500, 16).index_fill(1, torch.tensor([0]), 1.0)
    line[:, 1] = torch.linspace(-0.2, 0.2, 500)
    assert (dead_units(torch.ones(9, 16)), dead_units(line), dead_units(sphere)) == (1, 14 / 16, 0)
    assert uniformity(torch.ones(9, 16)).item() == pytest.approx(0, abs=1e-5)
    assert uniformity(sphere) < -3
    assert effective_rank(line) < 1.5
    assert effective_rank(sphere) > 15
    assert alignment(sphere, -sphere).item() == pytest.approx(4)


@pytest.mark.parametrize("kind", [*CONTRAST, "tsdae"])
def test_every_objective_that_could_collapse_has_the_measures_in_its_curve(kind: str, corpus: EncodedCorpus) -> None:
    points: list[Point] = []
    fields = {"span_tokens": 4} if kind == "cpc" else {}
    objective = objective_kinds()[kind](**SMALL, **fields, epochs=1)
    sslcore.pretrain(objective, corpus, seed=0, workers=1, on_metrics=lambda s, m: points.append((s, m)))
    measures = {"uniformity", "effective_rank", "dead_units"}
    wanted = measures | ({"alignment"} if kind in CONTRAST else set())
    if kind in ("byol", "sim_siam"):
        wanted |= {f"projection_{name}" for name in measures}
    for _, metrics in points:
        assert wanted <= metrics.keys()
        assert all(np.isfinite(metrics[name]) for name in wanted)
    assert collapse_in(points) is None


def curve(metric: str, values: list[float], steps: int = 100) -> list[Point]:
    """One point each hundredth of a run; the metric stays at its last value."""
    return [
        (step, {"loss": 1.0, metric: values[min(step, len(values)) - 1], "done": step / steps})
        for step in range(1, steps + 1)
    ]


@pytest.mark.parametrize(
    ("metric", "healthy", "collapsed"),
    [
        ("uniformity", -0.03, -0.01),
        ("projection_uniformity", -0.5, -0.2),
        ("sim_siam.projection_uniformity", -0.5, -0.2),
        ("dead_units", 0.4, 0.6),
        ("effective_rank", 3.0, 1.5),
        ("projection_effective_rank", 3.0, 1.5),
    ],
)
def test_the_alarm_hears_what_lasts_and_not_what_passes(metric: str, healthy: float, collapsed: float) -> None:
    assert collapse_in(curve(metric, [20.0 if "rank" in metric else healthy, healthy])) is None
    start = [20.0 if "rank" in metric else healthy] + [healthy] * 9
    passing = [*start, *[collapsed] * 15, healthy]
    assert collapse_in(curve(metric, passing)) is None
    found = collapse_in(curve(metric, [*start, collapsed]))
    assert found is not None
    assert (found.metric, found.value, found.since) == (metric, collapsed, 11)
    assert found.step == 26
    assert f"{metric} is {collapsed}, {'below' if 'rank' in metric else 'above'}" in str(found)
    assert "choose a learning_rate several times lower" in str(found)


def test_a_low_rank_of_few_texts_is_no_collapse() -> None:
    assert collapse_in(curve("effective_rank", [2.5, 1.8])) is None
    assert collapse_in(curve("effective_rank", [2.5, 0.6])) is not None
    assert collapse_in([]) is None


def attract(first: torch.Tensor, second: torch.Tensor, temperature: float) -> dict[str, torch.Tensor]:
    """A contrast without its negatives: nothing keeps the vectors apart."""
    return {"loss": alignment(first, second)}


COLLAPSING = sslcore.InfoNCE(**SMALL, dropout=0, epochs=6, learning_rate=0.005)


def test_a_contrast_without_negatives_collapses_which_is_said_once_and_in_the_summary(
    corpus: EncodedCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    heard: dict[int, Metrics] = {}
    caplog.set_level(logging.ERROR, "sslcore.objectives")  # it says that these are few texts
    with caplog.at_level(logging.WARNING, "sslcore.training"):
        healthy = write_encoder(COLLAPSING, corpus, tmp_path / "healthy", seed=0, workers=1)
        assert caplog.messages == []
        assert "collapsed_at" not in healthy
        monkeypatch.setattr(_info_nce, "info_nce_loss", attract)
        summary = write_encoder(
            COLLAPSING, corpus, tmp_path / "collapsed", seed=0, workers=1, on_metrics=heard.__setitem__
        )
    (message,) = caplog.messages
    assert message.startswith("info_nce: the vectors collapse: uniformity is -")
    assert f"now step {summary['collapsed_at']}" in message
    assert heard[max(heard)]["done"] == 1  # and training went on
    texts = sslcore.load(tmp_path / "collapsed").encode(topic_texts(20, seed=5)[0])
    assert (unit(texts) @ unit(texts).T).min() > 0.99


def test_where_it_is_asked_to_a_collapse_ends_the_run_and_what_was_kept_stays(
    corpus: EncodedCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)
    write_encoder(COLLAPSING, corpus, tmp_path / "healthy", seed=0, workers=1, stop_on_collapse=True)
    monkeypatch.setattr(_info_nce, "info_nce_loss", attract)
    heard: list[int] = []
    folder = tmp_path / "collapsed"
    for _ in range(2):  # started again, it ends at the same step
        with pytest.raises(CollapsedError, match=r"the vectors collapse.*Training has ended \(stop_on_collapse\)") as e:
            write_encoder(
                COLLAPSING, corpus, folder, seed=0, workers=1, stop_on_collapse=True,
                on_metrics=lambda s, m: heard.append(s),
            )  # fmt: skip
        assert f"(now step {heard[-1]})" in str(e.value)
    assert isinstance(e.value, UserError)
    assert heard[-1] < 40  # of 6 epochs of 13 steps
    assert sorted(file.name for file in folder.iterdir()) == [CHECKPOINT]
    assert list((folder / CHECKPOINT).glob(checkpoints.PATTERN))
