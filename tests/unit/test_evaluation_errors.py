"""Errors and slices: counts that scikit-learn agrees with, and label errors that were put in are found."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support

from sslcore.errors import UserError
from sslcore.evaluation.error_figures import confusions_figure, novelty_figure, reliability_figure, slices_figure
from sslcore.evaluation.errors import class_report, confident_mistakes, confusion_counts, most_confused
from sslcore.evaluation.label_errors import (
    confident_classes,
    confident_joint,
    cross_validated_probabilities,
    likely_label_errors,
)
from sslcore.evaluation.slices import difference_interval, sliced
from sslcore.finetuning.calibration import calibration

LABELS = ["ant", "bee", "cat", "dog"]


def guesses(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = generator.integers(3, size=rows)  # there is no dog
    return truth, np.where(generator.random(rows) < 0.7, truth, generator.integers(4, size=rows))


def test_the_report_of_classes_is_scikit_learns() -> None:
    truth, predicted = guesses(300, seed=0)
    report = class_report(truth, predicted, LABELS)
    precision, recall, f1, rows = precision_recall_fscore_support(truth, predicted, labels=range(4), zero_division=0)
    assert [c.label for c in report] == LABELS
    assert [c.rows for c in report] == rows.tolist()
    assert [c.precision for c in report] == pytest.approx(precision)
    assert [c.recall or 0 for c in report] == pytest.approx(recall)
    assert [c.f1 for c in report] == pytest.approx(f1)
    dog = report[3]
    assert (dog.recall, dog.recall_low, dog.f1) == (None, None, 0)
    assert all(c.recall_low < c.recall < c.recall_high for c in report[:3])
    never = class_report(np.array([0, 0, 1]), np.array([0, 0, 0]), LABELS)
    assert (never[1].precision, never[3].f1) == (None, None)
    np.testing.assert_array_equal(confusion_counts(truth, predicted, 4), confusion_matrix(truth, predicted))


def test_the_most_confused_classes_come_first_and_right_ones_never() -> None:
    counts = np.array([[9, 1, 0], [5, 5, 0], [0, 0, 7]])
    found = most_confused(counts, LABELS[:3])
    assert [(c.label, c.predicted, c.rows, c.share) for c in found] == [("bee", "ant", 5, 0.5), ("ant", "bee", 1, 0.1)]


def test_the_surest_mistakes_come_first() -> None:
    probabilities = np.array([[0.6, 0.4], [0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    table = confident_mistakes(probabilities, np.array([0, 0, 1, 0]), ["no", "yes"], texts=list("abcd"), most=2)
    assert table.to_pylist() == [
        {"row": 1, "label": "no", "predicted": "yes", "probability": 0.9, "probability_of_label": 0.1, "text": "b"},
        {"row": 2, "label": "yes", "predicted": "no", "probability": 0.8, "probability_of_label": 0.2, "text": "c"},
    ]
    assert len(confident_mistakes(probabilities, np.array([0, 1, 0, 1]), ["no", "yes"])) == 0


def test_the_confident_joint_by_hand() -> None:
    """Thresholds: 0.7 for class 0, (0.6 + 0.8 + 0.1) / 3 = 0.5 for class 1; class 2 has no row."""
    probabilities = np.array([[0.9, 0.1, 0], [0.5, 0.45, 0.05], [0.4, 0.6, 0], [0.2, 0.8, 0], [0.9, 0.1, 0]])
    classes = np.array([0, 0, 1, 1, 1])
    assert confident_classes(probabilities, classes).tolist() == [0, -1, 1, 1, 0]
    assert confident_joint(probabilities, classes).tolist() == [[1, 0, 0], [1, 2, 0], [0, 0, 0]]
    found = likely_label_errors(probabilities, classes, LABELS[:3]).to_pylist()
    assert found == [
        {"row": 4, "label": "bee", "suggested": "ant", "probability_of_label": 0.1, "probability_of_suggested": 0.9}
    ]


def noisy(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features in three clusters, their classes with a tenth changed, and which were."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(3, size=rows)
    features = 3.0 * np.eye(3)[truth] + generator.normal(size=(rows, 3)) * 0.8
    changed = generator.random(rows) < 0.1
    return features, np.where(changed, (truth + generator.integers(1, 3, size=rows)) % 3, truth), changed


def test_labels_that_were_changed_are_found() -> None:
    features, classes, changed = noisy(600, seed=0)
    probabilities = cross_validated_probabilities(features, classes, seed=0)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    found = likely_label_errors(probabilities, classes, LABELS[:3], texts=[f"text {i}" for i in range(600)])
    rows = found["row"].to_numpy()
    assert changed[rows].mean() > 0.75  # precision: where chance has 0.1
    assert np.isin(np.flatnonzero(changed), rows).mean() > 0.7  # recall
    assert changed[rows[:20]].mean() >= 0.95  # the likeliest first
    assert found["text"][0].as_py() == f"text {rows[0]}"


def test_cross_validation_names_a_class_that_is_too_rare() -> None:
    features, classes, _ = noisy(40, seed=0)
    classes[classes == 2] = 1
    classes[:3] = 2
    with pytest.raises(UserError, match="class 2 has 3 rows; cross-validation in 5 parts"):
        cross_validated_probabilities(features, classes, seed=0)
    with pytest.raises(UserError, match="all rows have one class"):
        cross_validated_probabilities(features, np.zeros(40, int), seed=0)
    skipped = cross_validated_probabilities(features[3:], np.where(classes[3:] == 1, 3, 0), seed=0)
    assert skipped.shape == (37, 4)
    assert not skipped[:, 1:3].any()


def test_slices_cover_all_rows_and_compare_with_the_others() -> None:
    truth, predicted = np.zeros(100, int), np.repeat([0, 1], [70, 30])
    table = pa.table(
        {
            "text": ["x" * (1 + i) for i in range(100)],
            "language": ["en"] * 60 + ["zh"] * 40,
            "stars": [1, 2] * 50,
            "shop": [f"shop {i % 30:02}" for i in range(99)] + [None],
        }
    )
    found = sliced(truth, predicted, table)
    assert [(s.column, s.value, s.rows, s.accuracy) for s in found] == [
        ("length", "1 to 25", 25, 1.0),
        ("length", "26 to 50", 25, 1.0),
        ("length", "51 to 75", 25, 0.8),
        ("length", "76 to 100", 25, 0.0),
        ("language", "en", 60, 1.0),
        ("language", "zh", 40, 0.25),
    ]
    assert [s.worse for s in found] == [False, False, False, True, False, True]
    zh = found[-1]
    assert zh.difference == pytest.approx(-0.75)
    assert zh.difference_low < -0.75 < zh.difference_high < 0
    assert zh.macro_f1 == pytest.approx(f1_score(truth[60:], predicted[60:], labels=[0], average="macro"))
    stars = sliced(truth, predicted, table, by=["stars"])
    assert [(s.value, s.rows) for s in stars] == [("1", 50), ("2", 50)]
    shops = sliced(truth, predicted, table, by=["shop"])
    assert len(shops) == 21
    assert shops[-1].value == "(others)"
    assert sum(s.rows for s in shops) == 100
    with pytest.raises(UserError, match="no column 'colour' to slice by; there are text, language"):
        sliced(truth, predicted, table, by=["colour"])


def test_slices_of_numbers_with_gaps_and_of_one_value() -> None:
    truth = predicted = np.zeros(8, int)
    table = pa.table({"age": [1.5, None, 3, 4, 5, 6, 7, None], "all": ["same"] * 8})
    ages = sliced(truth, predicted, table, by=["age"])
    assert [s.value for s in ages] == ["1.5", "3.0", "4.0", "5.0", "6.0", "7.0", "(none)"]
    assert (sum(s.rows for s in ages), ages[-1].rows) == (8, 2)
    (same,) = sliced(truth, predicted, table, by=["all"])
    assert (same.rows, same.difference, same.worse) == (8, None, False)


def test_numbers_are_cut_at_quartiles_and_what_most_rows_have_is_a_slice_of_its_own() -> None:
    right = np.zeros(60, int)
    table = pa.table(
        {
            "discount": [0] * 40 + list(range(1, 21)),
            "most": list(range(20)) + [99] * 40,
            "population": [1_000_000 + n for n in range(59)] + [None],
            "stars": [10, 2] * 30,
            "many": [f"{n:02}" for n in range(30)] * 2,
        }
    )
    found = {name: [(s.value, s.rows) for s in sliced(right, right, table, by=[name])] for name in table.column_names}
    assert found["discount"] == [("0", 40), ("1 to 5", 5), ("6 to 20", 15)]
    assert found["most"] == [("0 to 14", 15), ("15 to 99", 45)]
    assert found["population"][0] == ("1000000 to 1000014", 15)
    assert found["population"][-1] == ("(none)", 1)
    assert found["stars"] == [("2", 30), ("10", 30)]
    assert found["many"][-1] == ("(others)", 20)


def test_the_interval_of_a_difference_is_newcombes() -> None:
    """His example (a), page 876: 56/70 against 48/80, method 10: 0.0524 to 0.3339."""
    assert difference_interval(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_figures_are_drawn_and_say_what_they_show() -> None:
    generator = np.random.default_rng(0)
    logits = 3 * generator.normal(size=(400, 4))
    truth = np.where(generator.random(400) < 0.7, logits.argmax(axis=1), generator.integers(4, size=400))
    before, after = (calibration(logits / t, truth, seed=0, resamples=50) for t in (1, 2))
    figure = reliability_figure({"as trained": before, "T = 2": after})
    said = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert any(f"{before.expected_error:.3f}" in text for text in said)
    scores = novelty_figure({"energy": (generator.normal(size=300), generator.normal(2, size=90))}, {"energy": 1.6})
    assert "AUROC" in scores.axes[0].get_title(loc="left")
    counts = generator.integers(1, 50, size=(40, 40))
    small = confusions_figure(counts, [f"class {i}" for i in range(40)], most=10)
    assert len(small.axes[0].get_xticklabels()) == 11
    assert small.axes[0].get_xticklabels()[-1].get_text() == "(others)"
    assert small.axes[0].images[0].get_array().shape == (11, 11)


def test_the_figure_of_slices_names_each_and_marks_the_worse() -> None:
    truth, predicted = np.zeros(100, int), np.repeat([0, 1], [70, 30])
    table = pa.table({"shop": ["for $1 to $2"] * 60 + ["a shop with a name of more than 32 letters"] * 40})
    figure = slices_figure(sliced(truth, predicted, table, by=["shop"]), 0.7)
    (axes,) = figure.axes
    named = [label.get_text() for label in axes.get_yticklabels()]
    assert named == ["shop", "a shop with a name of more than…", r"for \$1 to \$2"]
    assert [text.get_text() for text in axes.texts] == ["40", "60", "rows"]
    marks = {line.get_ydata()[0]: line.get_marker() for line in axes.lines if len(line.get_xdata()) == 1}
    assert marks == {1: "D", 2: "o"}
    assert figure.legends[0].get_texts()[0].get_text() == "all rows: 0.700"
