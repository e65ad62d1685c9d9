"""`sslcore finetune` on labelled files of every shape: scores over seeds, predictions, what MLflow holds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sslcore.artifacts import ArtifactStore
from tests.checkpoints import SENTENCES, made_checkpoint
from tests.runs.conftest import answer, sslcore

SETTINGS = ("finetuning.epochs=2", "finetuning.learning_rate=0.001", "finetuning.minimum_steps=4")
QUICK = [part for setting in SETTINGS for part in ("--set", setting)]


def ships(folder: Path) -> Path:
    """Sentences by whether a ship is in them, in splits of their own; and where it was seen."""
    rows = pd.DataFrame({"sentence": SENTENCES, "what": ["ship" if " ship " in s else "other" for s in SENTENCES]})
    rows["place"] = [sentence.split("near the ")[1].split(" on ")[0] for sentence in SENTENCES]
    rows = rows.sample(frac=1, random_state=0)
    folder.mkdir()
    for split, part in (("train", rows[:50]), ("validation", rows[50:65]), ("test", rows[65:])):
        part.to_csv(folder / f"{split}.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_checkpoint("bert", tmp_path_factory.mktemp("checkpoint"))


def test_seeds_scores_registration_and_prediction(tmp_path: Path, store: Path, checkpoint: Path) -> None:
    command = ["finetune", str(ships(tmp_path / "ships")), "--encoder", str(checkpoint), "--seeds", "2", *QUICK]
    command += ["--set", "rates=[0.000001, 0.001]"]
    command += ["--column", "text=sentence", "--column", "label=what", "--freeze", "embeddings", "--name", "ships"]
    command += ["--slice", "place"]
    said = answer(*command, store=store)
    assert (said["shape"], said["test_rows"], len(said["models"])) == ("class", 16, 2)
    assert {"accuracy", "macro_f1"} <= set(said["test"])
    test = said["test"]["macro_f1"]
    assert test["mean"] == pytest.approx(sum(test["by_seed"]) / 2)
    assert test["interval"] is not None
    assert said["best"] in said["models"]
    assert set(said["learning_rates"]) <= {1e-6, 1e-3}
    assert 0 < said["trainable_parameters"] < said["total_parameters"]
    assert said["not_sliced_by"] == []
    assert_sliced_by_place(store)
    rows = answer("predict", "models:/ships@champion", store=store, input=SENTENCES[0] + "\n")["predictions"]
    assert rows[0]["label"] in ("ship", "other")
    assert set(answer(*command, store=store)["reused"]) >= {"fine-tune", "score", "read labelled rows"}


def assert_sliced_by_place(store: Path) -> None:
    """The scores are, and the models are of rows without that column, so that another needs no others."""
    made = ArtifactStore(store).manifests()
    sets = {bool(m.summary["slices"]): m for m in made if m.ref.kind == "labelled_set"}
    assert {m.inputs["labelled_set"].key for m in made if m.ref.kind == "finetuned_model"} == {sets[False].key}
    scores = [m for m in made if m.ref.kind == "scores"]
    assert {m.inputs["labelled_set"].key for m in scores} == {sets[True].key}
    slices = json.loads((ArtifactStore(store).path(scores[0].ref) / "details.json").read_text())["slices"]
    places = {part["value"]: part["rows"] for part in slices if part["column"] == "place"}
    assert set(places) == {"harbour", "police station", "river"}
    assert sum(places.values()) == 16


def tagged(sentence: str) -> dict[str, Any]:
    words = sentence.split()
    return {"tokens": words, "tags": ["B-X" if word in ("ship", "quokka") else "O" for word in words]}


def paired(sentence: str) -> dict[str, Any]:
    other = sentence if "small" in sentence else "Nobody saw anything."
    return {"text": sentence, "text_b": other, "label": "same" if other == sentence else "other"}


def asked(sentence: str) -> dict[str, Any]:
    seen = sentence.split()[2]
    answers = [{"text": seen, "start": sentence.index(seen)}]
    return {"question": "Who was seen?", "passage": sentence, "answers": answers}


PARTS: dict[str, tuple[Callable[[str], dict[str, Any]], str]] = {
    "tags": (tagged, "f1"),
    "pair": (paired, "accuracy"),
    "span": (asked, "f1"),
}


@pytest.mark.parametrize("shape", PARTS)
def test_every_shape_is_trained_and_scored(shape: str, tmp_path: Path, store: Path, checkpoint: Path) -> None:
    row_of, metric = PARTS[shape]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row_of(sentence)) + "\n" for sentence in SENTENCES), encoding="utf-8")
    said = answer("finetune", str(file), "--shape", shape, "--encoder", str(checkpoint), *QUICK, store=store)
    assert 0 <= said["test"][metric]["mean"] <= 100
    assert said["test_rows"] > 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nowhere", "--encoder", "encoder"], "nowhere"),
        (["rows", "--encoder", "encoder"], "no file whose name begins with train"),
        (["rows", "--shape", "pairs"], "shape"),
        (["rows", "--column", "label"], "OURS=THEIRS"),
        (["rows", "--freeze", "everything"], "freezing"),
        (["one.csv", "--encoder", "."], "the one label 'b'"),
        (["one.csv", "--encoder", ".", "--column", "label=stars"], "no column 'stars'"),
        (["empty.csv", "--encoder", "."], "the file is empty"),
        (["one.csv", "--encoder", ".", "--slice", "label"], "the rows' label is read from"),
        (["one.csv", "--slice", "shop"], "no encoder is named"),
    ],
)
def test_a_mistake_is_one_sentence_before_any_server(arguments: list[str], named: str, tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "other.csv").write_text("text,label\na,b\n")
    (tmp_path / "one.csv").write_text("text,label\n" + "".join(f"a text {n},b\n" for n in range(40)))
    (tmp_path / "empty.csv").write_text("")
    done = sslcore("finetune", *arguments, store=tmp_path / "store")
    assert done.returncode == 2, done.stderr
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "store").exists()
