"""A file scored in streaming: order kept, no row lost, a reason for each that cannot be answered."""

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sslcore.errors import UserError
from sslcore.finetuning import FineTuning, fine_tune
from sslcore.finetuning.model import FineTunedModel
from sslcore.finetuning.shapes.classification import Classification
from sslcore.serving import answering
from sslcore.serving.answering import answered_file, write_answers
from tests.topics import TOPICS, labelled, untrained
from tests.unit.conftest import topic_texts


@pytest.fixture(scope="module")
def model() -> FineTunedModel:
    texts, labels = topic_texts(120, seed=0)
    encoder = untrained(texts)
    train = labelled(encoder, texts, labels)
    return fine_tune(Classification(), encoder, train, train, FineTuning(minimum_steps=40), labels=TOPICS, seed=0)


def test_rows_come_in_order_and_those_that_cannot_be_answered_say_why(
    model: FineTunedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, _ = topic_texts(9, seed=5)
    rows: list[dict[str, object]] = [{"body": text} for text in texts]
    rows[2], rows[4], rows[7] = {"body": ""}, {"other": "x"}, {"body": 12}
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(answering, "AT_ONCE", 4)
    tables = list(answered_file(model, file, {"text": "body"}))
    assert [len(table) for table in tables] == [4, 4, 1]
    said = pa.concat_tables(tables).to_pylist()
    assert [row["row"] for row in said] == list(range(1, 10))
    reasons = {row["row"]: row["reason"] for row in said if row["reason"]}
    assert reasons == {3: "body: no text", 5: "body: no text", 8: "body: the text is a int"}
    kept = [row for row in said if not row["reason"]]
    assert [row["label"] for row in kept] == model.predict([row["text"] for row in kept])
    assert all(row["label"] is None for row in said if row["reason"])
    assert [row["text"] for row in said if row["reason"]] == ["", None, None]  # what was there, where it was text


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl"])
def test_what_is_written_is_what_is_answered(model: FineTunedModel, tmp_path: Path, ending: str) -> None:
    texts, _ = topic_texts(12, seed=6)
    pq.write_table(pa.table({"text": [*texts, None]}), tmp_path / "rows.parquet")
    output = tmp_path / f"said{ending}"
    said = write_answers(answered_file(model, tmp_path / "rows.parquet", {}), output)
    assert said == {"output": str(output), "rows": 13, "not_answered": {"text: no text": 1}}
    read = {
        ".parquet": pd.read_parquet,
        ".csv": pd.read_csv,
        ".jsonl": lambda path: pd.read_json(path, lines=True),
    }[ending](output)
    assert read["label"].tolist()[:12] == model.predict(texts)
    assert read["text"].tolist()[:12] == texts
    assert [path.name for path in tmp_path.iterdir() if "unfinished" in path.name] == []


def test_the_column_of_the_text_is_found_if_there_is_no_doubt(model: FineTunedModel, tmp_path: Path) -> None:
    texts, _ = topic_texts(5, seed=7)
    pd.DataFrame({"stars": range(5), "body": texts}).to_csv(tmp_path / "rows.csv", index=False)
    (found,) = answered_file(model, tmp_path / "rows.csv", {})
    assert found["text"].to_pylist() == texts
    (tmp_path / "lines.txt").write_text("\n".join(texts))
    (lines,) = answered_file(model, tmp_path / "lines.txt", {})
    assert lines["label"].to_pylist() == found["label"].to_pylist()


def test_text_is_repaired_as_the_corpus_was(model: FineTunedModel, tmp_path: Path) -> None:
    text = "naïve café – déjà vu at the señor's château"
    pq.write_table(pa.table({"text": [text.encode().decode("cp1252"), text]}), tmp_path / "rows.parquet")
    (found,) = answered_file(model, tmp_path / "rows.parquet", {})
    assert found["text"].to_pylist() == [text, text]


def test_what_is_not_there_is_an_error_that_lists_what_is(model: FineTunedModel, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n1,5\n2,1\n")
    with pytest.raises(UserError, match=r"no column looks like text; say which with --column text=COLUMN.*'a'.*'b'"):
        list(answered_file(model, tmp_path / "rows.csv", {}))
    with pytest.raises(UserError, match=r"there is no column 'body' for the text.*--column text=COLUMN.*'a'"):
        list(answered_file(model, tmp_path / "rows.csv", {"text": "body"}))
    with pytest.raises(UserError, match=r"\.parquet, \.csv, \.jsonl"):
        write_answers(iter(()), tmp_path / "said.xlsx")
