"""How much of an encoder has to learn: every freeze depth on the same rows and seeds, and what each costs.

This is the question of ultralytics/yolov5 issue 1264 (freeze 0, 10 or 24 layers, and compare), asked of the user's own
rows: nothing frozen, the embeddings, these and the first 1, 2, … layers, all but the head, and LoRA. Each setting
trains with each seed, the seeds one after another, so that what drifts on a machine drifts for all.

A setting is *not worse* than full tuning if the interval of its difference, on the same test rows and seeds, lies
above −minimum_effect: that is a test of non-inferiority, not the absence of a significant difference. The interval is
the paired bootstrap's over rows and seeds, widened where the noise between seeds is larger (statistics.py). The
cheapest setting is, of those not worse, the one that took the fewest seconds. It is chosen on the test rows: to
quote its score, measure it on rows of its own.
"""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from sslcore.errors import UserError
from sslcore.finetuning.config import FineTuning
from sslcore.finetuning.freezing import FIRST, LayerGroups, check
from sslcore.finetuning.memory import PeakMemory
from sslcore.progress import Progress, silent

if TYPE_CHECKING:
    from sslcore.finetuning.shapes.registry import AnyShape
    from sslcore.models.encoder import Encoder

FULL = "none"
RESAMPLES = 1000
WARMING_ROWS = 64


class Setting(BaseModel):
    """What one way to freeze reached and cost."""

    model_config = ConfigDict(frozen=True)

    freezing: str
    depth: int | None  # layer groups that are frozen, from the input on; None for what is no depth
    scores: tuple[float, ...]  # on the test rows, by seed
    seconds: float  # of a run, the mean
    peak_memory: int | None  # bytes beside what was there before the run, the most of all seeds; None: cannot be told
    trainable_parameters: int
    total_parameters: int
    difference: float  # of the mean score from full tuning's
    low: float  # its 95 % interval
    high: float
    not_worse: bool

    @property
    def score(self) -> float:
        return float(np.mean(self.scores))


class FreezeStudy(BaseModel):
    """All settings beside full tuning, and which of them to take."""

    model_config = ConfigDict(frozen=True)

    metric: str
    groups: tuple[str, ...]
    seeds: tuple[int, ...]
    minimum_effect: float
    train_rows: int
    test_rows: int
    settings: tuple[Setting, ...]
    cheapest: str | None  # None with one seed, which says nothing of luck

    def setting(self, freezing: str) -> Setting:
        return next(setting for setting in self.settings if setting.freezing == freezing)

    @property
    def sentence(self) -> str:
        """The answer, for people."""
        if self.cheapest is None:
            return "Cannot tell which setting is not worse than full tuning: one seed says nothing about luck."
        found, full = self.setting(self.cheapest), self.setting(FULL)
        if found is full:
            return (
                f"Nothing that takes less time than full tuning is surely within {self.minimum_effect:g} "
                f"{self.metric} of it: let the whole encoder learn."
            )
        return (
            f"freezing={found.freezing} is the cheapest that is not worse than full tuning: {found.difference:+.3f} "
            f"{self.metric} [{found.low:+.3f}, {found.high:+.3f}] on {self.test_rows:,} test rows, in "
            f"{found.seconds:.1f} s a run for {full.seconds:.1f} s."
        )

    def table(self) -> str:
        """A line for each setting, and the sentence."""
        names = ["freezing", "learns", self.metric, "± seeds", "− full", "95 % interval", "seconds", "peak MB", ""]
        rows = [names, *(self._cells(setting) for setting in self.settings)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(names))]
        lines = [
            "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(cells))
            for cells in ([*zip(row, widths, strict=True)] for row in rows)
        ]
        return "\n".join([*(line.rstrip() for line in lines), "", self.sentence])

    def _cells(self, setting: Setting) -> list[str]:
        spread = np.std(setting.scores, ddof=1) if len(setting.scores) > 1 else np.nan
        peak = "" if setting.peak_memory is None else f"{setting.peak_memory / 1e6:,.0f}"
        compared = [f"{setting.difference:+.3f}", f"[{setting.low:+.3f}, {setting.high:+.3f}]"]
        said = "cheapest" if setting.freezing == self.cheapest else "not worse" if setting.not_worse else ""
        return [
            setting.freezing, f"{setting.trainable_parameters:,}", f"{setting.score:.3f}", f"{spread:.3f}",
            *(["", ""] if setting.freezing == FULL else compared), f"{setting.seconds:.1f}", peak, said,
        ]  # fmt: skip


def depths(groups: LayerGroups) -> list[str]:
    """Every depth, from nothing frozen to all but the head."""
    between = [f"{FIRST}{layers}" for layers in range(1, len(groups) - 1)]
    return [FULL, *(["embeddings", *between] if len(groups) > 1 else []), "encoder"]


def settings_of(encoder: "Encoder") -> list[str]:
    """Every depth, and LoRA where the encoder has attention and `peft` is installed."""
    from importlib.util import find_spec

    adapts = hasattr(encoder.network, "attention_projections") and find_spec("peft") is not None
    return depths(encoder.layer_groups()) + (["lora"] if adapts else [])


