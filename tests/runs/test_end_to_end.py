"""The main job through its command line, on real text and small settings: what a user sees, and what is left behind."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.checkpoints import SENTENCES, made_checkpoint
from tests.runs.conftest import SSLCORE, answer, new_store, sslcore

ROOT = Path(__file__).parents[2]
SMALL = [
    "corpus.source.packages=[gensim,networkx,pydantic]",
    "objectives.0.epochs=1",
    "objectives.1.epochs=1",
    "evaluation.labels_per_class=[2,8]",
    "evaluation.finetuning.epochs=2",
    "finetuning.epochs=2",
]
CONFIG = [str(ROOT / "configs" / "installed_documentation.yaml"), *(part for s in SMALL for part in ("--set", s))]
URI = "models:/installed-documentation@champion"


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, migrated_databases: Path) -> tuple[Path, dict[str, Any]]:
    """The store of one finished job, and what the job said."""
    store = new_store(tmp_path_factory.mktemp("job"), migrated_databases)
    return store, answer("run", *CONFIG, store=store)


def test_the_job_says_verdict_scores_model_paths_and_seconds(job: tuple[Path, dict[str, Any]]) -> None:
    _, said = job
    assert said["verdict"] in ("worth it", "not worth it", "cannot tell")
    assert said["sentence"]
    assert {"TF-IDF + logistic regression", "skip_gram, fine-tuned"} <= {row["contender"] for row in said["scores"]}
    assert all(row["low"] <= row["macro-F1"] <= row["high"] for row in said["scores"])
    assert (said["model"], said["version"], said["alias"]) == ("installed-documentation", 1, "champion")
    assert all(Path(path).is_dir() for path in said["paths"].values())
    assert set(said["seconds"]) == set(said["paths"])


def test_a_second_run_makes_nothing_and_registers_nothing(job: tuple[Path, dict[str, Any]]) -> None:
    store, first = job
    again = answer("run", *CONFIG, store=store)
    assert set(again["reused"]) == set(first["paths"])
    assert again["paths"] == first["paths"]
    assert again["version"] == 1


def test_the_registered_model_predicts_in_a_fresh_process(job: tuple[Path, dict[str, Any]]) -> None:
    store, _ = job
    program = f"""
import mlflow, pandas as pd
mlflow.set_tracking_uri("sqlite:///{store / ".services" / "mlflow" / "mlflow.db"}")
table = mlflow.pyfunc.load_model("{URI}").predict(pd.DataFrame({{"text": ["the shortest path between two nodes"]}}))
print(table["label"][0])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=store.parent)
    assert done.stdout.strip() == "networkx", done.stderr


def test_predict_encode_and_lineage_take_the_registered_model(job: tuple[Path, dict[str, Any]]) -> None:
    store, _ = job
    texts = "the shortest path between two nodes of a graph\n\nfit word vectors\n"
    rows = answer("predict", URI, store=store, input=texts)["predictions"]
    assert [row["text"] for row in rows] == texts.split("\n")[:3]
    assert rows[0]["label"] == "networkx"
    answer("encode", URI, "-o", "out.parquet", store=store, input=texts)
    table = pq.read_table(store.parent / "out.parquet").to_pandas()
    assert isinstance(table, pd.DataFrame)
    assert table["vector"].map(len).nunique() == 1
    assert len(table) == 3
    origin = answer("lineage", URI, store=store)
    kinds = {artefact["kind"] for artefact in origin["artefacts"]}
    assert kinds == {"finetuned_model", "encoder", "encoded_corpus", "tokenizer", "corpus"}
    assert all(len(raw["sha256"]) == 64 for raw in origin["raw_files"])
    assert any(raw["name"].startswith("networkx/") for raw in origin["raw_files"])


def test_mlflow_holds_parameters_metrics_inputs_and_plots_and_nothing_runs(job: tuple[Path, dict[str, Any]]) -> None:
    from mlflow import MlflowClient

    store, _ = job
    client = MlflowClient(f"sqlite:///{store / '.services' / 'mlflow' / 'mlflow.db'}")
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert {run.info.status for run in runs} == {"FINISHED"}
    made = {run.data.tags["sslcore.kind"]: run for run in runs if "sslcore.kind" in run.data.tags}
    assert len(made) == 6
    for run in made.values():
        assert run.data.metrics
        assert run.data.tags["sslcore.digest"]
        assert run.inputs.dataset_inputs
        assert "mlflow.parentRunId" in run.data.tags
    assert made["encoder"].data.params["learning_rate"]
    assert len(client.get_metric_history(made["encoder"].info.run_id, "loss")) > 1
    note = made["encoder"].data.tags["mlflow.note.content"]
    assert f"sslcore encode {made['encoder'].data.tags['sslcore.key'].removeprefix('encoder/')} FILE" in note
    files = {f.path for f in client.list_artifacts(made["evaluation_report"].info.run_id)}
    assert "label_efficiency.svg" in files
    version = client.get_model_version_by_alias("installed-documentation", "champion")
    assert client.get_logged_model(version.source.removeprefix("models:/")).name == "finetuned_model"
    assert "labels per class" in version.description


