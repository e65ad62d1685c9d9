"""Scores of a fine-tuned model on rows that it has not seen, and what is to be known of it beside them."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from sslcore.errors import UserError
from sslcore.evaluation.details import DETAILS, Details, details_figures
from sslcore.evaluation.scoring import write_scores
from sslcore.finetuning import FineTuning, write_finetuned_model
from sslcore.finetuning.model import FineTunedModel
from sslcore.finetuning.shapes.classification import Classification
from sslcore.finetuning.shapes.pairs import Pairs
from tests.unit.conftest import topic_texts
from tests.unit.test_finetuning_classification import untrained


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
    rows = Given(train=topics(200, 0), validation=topics(60, 1), test=topics(90, 2))
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
    assert np.sum(details.confusion) == sum(part.rows for part in details.slices) == 90
    assert details.calibration["after"].accuracy == details.calibration["before"].accuracy
    assert said["negative_log_likelihood"] == details.calibration["after"].negative_log_likelihood
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines] == rows.table("test")["text"].to_pylist()
    wrong = [line for line in lines if line["said"]["label"] != line["label"]]
    mistakes = [json.loads(line) for line in (tmp_path / "mistakes.jsonl").read_text().splitlines()]
    assert sorted(line["text"] for line in mistakes) == sorted(line["text"] for line in wrong)
    assert set(details_figures(tmp_path)) == {"reliability.png", "confusion.png"}


def test_a_score_has_no_classes_to_look_into(tmp_path: Path) -> None:
    texts, _ = topic_texts(40, seed=0)
    pairs = pa.table({"text": texts, "text_b": texts[::-1], "score": [float(n % 5) for n in range(40)]})
    rows = Given(train=pairs, validation=pairs, test=pairs)
    (tmp_path / "model").mkdir()
    shape, config = Pairs(says="score", architecture="bi_encoder"), FineTuning(epochs=1, minimum_steps=2)
    write_finetuned_model(shape, config, untrained(texts), rows, tmp_path / "model", seed=0)
    said = write_scores(FineTunedModel.load(tmp_path / "model"), rows, tmp_path)
    assert {"spearman", "pearson", "loss"} <= said.keys()
    assert not (tmp_path / DETAILS).exists()
    assert details_figures(tmp_path) == {}


def test_a_split_without_rows_is_an_error(tmp_path: Path) -> None:
    rows = Given(train=topics(40, 0), validation=topics(20, 1))
    (tmp_path / "model").mkdir()
    encoder = untrained(rows.table("train")["text"].to_pylist())
    write_finetuned_model(
        Classification(), FineTuning(epochs=1, minimum_steps=2), encoder, rows, tmp_path / "model", seed=0
    )
    with pytest.raises(UserError, match="no test rows"):
        write_scores(FineTunedModel.load(tmp_path / "model"), rows, tmp_path)
