"""Which weights of a run are kept by its validation rows, and when it is enough."""

import numpy as np
import pytest

from sslcore.finetuning import FineTuning, fine_tune
from sslcore.finetuning.scores import macro_f1
from sslcore.finetuning.shapes.classification import Classification, LabelledTexts
from sslcore.finetuning.validation import Validation
from tests.topics import CLASS, QUICK, TOPICS, Task, topic_task


@pytest.fixture(scope="module")
def task() -> Task:
    return topic_task()


def test_the_best_validated_weights_are_kept_and_training_stops_early(task: Task) -> None:
    encoder, train, validation = task
    shuffled = LabelledTexts(
        validation.encoded, np.roll(validation.classes, 1)
    )  # the better it learns, the worse it looks
    config = FineTuning(epochs=2, minimum_steps=60, patience=2)
    model = fine_tune(CLASS, encoder, train, shuffled, config, labels=TOPICS, seed=0)
    assert model.training.best_step < model.training.steps < config.steps(len(train))
    logits = model.logits_of(shuffled.encoded)
    assert macro_f1(shuffled.classes, logits.argmax(axis=1)) == pytest.approx(model.training.validation["macro_f1"])
    losses = {step: value for step, metric, value in model.curve if metric == "validation_loss"}
    assert losses[model.training.best_step] == pytest.approx(model.training.validation["loss"])


def test_of_weights_that_validation_cannot_tell_apart_the_later_are_kept(task: Task) -> None:
    _, train, _ = task
    rows = train.take(np.arange(64))

    def kept_of(*scores: float) -> tuple[int, bool]:
        """The step of the weights that are kept, and whether it is enough."""
        points = [
            (10 * place, {"done": place / 12, "validation_macro_f1": score, "validation_loss": 1.0})
            for place, score in enumerate(scores, start=1)
        ]
        validation = Validation(CLASS, rows, TOPICS, FineTuning(patience=3))
        return validation.best_step(points), validation.exhausted(points)

    # Of 64 rows at 0.90 the standard error is 0.0375.
    assert kept_of(0.5, 0.9, 0.87) == (30, False)
    assert kept_of(0.5, 0.9, 0.86) == (20, False)
    assert kept_of(0.5, 0.9, 0.87, 0.80, 0.89) == (50, True)  # none is better than the second
    assert kept_of(0.5, 0.9, 0.87, 0.80, 0.91) == (50, False)
    assert kept_of(1.0, 0.99) == (10, False)


def test_without_validation_the_last_weights_are_kept(task: Task) -> None:
    encoder, train, validation = task
    nothing = LabelledTexts(validation.encoded.take(np.arange(0)), validation.classes[:0])
    model = fine_tune(CLASS, encoder, train, nothing, QUICK, labels=TOPICS, seed=0)
    assert model.training.best_step == model.training.steps == QUICK.steps(len(train))
    assert model.training.validation == {}


def test_the_metric_that_chooses_is_the_one_that_was_asked_for(task: Task) -> None:
    encoder, train, validation = task
    shape = Classification(metric="mcc")
    assert shape.chosen_by == ("mcc", "-loss")
    model = fine_tune(shape, encoder, train, validation, QUICK, labels=TOPICS, seed=0)
    values = {step: value for step, name, value in model.curve if name == "validation_mcc"}
    assert values[model.training.best_step] == max(values.values()) == model.training.validation["mcc"]
