"""`sslcore pretrain` on what else it takes: sequences, an earlier encoder, and being killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from sslcore.training.probing import Probing
from tests.runs.conftest import SSLCORE, answer

NEWS = "package:gensim/test/test_data/lee_background.cor"  # 300 items, one a line


def test_sequences_of_products_become_a_model_in_mlflow_that_knows_neighbours(tmp_path: Path, store: Path) -> None:
    """Products 0–19 are bought with each other, and 20–39."""
    import numpy as np

    generator = np.random.default_rng(0)
    baskets = [generator.choice(20, 6, replace=False) + 20 * (i % 2) for i in range(2000)]
    pd.DataFrame({"basket": baskets}).to_parquet(tmp_path / "baskets.parquet")
    settings = ("--set", "subsampling=0", "--set", "epochs=10")
    said = answer("pretrain", "baskets.parquet", "--sequences", "basket", *settings, store=store)
    assert said["tokens"] == 10 * sum(map(len, baskets))
    program = f"""
import json, mlflow, pandas as pd
mlflow.set_tracking_uri("sqlite:///{store / ".services" / "mlflow" / "mlflow.db"}")
encoders = "tags.`sslcore.kind` = 'encoder'"
run, = mlflow.search_runs(search_all_experiments=True, filter_string=encoders, output_format="list")
model = mlflow.pyfunc.load_model(run.data.tags["sslcore.model_uri"])
texts = pd.DataFrame({{"text": ["3", "33"]}})
assert list(model.predict(texts)) == ["vector"]
print(json.dumps(model.predict(texts, params={{"nearest": 5}})["nearest"].tolist()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    of_3, of_33 = json.loads(done.stdout)
    assert of_3[0]["word"] == "3"
    assert of_3[0]["cosine"] == pytest.approx(1, abs=1e-5)
    assert all(int(near["word"]) < 20 for near in of_3)
    assert all(int(near["word"]) >= 20 for near in of_33)


def test_pretraining_goes_on_with_new_text_and_the_lineage_leads_through_both(tmp_path: Path, store: Path) -> None:
    (tmp_path / "early.txt").write_text("\n".join(f"the sea and the ship number {n} near the port" for n in range(400)))
    fields = ("--set", "epochs=1", "--set", "continuable=true", "--set", "dimensions=10")
    first = answer("pretrain", "early.txt", *fields, store=store)
    late = "\n".join(f"the quokka of isle {n} swims in the sea near the port" for n in range(400))
    (tmp_path / "late.txt").write_text(late)
    second = answer("pretrain", "late.txt", *fields, "--continuing", first["key"], store=store)
    assert second["vocabulary"] > first["vocabulary"]
    origin = answer("lineage", second["key"], store=store)
    assert {raw["name"] for raw in origin["raw_files"]} == {"early.txt", "late.txt"}


def test_a_probe_on_the_labels_chooses_the_encoder_and_is_part_of_what_was_asked(tmp_path: Path, store: Path) -> None:
    pairs = (("sea", "ship"), ("wood", "oak"))
    rows = [f"the {topic} number {n} has one {word} and no other,{topic}" for n in range(60) for topic, word in pairs]
    (tmp_path / "texts.csv").write_text("body,about\n" + "\n".join(rows))
    fields = ("texts.csv", "--label", "about", "--text", "body", "--set", "epochs=20", "--set", "dimensions=10")
    said = answer("pretrain", *fields, "--probe", "--stop-on-collapse", store=store)
    assert 0 < said["probe"] <= 1
    assert said["best_step"] <= said["steps"]
    asked = json.loads((Path(said["path"]) / "manifest.json").read_text())["spec"]
    assert asked["probe"] == Probing().model_dump()
    assert "stop_on_collapse" not in asked  # which decides only whether there is an encoder
    curve = pd.read_parquet(Path(said["path"]) / "curve.parquet")
    assert curve[curve["metric"] == "probe"]["value"].max() == pytest.approx(said["probe"], abs=1e-4)


def in_the_middle_of_pretraining(store: Path) -> "subprocess.Popen[str]":
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT", "MLFLOW"))}
    command = [str(SSLCORE), "pretrain", NEWS, "--store", str(store), "--set", "epochs=500"]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    limit = time.monotonic() + 120
    while not list(store.glob("encoder/.building-*")) and time.monotonic() < limit and process.poll() is None:
        time.sleep(0.05)
    return process


def states_in_mlflow(store: Path) -> set[str]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{store / '.services' / 'mlflow' / 'mlflow.db'}")
    return {run.info.status for run in client.search_runs([e.experiment_id for e in client.search_experiments()])}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_soon_and_in_order(store: Path, number: signal.Signals) -> None:
    process = in_the_middle_of_pretraining(store)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does: to the whole group
    else:
        process.send_signal(number)  # as a service manager does, to the process that it started
    _, said = process.communicate(timeout=90)
    assert process.returncode == 128 + number
    assert "the same command goes on" in said
    assert "Traceback" not in said
    assert "Error" not in said
    assert "RUNNING" not in states_in_mlflow(store)


def test_killed_while_pretraining_a_second_run_finishes_and_no_run_stays_open(store: Path) -> None:
    process = in_the_middle_of_pretraining(store)
    process.kill()
    process.communicate()
    assert list(store.glob("encoder/.building-*"))
    assert not list(store.glob("encoder/[!.]*"))
    answer("pretrain", NEWS, "--set", "epochs=2", store=store)
    assert len(list(store.glob("encoder/[!.]*"))) == 1
    assert states_in_mlflow(store) == {"FINISHED", "KILLED"}
