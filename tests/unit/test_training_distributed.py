"""Two processes that torchrun started train together, over gloo on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TRAIN = """
import hashlib, json, os, sys
import numpy as np, sslcore, torch
from sslcore.objectives import word_objective
from sslcore.objectives.word_objective import Stretch, Stretches
from sslcore.training.distributed import TeamLearner, join
from sslcore.training.learner import KernelLearner

word_objective.STRETCH = 1024  # so that a small corpus is work for both
folder = sys.argv[1]
generator = np.random.default_rng(0)
lists = [[f"{'ab'[i % 2]}{j}" for j in generator.integers(0, 6, 12)] for i in range(4000)]
skip_gram = sslcore.SkipGram(dimensions=16, window=3, epochs=2, subsampling=0)
losses = []
encoder = sslcore.pretrain(
    skip_gram, lists, seed=0,
    on_metrics=lambda step, metrics: losses.append(metrics["loss"]),
)
keyed = encoder.to_keyed_vectors()
near = np.mean([keyed.similarity(f"a{i}", f"a{j}") for i in range(6) for j in range(i)])
far = np.mean([keyed.similarity(f"a{i}", f"b{j}") for i in range(6) for j in range(6)])

team = join("cpu")
rows = torch.zeros(4, 2)
def update(batch, rate_begin, rate_end):
    rows[team.rank] += 1  # rows 0 and 1: moved by one process alone
    rows[2] += 1 + team.rank  # moved by both
    return {"loss": float(team.rank)}
learner = TeamLearner(KernelLearner(encoder, update, lambda: None, lambda done: 0.1, {"rows": rows}), team)
batch = Stretches([Stretch(np.zeros(n, np.int32), np.array([0, n]), 0) for n in (30, 10)], 40, 0.0, 1.0)
said = {
    "digest": hashlib.sha256(encoder.network.word_vectors().tobytes()).hexdigest(), "apart": float(near - far),
    "losses": losses, "loss": learner.update(batch)["loss"], "rows": rows[:, 0].tolist(),
}
with open(f"{folder}/{team.rank}.json", "w") as file:
    json.dump(said, file)
"""


def torchrun(folder: Path) -> "subprocess.CompletedProcess[str]":
    (folder / "train.py").write_text(TRAIN)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run([*command, "train.py", str(folder)], cwd=folder, capture_output=True, text=True)


def test_both_end_with_the_same_encoder_which_has_learned(tmp_path: Path) -> None:
    done = torchrun(tmp_path)
    assert done.returncode == 0, done.stderr
    first: dict[str, Any]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second
    assert first["apart"] > 0.5
    assert first["losses"][-1] < first["losses"][0]
    assert first["rows"] == [1, 1, 1.5, 0]  # what one process alone has moved is not halved
    assert first["loss"] == 0.25  # of 30 tokens 0, of 10 tokens 1


@pytest.mark.parametrize("kind", ["denoising_autoencoder", "stacked_autoencoder", "masked_lm", "causal_lm"])
def test_two_processes_descend_as_one_does(kind: str, tmp_path: Path) -> None:
    """Gradients are averaged over the shares of a batch: the same run but for the order in which sums are taken."""
    (tmp_path / "train.py").write_text(DESCEND)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for start in ([*command, "train.py", kind, "two"], [sys.executable, "train.py", kind, "one"]):
        done = subprocess.run(start, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    one, two, other = (np.load(tmp_path / f"{name}.npy") for name in ("one-0", "two-0", "two-1"))
    np.testing.assert_array_equal(two, other)
    np.testing.assert_allclose(two, one, atol=2e-4)


DESCEND = """
import os, sys
import numpy as np, sslcore
generator = np.random.default_rng(0)
lists = [[f"w{j}" for j in generator.integers(0, 30, 12)] for i in range(400)]
objective = {
    "denoising_autoencoder": sslcore.DenoisingAutoencoder(dimensions=8, epochs=2, learning_rate=1e-3),
    "stacked_autoencoder": sslcore.StackedAutoencoder(
        dimensions=8, hidden_dimensions=12, epochs=2, learning_rate=1e-3
    ),
    "causal_lm": sslcore.CausalLM(
        size="tiny", maximum_tokens=16, batch_tokens=512, epochs=2, dropout=0, learning_rate=1e-4, parts=2
    ),
    "masked_lm": sslcore.MaskedLM(
        size="tiny", maximum_tokens=16, batch_tokens=512, epochs=2, dropout=0, learning_rate=1e-4, parts=2
    ),
}[sys.argv[1]]
encoder = sslcore.pretrain(objective, lists, seed=0, workers=1)
weights = next(encoder.network.parameters()).detach().numpy()
np.save(f"{sys.argv[2]}-{os.environ.get('RANK', 0)}.npy", weights)
"""


ASKED = """
import os, signal, sys
from pathlib import Path
import numpy as np, sslcore
generator = np.random.default_rng(0)
lists = [[f"w{j}" for j in generator.integers(0, 30, 12)] for i in range(400)]
name, rank, at = sys.argv[1], int(os.environ["RANK"]), dict(enumerate(map(int, sys.argv[2:])))
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what it does once the run has ended
heard = []
def hear(step, metrics):
    heard.append(step)
    if step == at.get(rank):
        os.kill(os.getpid(), signal.SIGTERM)
