"""A freeze study says what each depth reached and cost, and calls worse what is worse."""

from typing import Any, ClassVar

import numpy as np
import pytest

from sslcore.errors import UserError
from sslcore.finetuning import FineTuning
from sslcore.finetuning.freeze_figure import freeze_figure
from sslcore.finetuning.freeze_study import FreezeStudy, _Run, compared, depths, freeze_study, settings_of
from sslcore.finetuning.memory import PeakMemory
from sslcore.finetuning.resampling import SLOW_RESAMPLES, output_offsets, resampled
from sslcore.finetuning.shapes.classification import Classification, LabelledTexts
from sslcore.models.encoder import Encoder
from sslcore.objectives.masked_lm import MaskedLM
from tests.topics import TOPICS, labelled, untrained
from tests.unit.conftest import topic_texts

GROUPS = [("embeddings", ["e"]), ("layer 1", ["1"]), ("layer 2", ["2"])]
CLASS = Classification()


@pytest.fixture(scope="module")
def task() -> tuple[Encoder, LabelledTexts, LabelledTexts]:
    texts, labels = topic_texts(96, seed=0)
    encoder = untrained(texts, MaskedLM(size="tiny", maximum_tokens=32))
    held_out, held_out_labels = topic_texts(48, seed=1)
    return encoder, labelled(encoder, texts, labels), labelled(encoder, held_out, held_out_labels)


Task = tuple[Encoder, LabelledTexts, LabelledTexts]


@pytest.fixture(scope="module")
def study(task: Task) -> FreezeStudy:
    encoder, train, test = task
    config = FineTuning(epochs=2, minimum_steps=2, batch_size=16, learning_rate=1e-3)
    told: list[float] = []
    found = freeze_study(
        CLASS, encoder, train, test, test, config, labels=TOPICS, seeds=(0, 1), minimum_effect=0.02,
        progress=lambda fraction, _: told.append(fraction),
    )  # fmt: skip
    assert told == sorted(told)
    assert told[-1] == 1
    return found


def test_every_depth_is_there_once(task: Task) -> None:
    assert depths(GROUPS) == ["none", "embeddings", "first_1", "encoder"]
    assert depths(GROUPS[:1]) == ["none", "encoder"]
    assert settings_of(untrained(["a b c"])) == ["none", "encoder"]
    assert settings_of(task[0])[:4] == ["none", "embeddings", "first_1", "encoder"]


def test_a_study_counts_parameters_time_and_memory(study: FreezeStudy, task: Task) -> None:
    encoder, train, _ = task
    assert [setting.depth for setting in study.settings] == [0, 1, 2, 3, None][: len(study.settings)]
    trainable = [s.trainable_parameters for s in study.settings if s.depth is not None]
    assert trainable == sorted(trainable, reverse=True)
    assert trainable[-1] == 4 * encoder.dimensions + 4
    assert all(setting.seconds > 0 and len(setting.scores) == 2 for setting in study.settings)
    full = study.setting("none")
    if full.peak_memory is not None:
        assert full.peak_memory > 4 * full.trainable_parameters  # there are gradients and moments
    assert (full.difference, full.low, full.high, full.not_worse) == (0, 0, 0, True)
    assert study.train_rows == len(train)
    assert FreezeStudy.model_validate_json(study.model_dump_json()) == study


def test_the_table_and_the_figure_show_every_setting(study: FreezeStudy) -> None:
    lines = study.table().splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(study.settings)]] == [s.freezing for s in study.settings]
    assert lines[-1] == study.sentence
    figure = freeze_figure(study)
    figure.canvas.draw()
    names = [label.get_text() for label in figure.axes[1].get_xticklabels()]
    assert names[:4] == ["none", "embeddings", "first 1", "encoder"]


def made(wrong_rows: dict[str, list[int]], seconds: dict[str, float], n: int = 400, seeds: int = 3) -> FreezeStudy:
    """A study of made outputs: all rows right but the last so many; by seed."""
    generator = np.random.default_rng(0)
    test: Any = LabelledTexts(None, generator.integers(2, size=n))  # type: ignore[arg-type]
    runs = {}
    for freezing, wrong in wrong_rows.items():
        runs[freezing] = []
        for number in range(seeds):
            run = _Run.__new__(_Run)
            said = test.classes.copy()
            if wrong[number]:
                said[-wrong[number] :] = 1 - said[-wrong[number] :]
            run.outputs = np.eye(2)[said]
            run.seconds, run.peak, run.trainable, run.total = seconds[freezing], None, 1, 2
            runs[freezing].append(run)
    return compared(CLASS, runs, test, ["a", "b"], GROUPS, range(seeds), 0.02, 100)