def freeze_study(
    shape: "AnyShape",
    encoder: "Encoder",
    train: Any,
    validation: Any,
    test: Any,
    config: FineTuning,
    *,
    labels: Sequence[str],
    seeds: Sequence[int],
    settings: Sequence[str] | None = None,
    minimum_effect: float = 0.01,
    device: str = "cpu",
    progress: Progress = silent,
) -> FreezeStudy:
    """Train with each of the settings (default: all there are) and each seed, and compare on the test examples.

    `config` says the rest; its own freezing is not looked at. minimum_effect: how much of the score is worth nothing.
    Raises UserError for a setting that the encoder has not, without test rows, and for seeds that are none or repeated.
    """
    from sslcore.finetuning.training import train_network

    groups = encoder.layer_groups()
    chosen = list(dict.fromkeys([FULL, *(settings_of(encoder) if settings is None else settings)]))
    for freezing in chosen:
        check(FineTuning(freezing=freezing).freezing, groups)
    if not len(test):
        raise UserError("the freeze study compares on test rows, and there are none: give a test split")
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"seeds are {list(seeds)}: give at least one, and each once; five say how much is luck")
    shape.check(train, labels)
    some = np.unique(np.linspace(0, len(train) - 1, WARMING_ROWS).astype(np.int64))
    runs: dict[str, list[_Run]] = {freezing: [] for freezing in chosen}

    def trained(freezing: str, seed: int, rows: Any, held_out: Any, changes: dict[str, Any]) -> Any:
        return train_network(
            shape, encoder, rows, held_out, config.model_copy(update={"freezing": freezing, **changes}),
            labels=labels, seed=seed, device=device, progress=silent, on_metrics=lambda *_: None, checkpoints=None,
        )  # fmt: skip

    # What happens once in a process, as libraries that load, is not to be a cost of the first setting.
    trained(FULL, 0, train.take(some), validation.take(np.arange(0)), {"epochs": 1, "minimum_steps": 2})
    for number, (seed, freezing) in enumerate([(seed, freezing) for seed in seeds for freezing in chosen]):
        progress(number / (len(seeds) * len(chosen)), f"freezing={freezing}, seed {seed}")
        with PeakMemory(device) as memory:
            started = time.perf_counter()
            network, summary, _ = trained(freezing, seed, train, validation, {})
            seconds = time.perf_counter() - started
        runs[freezing].append(_Run(network, summary, seconds, memory.peak, test))
    progress(1.0, "comparing")
    return compared(shape, runs, test, labels, groups, seeds, minimum_effect, len(train))


class _Run:
    """What is kept of a run."""

    def __init__(self, network: Any, summary: Any, seconds: float, peak: int | None, test: Any) -> None:
        from sslcore.finetuning.outputs import outputs_of

        self.outputs = outputs_of(network, test)
        self.seconds, self.peak = seconds, peak
        self.trainable, self.total = summary.trainable_parameters, summary.total_parameters


def compared(
    shape: Any,
    runs: dict[str, list[_Run]],
    test: Any,
    labels: Sequence[str],
    groups: LayerGroups,
    seeds: Sequence[int],
    minimum_effect: float,
    train_rows: int,
) -> FreezeStudy:
    """The study of runs that are over: every setting beside full tuning, on the same draws of test rows and seeds."""
    from sslcore.evaluation.statistics import interval, row_counts, seed_noise, seed_shares
    from sslcore.finetuning.resampling import resampled, score_of

    metric = shape.chosen_by[0]
    counts, shares = row_counts(len(test), RESAMPLES, 0), seed_shares(len(seeds), RESAMPLES, 0)
    drawn = {
        freezing: np.array([resampled(shape, run.outputs, test, labels, counts) for run in own])
        for freezing, own in runs.items()
    }
    scores = {
        freezing: np.array([score_of(shape, run.outputs, test, labels) for run in own])
        for freezing, own in runs.items()
    }
    numbers = {name: number for number, name in enumerate(depths(groups))}
    settings = []
    for freezing, own in runs.items():
        differences = scores[freezing] - scores[FULL]
        low, high = interval(np.einsum("rs,sr->r", shares, drawn[freezing] - drawn[FULL]))
        if (noise := seed_noise(differences)) is not None:
            low, high = min(low, differences.mean() - noise), max(high, differences.mean() + noise)
        peaks = [run.peak for run in own if run.peak is not None]
        settings.append(
            Setting(
                freezing=freezing,
                depth=numbers.get(freezing),
                scores=tuple(scores[freezing].tolist()),
                seconds=float(np.mean([run.seconds for run in own])),
                peak_memory=max(peaks) if peaks else None,
                trainable_parameters=own[0].trainable,
                total_parameters=own[0].total,
                difference=float(differences.mean()),
                low=float(low),
                high=float(high),
                not_worse=freezing == FULL or bool(len(seeds) > 1 and low >= -minimum_effect),
            )
        )
    fit = [setting for setting in settings if setting.not_worse]
    return FreezeStudy(
        metric=metric.removeprefix("-"),
        groups=tuple(group for group, _ in groups),
        seeds=tuple(seeds),
        minimum_effect=minimum_effect,
        train_rows=train_rows,
        test_rows=len(test),
        settings=tuple(settings),
        cheapest=min(fit, key=lambda setting: setting.seconds).freezing if len(seeds) > 1 else None,
    )
