"""Every contender at every label budget and seed: the cells, and the table made of them.

A cell is a contender, a budget and a draw of labels. It trains on that draw's rows, chooses its settings on as many
validation labels per class as the budget has (whoever owns 2 labels per class does not own 4,000 for validation), and
is scored on the test rows that all cells share. With every label, all validation rows are used.
"""

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from sslcore.evaluation.budgets import ALL, nested_subsets
from sslcore.evaluation.config import Evaluation
from sslcore.evaluation.contenders import Contender, Outcome, cell_seed
from sslcore.evaluation.material import Material
from sslcore.evaluation.statistics import interval, resampled_scores, row_counts, seed_shares
from sslcore.finetuning.scores import accuracy, macro_f1
from sslcore.progress import Progress, silent
from sslcore.randomness import numpy_generator


class Cell(BaseModel):
    """One contender at one budget with one draw of labels."""

    model_config = ConfigDict(frozen=True)

    contender: str
    labels_per_class: int  # −1: every label
    seed: int
    train_labels: int
    validation_labels: int
    macro_f1: float
    accuracy: float
    validation_macro_f1: float | None
    seconds: float
    steps: int
    setting: str


class Score(BaseModel):
    """One place of the table: the mean over seeds with its 95 % interval."""

    model_config = ConfigDict(frozen=True)

    contender: str
    labels_per_class: int
    macro_f1: float
    low: float
    high: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    seeds: int
    seed_spread: float | None  # standard deviation of macro-F1 over seeds; None where only one run was made
    seconds: float  # mean of training and choosing settings
    steps: float


@dataclass(frozen=True)
class LabelEfficiency:
    """Cells and what the verdict needs of them. K contenders, B budgets, S seeds, R resamples."""

    contenders: list[Contender]
    budgets: tuple[int, ...]
    labels: np.ndarray  # float [B]: mean labels per class of each budget, the horizontal axis
    cells: list[Cell]
    table: list[Score]
    scores: np.ndarray  # float [K, B, S]: macro-F1 on the test rows
    validation: np.ndarray  # float [K, B, S]: macro-F1 on the validation rows; nan without any
    resampled: np.ndarray  # float [K, B, R]: mean over seeds in each resample
    outcomes: dict[tuple[str, int, int], Outcome]  # by contender, budget and seed, runs that were really made


def measure_label_efficiency(
    config: Evaluation,
    material: Material,
    contenders: list[Contender],
    *,
    seed: int,
    workers: int,
    progress: Progress = silent,
) -> LabelEfficiency:
    """Run every cell and score it. `workers` cells run side by side; how many changes no number."""
    train = {draw: nested(material.train, material.classes, config, seed, "train", draw) for draw in config.seeds}
    validation = {
        draw: nested(material.validation, material.classes, config, seed, "validation", draw) for draw in config.seeds
    }
    budgets = distinct(config.labels_per_class, train[config.seeds[0]])
    outcomes = run_cells(contenders, budgets, config.seeds, train, validation, seed, workers, progress)

    truth = material.classes[material.test]
    counts = row_counts(len(truth), config.resamples, seed)
    shares = seed_shares(len(config.seeds), config.resamples, seed)
    shape = (len(contenders), len(budgets), len(config.seeds))
    scores, accuracies, chosen = np.zeros(shape), np.zeros(shape), np.full(shape, np.nan)
    resampled = np.zeros((*shape[:2], config.resamples))
    cells, table = [], []
    for k, contender in enumerate(contenders):
        for b, budget in enumerate(budgets):
            draws = []
            for s, draw in enumerate(config.seeds):
                made = outcomes.get((contender.name, budget, draw))
                run = (
                    made or outcomes[contender.name, budget, config.seeds[0]]
                )  # without randomness: one for every seed
                prediction = run.logits.argmax(axis=1)
                scores[k, b, s], accuracies[k, b, s] = macro_f1(truth, prediction), accuracy(truth, prediction)
                if run.validation_macro_f1 is not None:
                    chosen[k, b, s] = run.validation_macro_f1
                draws.append(resampled_scores(truth, prediction, counts))
                if made:
                    cells.append(
                        Cell(
                            contender=contender.name,
                            labels_per_class=budget,
                            seed=draw,
                            train_labels=len(train[draw][budget]),
                            validation_labels=len(validation[draw][budget]),
                            macro_f1=scores[k, b, s],
                            accuracy=accuracies[k, b, s],
                            validation_macro_f1=run.validation_macro_f1,
                            seconds=run.seconds,
                            steps=run.steps,
                            setting=run.setting,
                        )
                    )
            resampled[k, b] = np.einsum("rs,sr->r", shares, np.stack([f1 for f1, _ in draws]))
            accurate = np.einsum("rs,sr->r", shares, np.stack([right for _, right in draws]))
            here = [c for c in cells if c.contender == contender.name and c.labels_per_class == budget]
            low, high = interval(resampled[k, b])
            accuracy_low, accuracy_high = interval(accurate)
            table.append(
                Score(
                    contender=contender.name,
                    labels_per_class=budget,
                    macro_f1=scores[k, b].mean(),
                    low=low,
                    high=high,
                    accuracy=accuracies[k, b].mean(),
                    accuracy_low=accuracy_low,
                    accuracy_high=accuracy_high,
                    seeds=len(here),
                    seed_spread=float(scores[k, b].std(ddof=1)) if len(here) > 1 else None,
                    seconds=float(np.mean([cell.seconds for cell in here])),
                    steps=float(np.mean([cell.steps for cell in here])),
                )
            )
    labels = np.array([len(train[config.seeds[0]][budget]) / len(material.labels) for budget in budgets])
    return LabelEfficiency(contenders, budgets, labels, cells, table, scores, chosen, resampled, outcomes)