def test_the_cheapest_that_is_not_worse_is_named() -> None:
    wrong = {"none": [20, 21, 19], "embeddings": [20, 20, 21], "first_1": [22, 21, 20], "encoder": [90, 95, 85]}
    seconds = {"none": 10.0, "embeddings": 8.0, "first_1": 5.0, "encoder": 1.0}
    study = made(wrong, seconds)
    assert study.cheapest == "first_1"
    assert [setting.not_worse for setting in study.settings] == [True, True, True, False]
    worse = study.setting("encoder")
    assert worse.difference == pytest.approx(-70 / 400, abs=0.01)
    assert worse.low < worse.difference < worse.high < -0.1
    assert "freezing=first_1 is the cheapest" in study.sentence
    assert "5.0 s a run for 10.0 s" in study.sentence


def test_a_difference_that_may_be_more_than_the_minimum_effect_is_not_called_none() -> None:
    """The means are equal, but the seeds are so far apart that nobody knows."""
    study = made({"none": [20, 20, 20], "encoder": [0, 20, 40]}, {"none": 10.0, "encoder": 1.0})
    assert study.setting("encoder").difference == pytest.approx(0, abs=1e-3)
    assert not study.setting("encoder").not_worse
    assert study.cheapest == "none"
    assert "let the whole encoder learn" in study.sentence


def test_one_seed_names_nothing() -> None:
    study = made({"none": [20], "encoder": [20]}, {"none": 10.0, "encoder": 1.0}, seeds=1)
    assert study.cheapest is None
    assert "one seed says nothing about luck" in study.sentence


def test_resampling_any_shape_gives_what_the_product_of_classes_gives() -> None:
    generator = np.random.default_rng(1)
    n = 60
    encoded = labelled(untrained(["a"]), ["a"] * n, ["music"] * n).encoded
    examples = LabelledTexts(encoded, generator.integers(3, size=n))
    outputs = generator.normal(size=(n, 3))
    counts = np.stack([np.bincount(generator.integers(n, size=n), minlength=n) for _ in range(50)]).astype(np.float32)
    quick = resampled(CLASS, outputs, examples, ["a", "b", "c"], counts)

    class Other(Classification):
        chosen_by: ClassVar[tuple[str, ...]] = ("accuracy", "-loss")

        def metrics(self, logits: np.ndarray, examples: Any, labels: Any) -> dict[str, float]:  # type: ignore[override]
            return {"accuracy": super().metrics(logits, examples, labels)["macro_f1"]}

    slow = resampled(Other(), outputs, examples, ["a", "b", "c"], counts)
    np.testing.assert_allclose(slow, quick, atol=1e-6)
    assert len(counts) < SLOW_RESAMPLES


def test_outputs_of_words_go_with_their_rows() -> None:
    class Words:
        rows = np.array([0, 2, 2, 5])

        def __len__(self) -> int:
            return 3

    assert output_offsets(np.zeros((5, 2)), Words()).tolist() == [0, 2, 2, 5]
    assert output_offsets(np.zeros((3, 2)), Words()).tolist() == [0, 1, 2, 3]
    with pytest.raises(UserError, match="6 outputs of 3 rows"):
        output_offsets(np.zeros((6, 2)), Words())


def test_what_cannot_be_studied_is_the_users_mistake(task: Task) -> None:
    encoder, train, test = task
    nothing = test.take(np.arange(0))
    for tested, seeds, settings, message in (
        (nothing, (0,), None, "give a test split"),
        (test, (), None, "give at least one"),
        (test, (0, 0), None, "each once"),
        (test, (0,), ["first_9"], "the encoder has 2 layers"),
    ):
        with pytest.raises(UserError, match=message):
            freeze_study(
                CLASS, encoder, train, test, tested, FineTuning(), labels=TOPICS, seeds=seeds, settings=settings
            )


def test_the_peak_is_of_the_work_and_not_of_the_work_before() -> None:
    with PeakMemory("cpu") as large:
        np.ones(30_000_000).sum()
    with PeakMemory("cpu") as small:
        np.ones(3_000_000).sum()
    if large.peak is None or small.peak is None:
        pytest.skip("this system does not tell")
    assert large.peak >= 230e6  # a page may have been there before
    assert 20e6 <= small.peak < 120e6