def test_a_flipped_byte_is_found_and_the_store_says_so(job: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    store, _ = job
    assert answer("store", "verify", store=store) == {"problems": []}
    weights = next(store.glob("encoder/*/weights.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    try:
        done = sslcore("store", "verify", store=store)
        assert done.returncode == 1
        assert "weights.safetensors" in done.stdout
    finally:
        content[-1] ^= 1
        weights.write_bytes(content)


def test_unlabelled_text_gets_an_encoder_and_cannot_tell(tmp_path: Path, store: Path) -> None:
    text = tmp_path / "notes.txt"
    documentation = Path(pd.__file__).parent.rglob("*.py")
    text.write_text("\n\n".join(p.read_text("utf-8")[:4000] for p in list(documentation)[:400]), "utf-8")
    settings = ("objectives.0.epochs=1", "objectives.1.epochs=1", "corpus.source.document=paragraph")
    said = answer("run", str(text), *(part for s in settings for part in ("--set", s)), store=store)
    assert said["verdict"] == "cannot tell"
    assert "fine-tune" not in said["seconds"]
    assert said["model"] == "notes"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("run", "nowhere.csv"), "nowhere.csv"),
        (("run", "table.csv", "--text", "body"), "body"),
        (("run", "nowhere.yaml"), "nowhere.yaml"),
        (("ingest", "empty.csv"), "empty.csv"),
        (("pretrain", "table.csv", "--objective", "glove"), "glove"),
        (("pretrain", "table.csv", "--device", "cuda:99"), "cuda:99"),
        (("predict", "models:/nobody@champion"), "nobody"),
        (("encode", "0123456789"), "0123456789"),
        (("run", "table.csv", "--set", "seed"), "field=value"),
        (("frobnicate",), "frobnicate"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(tmp_path: Path, arguments: tuple[str, ...], named: str) -> None:
    (tmp_path / "table.csv").write_text("review,stars\ngood,5\nbad,1\n")
    (tmp_path / "empty.csv").write_text("")
    if arguments == ("frobnicate",):
        done = subprocess.run([str(SSLCORE), "frobnicate"], capture_output=True, text=True)
    else:
        done = sslcore(*arguments, store=tmp_path / "store", input="")
    assert done.returncode == 2, done.stderr
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    if arguments[0] != "predict":  # a registry has to be asked
        assert not (tmp_path / "store").exists()  # said before any server was started


def test_a_job_that_goes_on_from_a_checkpoint_measures_it_as_it_was_too(tmp_path: Path, store: Path) -> None:
    checkpoint = made_checkpoint("bert", tmp_path / "checkpoint")
    rows = [{"text": text, "label": "ship" if "ship" in text else "other"} for text in SENTENCES * 3]
    pd.DataFrame(rows).sample(frac=1, random_state=0).to_parquet(tmp_path / "rows.parquet")
    settings = [
        f"continuing={checkpoint}",
        "objectives=[{kind: masked_lm, epochs: 1, maximum_tokens: 32, batch_tokens: 512}]",
        "evaluation.labels_per_class=[2]",
        "evaluation.contenders=[tfidf, probe]",
        "corpus.deduplication={exact: false, near: false}",
        "finetuning.epochs=1",
    ]
    fields = [part for setting in settings for part in ("--set", setting)]
    said = answer("run", str(tmp_path / "rows.parquet"), "--label", "label", *fields, store=store)
    contenders = {row["contender"] for row in said["scores"]}
    assert {"before, frozen + linear probe", "masked_lm, frozen + linear probe"} <= contenders
    assert {"take up checkpoint", "pretrain masked_lm"} <= set(said["paths"])
    again = answer("run", str(tmp_path / "rows.parquet"), "--label", "label", *fields, store=store)
    assert "take up checkpoint" in again["reused"]