def nested(
    rows: np.ndarray, classes: np.ndarray, config: Evaluation, seed: int, split: str, draw: int
) -> dict[int, np.ndarray]:
    """Budget → rows of the material; one draw is the same for every contender."""
    generator = numpy_generator(seed, "labels", split, draw)
    subsets = nested_subsets(classes[rows], config.labels_per_class, generator)
    return {budget: rows[subset] for budget, subset in subsets.items()}


def distinct(budgets: tuple[int, ...], subsets: dict[int, np.ndarray]) -> tuple[int, ...]:
    """The budgets that differ: with few labels, 32 of each class may be every label already; the larger name stays."""
    sizes = {len(subsets[budget]): budget for budget in budgets}
    return tuple(budget for budget in budgets if budget in sizes.values())


def run_cells(
    contenders: list[Contender],
    budgets: tuple[int, ...],
    draws: tuple[int, ...],
    train: dict[int, dict[int, np.ndarray]],
    validation: dict[int, dict[int, np.ndarray]],
    seed: int,
    workers: int,
    progress: Progress,
) -> dict[tuple[str, int, int], Outcome]:
    """(contender, budget, draw) → outcome. At every label, a contender without randomness runs once."""
    cells = [
        (contender, budget, draw)
        for budget in reversed(budgets)  # the long ones first, so that no core waits for the last
        for draw in draws
        for contender in contenders
        if budget != ALL or contender.random or draw == draws[0]
    ]
    outcomes: dict[tuple[str, int, int], Outcome] = {}
    with one_thread_each(), ThreadPoolExecutor(workers) as pool:
        pending = {
            pool.submit(
                contender.run,
                train[draw][budget],
                validation[draw][budget],
                cell_seed(seed, contender, budget, draw),
            ): (contender.name, budget, draw)
            for contender, budget, draw in cells
        }
        try:
            for done in as_completed(pending):
                name, budget, draw = pending[done]
                outcomes[pending[done]] = done.result()
                labels = "all labels" if budget == ALL else f"{budget} labels per class"
                progress(len(outcomes) / len(cells), f"{name}, {labels}, seed {draw}")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return outcomes


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Numerical libraries use one thread while cells run side by side: their number then changes no cell."""
    import torch
    import torch._dynamo  # the first optimiser imports it: seconds that would be counted as the first cell's
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1), warnings.catch_warnings():
            # SAGA's passes are limited on purpose. Filters belong to the process: set here once, not in each thread.
            warnings.simplefilter("ignore", ConvergenceWarning)
            yield
    finally:
        torch.set_num_threads(before)


LOGITS_AT_ONCE = 8_000_000  # float32 values in a row group; a row group spells each document id once


def write_predictions(result: LabelEfficiency, material: Material, path: Path) -> None:
    """One row per test row of every run that was made, with the logits: a new metric needs no new run."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from sslcore.contracts import PREDICTIONS

    labels = pa.array(material.labels, pa.string())
    identifiers = pa.array(material.test_document_ids, pa.string())
    truth = labels.take(pa.array(material.classes[material.test]))
    rows, classes = len(material.test), len(material.labels)
    offsets = np.arange(0, (rows + 1) * classes, classes, dtype=np.int32)
    runs = sorted(result.outcomes.items())
    together = max(1, LOGITS_AT_ONCE // (rows * classes))
    with pq.ParquetWriter(
        path,
        PREDICTIONS,
        compression="zstd",
        compression_level=1,
        use_dictionary=[name for name in PREDICTIONS.names if name != "logits"],
        column_encoding={"logits.list.element": "BYTE_STREAM_SPLIT"},  # the exponents together: they compress
    ) as writer:
        for start in range(0, len(runs), together):
            tables = [
                pa.table(
                    [
                        identifiers,
                        pa.repeat(pa.scalar(contender), rows),
                        pa.repeat(pa.scalar(budget, pa.int64()), rows),
                        pa.repeat(pa.scalar(draw, pa.int64()), rows),
                        truth,
                        labels.take(pa.array(outcome.logits.argmax(axis=1))),
                        pa.ListArray.from_arrays(offsets, outcome.logits.astype(np.float32).ravel()),
                    ],
                    schema=PREDICTIONS,
                )
                for (contender, budget, draw), outcome in runs[start : start + together]
            ]
            writer.write_table(pa.concat_tables(tables), row_group_size=rows * together)
