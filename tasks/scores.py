"""What several seeds of one fine-tuning reached: a page on the flow run in Prefect, and lines for the screen."""

from typing import Any

import numpy as np
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from pydantic import BaseModel

from sslcore.artifacts import Ref
from sslcore.errors import UserError
from sslcore.evaluation.statistics import seed_noise
from tasks import runtime


class Seeds(BaseModel):
    """A metric over the seeds."""

    mean: float
    interval: float | None  # half of the 95 % t interval of the mean; None with one seed
    by_seed: list[float]


class FineTuned(BaseModel):
    """The outcome of the fine-tuning flow."""

    shape: str
    models: list[str]  # keys, a seed each
    learning_rates: list[float | None]  # the encoder's, of each; None: what its kind has
    best: str  # the one that the validation rows find best
    validation: dict[str, Seeds]
    test: dict[str, Seeds]
    test_rows: int
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
        said = [
            f"{self.shape}: {len(self.models)} seeds, {self.test_rows:,} test rows, {self.trainable_parameters:,} of "
            f"{self.total_parameters:,} parameters trained ({share:.2%}), {np.mean(self.seconds):.1f} s a seed"
        ]
        for row in self.rows():
            spread = "" if row["± 95 %"] is None else f" ± {row['± 95 %']:.4f}"
            said.append(f"  {row['split']:<10}  {row['metric']:<20} {row['mean']:.4f}{spread}")
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
        test=over_seeds([{k: v for k, v in said.items() if k not in ("split", "rows")} for said in scored]),
        test_rows=scored[0]["rows"],
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


def over_seeds(by_seed: list[dict[str, float]]) -> dict[str, Seeds]:
    """Each metric's mean and interval."""
    found = {}
    for name in by_seed[0]:
        values = np.array([metrics[name] for metrics in by_seed])
        found[name] = Seeds(mean=float(values.mean()), interval=seed_noise(values), by_seed=values.tolist())
    return found