objective = sslcore.DenoisingAutoencoder(dimensions=8, epochs=8, learning_rate=1e-3)
try:
    encoder = sslcore.pretrain(
        objective, lists, seed=0, workers=1, on_metrics=hear, checkpoints=Path(f"checkpoints-{name}")
    )
    np.save(f"{name}-{rank}.npy", next(encoder.network.parameters()).detach().numpy())
except sslcore.UserError as error:
    Path(f"{name}-{rank}.txt").write_text(str(error))
"""


def test_one_that_is_asked_to_end_takes_the_others_with_it_after_the_same_step_which_is_saved(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(ASKED)

    def run(name: str, *at: int) -> None:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        done = subprocess.run(
            [*command, "train.py", name, *map(str, at)], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr

    run("run", 9, 6)  # the system's signals never come at one moment
    said = [(tmp_path / f"run-{rank}.txt").read_text() for rank in range(2)]
    assert said[0] == said[1] == "asked to end at step 6, which is saved; the same call goes on from there"
    assert [file.name for file in (tmp_path / "checkpoints-run").iterdir()] == ["state-000000000006.safetensors"]
    run("run")
    run("unbroken")
    names = ("run-0", "run-1", "unbroken-0", "unbroken-1")
    resumed, other, unbroken, last = (np.load(tmp_path / f"{name}.npy") for name in names)
    for array in (other, unbroken, last):
        np.testing.assert_array_equal(resumed, array)


APART = """
import os
from pathlib import Path
import sslcore
from sslcore.training import checkpoints
from tests.broken_runs import OBJECTIVES, in_pieces, labelled_corpus

checkpoints.SECONDS, checkpoints.SHARE = 0.0, 1e9
rank = os.environ["RANK"]
try:
    in_pieces(OBJECTIVES["skip_gram"], labelled_corpus(), Path(f"seen by {rank} alone"))
except sslcore.UserError as error:
    Path(f"{rank}.txt").write_text(str(error))
"""


def test_processes_that_see_different_checkpoints_say_so_and_do_not_wait_for_each_other(tmp_path: Path) -> None:
    (tmp_path / "apart.py").write_text(APART)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "apart.py"]
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=tmp_path, env=here, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    said = [(tmp_path / f"{rank}.txt").read_text() for rank in range(2)]
    assert said[1].startswith("the first process goes on from step ")
    assert "(process 2 of 2 from 0); give a folder of checkpoints that every process sees" in said[1]


FEWER = """
import hashlib, json, sys
import sslcore
from sslcore.objectives.registry import objective_kinds

lists = [[f"w{i}" for i in range(12)], [f"w{i}" for i in range(12, 1, -1)]]
said = {}
for kind in ("masked_lm", "tsdae", "sequence_denoising", "sim_siam"):
    model = objective_kinds()[kind]
    fields = {"size": "tiny", "maximum_tokens": 16, "epochs": 2}
    corpus = sslcore.EncodedCorpus.from_token_lists(lists, minimum_count=1)
    losses = []
    encoder = sslcore.pretrain(model(**fields), corpus, seed=0, on_metrics=lambda s, m: losses.append(m["loss"]))
    digest = hashlib.sha256(encoder.encode(["w1 w2 w3"]).tobytes()).hexdigest()
    said[kind] = {"digest": digest, "losses": losses}
from torch import distributed
with open(f"{sys.argv[1]}/{distributed.get_rank()}.json", "w") as file:
    json.dump(said, file)
"""


def test_a_batch_of_fewer_texts_than_processes_is_trained_on(tmp_path: Path) -> None:
    (tmp_path / "fewer.py").write_text(FEWER)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3", "fewer.py"]
    done = subprocess.run([*command, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second, third = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(3))
    assert first == second == third
    assert all(np.isfinite(said["losses"]).all() for said in first.values())
