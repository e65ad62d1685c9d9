"""Scores of a fine-tuned model on rows that it has not seen, and what is to be known of it beside them."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from sslcore.errors import UserError
from sslcore.evaluation.details import DETAILS, Details, details_figures
from sslcore.evaluation.scoring import write_scores
from sslcore.evaluation.sliced_by import columns_to_slice_by, languages_told
from sslcore.finetuning import FineTuning, write_finetuned_model
from sslcore.finetuning.model import FineTunedModel
from sslcore.finetuning.shapes.classification import Classification
from sslcore.finetuning.shapes.pairs import Pairs
from tests.topics import untrained
from tests.unit.conftest import topic_texts


class Given:
    """Rows in splits, from tables."""

    left_out: dict[str, int] = {}  # noqa: RUF012

    def __init__(self, **tables: pa.Table) -> None:
        self._tables = tables

    def table(self, split: str) -> pa.Table:
        return self._tables.get(split, self._tables["train"].slice(0, 0))


def topics(rows: int, seed: int) -> pa.Table:
    texts, labels = topic_texts(rows, seed=seed)
    return pa.table({"text": texts, "label": labels})


def test_a_classifiers_details_add_up(tmp_path: Path) -> None:
    test = topics(90, 2)
    test = test.append_column("shop", pa.array([None if n == 9 else "good" if n % 3 else "bad" for n in range(90)]))
    labels = ["music" if n % 3 == 0 else label for n, label in enumerate(test["label"].to_pylist())]
    rows = Given(train=topics(200, 0), validation=topics(60, 1), test=test.set_column(1, "label", pa.array(labels)))
    (tmp_path / "model").mkdir()
    encoder = untrained(rows.table("train")["text"].to_pylist())
    write_finetuned_model(
        Classification(), FineTuning(epochs=1, minimum_steps=12), encoder, rows, tmp_path / "model", seed=0
    )
    model = FineTunedModel.load(tmp_path / "model")
    said = write_scores(model, rows, tmp_path)
    details = Details.model_validate_json((tmp_path / DETAILS).read_bytes())
    assert said["rows"] == 90
    right = sum(details.confusion[place][place] for place in range(4))
    assert said["accuracy"] == pytest.approx(right / 90)
    assert np.sum(details.confusion) == 90
    assert {"length", "shop"} <= {part.column for part in details.slices} <= {"length", "language", "shop"}
    for column in {part.column for part in details.slices}:
        assert sum(part.rows for part in details.slices if part.column == column) == 90
    shops = [part for part in details.slices if part.column == "shop"]
    assert [(part.value, part.rows, part.worse) for part in shops] == [
        ("bad", 29, True), ("good", 60, False), ("(none)", 1, False),
    ]  # fmt: skip
    assert [(part["value"], part["rows"]) for part in said["worse_slices"] if part["column"] == "shop"] == [("bad", 29)]
    assert details.calibration["after"].accuracy == details.calibration["before"].accuracy
    assert said["negative_log_likelihood"] == details.calibration["after"].negative_log_likelihood
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines] == rows.table("test")["text"].to_pylist()
    wrong = [line for line in lines if line["said"]["label"] != line["label"]]
    mistakes = [json.loads(line) for line in (tmp_path / "mistakes.jsonl").read_text().splitlines()]
    assert sorted(line["text"] for line in mistakes) == sorted(line["text"] for line in wrong)
    assert set(details_figures(tmp_path)) == {"reliability.svg", "confusion.svg", "slices.svg"}


def test_a_score_has_no_classes_to_look_into(tmp_path: Path) -> None:
    texts, _ = topic_texts(40, seed=0)
    pairs = pa.table({"text": texts, "text_b": texts[::-1], "score": [float(n % 5) for n in range(40)]})
    rows = Given(train=pairs, validation=pairs, test=pairs.append_column("shop", pa.array(["x"] * 40)))
    (tmp_path / "model").mkdir()
    shape, config = Pairs(says="score", architecture="bi_encoder"), FineTuning(epochs=1, minimum_steps=2)
    write_finetuned_model(shape, config, untrained(texts), rows, tmp_path / "model", seed=0)
    said = write_scores(FineTunedModel.load(tmp_path / "model"), rows, tmp_path)
    assert {"spearman", "pearson", "loss"} <= said.keys()
    assert (said["worse_slices"], said["not_sliced_by"]) == ([], ["shop"])
    assert not (tmp_path / DETAILS).exists()
    assert details_figures(tmp_path) == {}


def test_rows_are_sliced_by_the_languages_that_a_set_has() -> None:
    english = [f"This is the sentence with number {n} of them." for n in range(100)]
    chinese = [f"这是其中的第{n}个句子，写得很短。" for n in range(20)]
    french = [f"Ceci est une phrase en français, la numéro {n}." for n in range(3)]
    assert languages_told(english + french + ["12, 34?"] * 20) is None  # nothing can be told of the last
    assert languages_told([]) is None
    assert languages_told(english + french + chinese) == ["en"] * 100 + ["(others)"] * 3 + ["zh"] * 20
    table = pa.table({"text": chinese, "label": ["x"] * 20, "language": ["Chinese"] * 20, "shop": [1] * 20})
    own = columns_to_slice_by(table, chinese, Classification())
    assert own.column_names == ["length", "language", "shop"]
    assert own["language"].to_pylist() == ["Chinese"] * 20


def test_a_split_without_rows_is_an_error(tmp_path: Path) -> None:
    rows = Given(train=topics(40, 0), validation=topics(20, 1))
    (tmp_path / "model").mkdir()
    encoder = untrained(rows.table("train")["text"].to_pylist())
    write_finetuned_model(
        Classification(), FineTuning(epochs=1, minimum_steps=2), encoder, rows, tmp_path / "model", seed=0
    )
    with pytest.raises(UserError, match="no test rows"):
        write_scores(FineTunedModel.load(tmp_path / "model"), rows, tmp_path)
