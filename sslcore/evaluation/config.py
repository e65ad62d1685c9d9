"""What is measured to tell whether pretraining was worth it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from sslcore.evaluation.budgets import ALL
from sslcore.finetuning.config import FineTuning

Method = Literal["tfidf", "probe", "fine_tuned", "from_scratch"]


class Evaluation(BaseModel):
    """Label budgets, seeds, contenders, and when a difference counts."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Evaluation")

    labels_per_class: tuple[int, ...] = Field(
        (2, 8, 32, ALL), min_length=1, description="Label budgets: labels of each class; -1: every label."
    )
    seeds: tuple[int, ...] = Field(
        (0, 1, 2, 3, 4),
        min_length=1,
        description="One draw of labels, batches and weights each; a verdict wants three.",
    )
    contenders: tuple[Method, ...] = Field(
        ("tfidf", "probe", "fine_tuned", "from_scratch"),
        min_length=1,
        description="TF-IDF + logistic regression; and per encoder: frozen + linear probe, fine-tuned, and the same "
        "network from scratch.",
    )
    finetuning: FineTuning = Field(
        FineTuning(), description="How the fine-tuned and from-scratch contenders are trained (nothing is frozen)."
    )
    minimum_effect: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Smallest gain in macro-F1, averaged over the budgets, worth having.",
    )
    resamples: int = Field(1000, ge=100, le=100_000, description="Bootstrap resamples of test rows and seeds.")
    minimum_test_rows: int = Field(100, ge=1, description="With fewer labelled test rows the verdict is: cannot tell.")
    maximum_test_rows: int = Field(5000, ge=100, description="Labelled test rows that are scored, drawn at random.")
    maximum_train_rows: int = Field(
        50_000, ge=100, description="Labelled train rows that count as all labels, drawn at random."
    )
    minimum_rows_per_class: int = Field(
        2, ge=1, description="Classes with fewer labelled train rows are left out, and the report says so."
    )

    @field_validator("labels_per_class")
    @classmethod
    def _budgets(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if wrong := [budget for budget in value if budget != ALL and budget < 1]:
            raise ValueError(f"a budget is a positive number of labels per class, or -1 for all; given: {wrong[0]}")
        return tuple(sorted(set(value), key=lambda budget: (budget == ALL, budget)))

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value):
            raise ValueError(f"seeds must differ: the same seed twice is one run counted twice; given: {value}")
        return value
