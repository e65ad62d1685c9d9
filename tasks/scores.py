"""What several seeds of one fine-tuning reached: a page on the flow run in Prefect, and lines for the screen."""

from typing import Any

import numpy as np
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from pydantic import BaseModel

from sslcore.artifacts import Ref
from sslcore.errors import UserError
from sslcore.evaluation.statistics import seed_noise
from tasks import runtime

SHOWN_SLICES = 5
NO_METRICS = ("split", "rows", "worse_slices", "not_sliced_by")  # what else write_scores says


class Seeds(BaseModel):
    """A metric over the seeds."""

    mean: float
    interval: float | None  # half of the 95 % t interval of the mean; None with one seed
    by_seed: list[float]


class WorseSlice(BaseModel):
    """Test rows on which the models are less often right than on all others, by more than chance in most seeds."""

    column: str
    value: str
    rows: int
    accuracy: float  # means over the seeds in which it is worse
    difference: float  # from the accuracy on all other rows
    seeds: int  # in which it is worse

    def line(self, of: int) -> str:
        """For the screen, `of` so many seeds."""
        how_often = f", in {self.seeds} of {of} seeds" if of > 1 else ""
        return (
            f"  worse where {self.column} is {' '.join(self.value.split())[:60]} ({self.rows:,} rows): accuracy "
            f"{self.accuracy:.3f}, {self.accuracy - self.difference:.3f} elsewhere{how_often}"
        )


class FineTuned(BaseModel):
    """The outcome of the fine-tuning flow."""

    shape: str
    models: list[str]  # keys, a seed each
    learning_rates: list[float | None]  # the encoder's, of each; None: what its kind has
    best: str  # the one that the validation rows find best
    validation: dict[str, Seeds]
    test: dict[str, Seeds]
    test_rows: int
    worse_slices: list[WorseSlice]  # by difference, the worst first
    not_sliced_by: list[str]  # columns that were asked for, of models whose scores are not sliced
    trainable_parameters: int
    total_parameters: int
    seconds: list[float]
    peak_memory_bytes: list[int]

    def rows(self) -> list[dict[str, Any]]:
        """A row for each metric and split."""
        return [
            {"split": split, "metric": name, "mean": of.mean, "± 95 %": of.interval, "by seed": of.by_seed}
            for split, metrics in (("validation", self.validation), ("test", self.test))
            for name, of in metrics.items()
        ]

    def lines(self) -> list[str]:
        """For the screen."""
        share = self.trainable_parameters / self.total_parameters
        seeds = f"{len(self.models)} seed{'s' * (len(self.models) > 1)}"
        width = max(len(row["metric"]) for row in self.rows())
        said = [
            f"{self.shape}: {seeds}, {self.test_rows:,} test rows, {self.trainable_parameters:,} of "
            f"{self.total_parameters:,} parameters trained ({share:.2%}), {np.mean(self.seconds):.1f} s a seed"
        ]
        for row in self.rows():
            spread = "" if row["± 95 %"] is None else f" ± {row['± 95 %']:.4f}"
            said.append(f"  {row['split']:<10}  {row['metric']:<{width}}  {row['mean']:.4f}{spread}")
        said += [part.line(len(self.models)) for part in self.worse_slices[:SHOWN_SLICES]]
        if more := len(self.worse_slices) - SHOWN_SLICES:
            said += [f"  … {more} more in details.json of the scores"] if more > 0 else []
        if self.not_sliced_by:
            columns = ", ".join(self.not_sliced_by)
            said.append(f"  only scores of one class a row are sliced; predictions.jsonl has {columns} with each row")
        return [*said, f"best by validation: {self.best}"]


def fine_tuned(models: list[Ref], scores: list[Ref]) -> FineTuned:
    """Put the scores of all seeds on the flow run's page, and hand them to whoever started the flow."""
    store = runtime.current().store
    trained = [store.manifest(model).summary for model in models]
    scored = [store.manifest(ref).summary for ref in scores]
    validation = over_seeds([summary["validation"] for summary in trained])
    result = FineTuned(
        shape=trained[0]["shape"],
        models=[model.key for model in models],
        learning_rates=[store.manifest(model).spec["learning_rate"] for model in models],
        best=best_validated(models).key,
        validation=validation,
        test=over_seeds([{k: v for k, v in said.items() if k not in NO_METRICS} for said in scored]),
        test_rows=scored[0]["rows"],
        worse_slices=worse_in_most([summary["worse_slices"] for summary in scored]),
        not_sliced_by=scored[0]["not_sliced_by"],
        trainable_parameters=trained[0]["trainable_parameters"],
        total_parameters=trained[0]["total_parameters"],
        seconds=[summary["seconds"] for summary in trained],
        peak_memory_bytes=[summary["peak_memory_bytes"] for summary in trained],
    )
    create_markdown_artifact("\n".join(f"    {line}" for line in result.lines()), key="summary")
    create_table_artifact(result.rows(), key="scores", description="metrics over the seeds")
    return result


def best_validated(models: list[Ref]) -> Ref:
    """The model that the validation rows find best, the first of equals.

    Raises UserError when there are no validation rows to tell several apart.
    """
    chosen = {model: runtime.current().store.manifest(model).summary["chosen"] for model in models}
    if len(models) > 1 and not all(chosen.values()):
        raise UserError(
            f"{len(models)} models cannot be told apart without validation rows: add some, or train one, with one seed "
            "and one learning rate"
        )
    return max(models, key=lambda model: chosen[model])


def worse_in_most(by_seed: list[list[dict[str, Any]]]) -> list[WorseSlice]:
    """The slices that more than half of the seeds' models are worse on, given those of each."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for part in (part for worse in by_seed for part in worse):
        found.setdefault((part["column"], part["value"]), []).append(part)
    kept = [
        WorseSlice(
            column=column,
            value=value,
            rows=parts[0]["rows"],
            accuracy=float(np.mean([part["accuracy"] for part in parts])),
            difference=float(np.mean([part["difference"] for part in parts])),
            seeds=len(parts),
        )
        for (column, value), parts in found.items()
        if 2 * len(parts) > len(by_seed)
    ]
    return sorted(kept, key=lambda part: part.difference)


def over_seeds(by_seed: list[dict[str, float]]) -> dict[str, Seeds]:
    """Each metric's mean and interval."""
    found = {}
    for name in by_seed[0]:
        values = np.array([metrics[name] for metrics in by_seed])
        found[name] = Seeds(mean=float(values.mean()), interval=seed_noise(values), by_seed=values.tolist())
    return found
