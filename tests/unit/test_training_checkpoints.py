"""A run that is killed and started again ends as an unbroken one, to the byte."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sslcore.artifacts import CHECKPOINT, ArtifactStore
from sslcore.errors import UserError
from sslcore.objectives.denoising_autoencoder import DenoisingAutoencoder
from sslcore.objectives.registry import objective_kinds
from sslcore.tokenization.encoding import EncodedCorpus
from sslcore.training import checkpoints
from sslcore.training.checkpoints import Checkpoints
from sslcore.training.learner import KernelLearner, Metrics, TorchLearner
from sslcore.training.loop import Begin, Curve
from sslcore.training.pretraining import pretrain, write_encoder
from tests.broken_runs import OBJECTIVES, StoppedError, in_one_go, in_pieces, labelled_corpus


@pytest.fixture(scope="module")
def corpus() -> EncodedCorpus:
    return labelled_corpus()


@pytest.fixture(autouse=True)
def at_every_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)


def test_every_objective_is_broken_here() -> None:
    assert {objective.kind for objective in OBJECTIVES.values()} == set(objective_kinds())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_run_broken_at_any_point_ends_like_an_unbroken_one(name: str, corpus: EncodedCorpus, tmp_path: Path) -> None:
    assert in_pieces(OBJECTIVES[name], corpus, tmp_path) == in_one_go(OBJECTIVES[name], corpus)


TWO = """
import hashlib, json
from pathlib import Path
from torch import distributed
from sslcore.training import checkpoints
from tests.broken_runs import OBJECTIVES, in_one_go, in_pieces, labelled_corpus

checkpoints.SECONDS, checkpoints.SHARE = 0.0, 1e9
corpus, said = labelled_corpus(), {}
for name, objective in OBJECTIVES.items():
    runs = in_pieces(objective, corpus, Path(name)), in_one_go(objective, corpus)
    said[name] = [hashlib.sha256(repr(run).encode()).hexdigest() for run in runs]
Path(f"{distributed.get_rank()}.json").write_text(json.dumps(said))
"""


def test_of_two_processes_too(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(TWO)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "two.py"]
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=tmp_path, env=here, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    one, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert one.keys() == OBJECTIVES.keys()
    assert {name for name, (pieces, whole) in one.items() if pieces != whole} == set()
    assert one == other


def test_the_seconds_of_a_resumed_run_count_from_its_first_attempt(corpus: EncodedCorpus, tmp_path: Path) -> None:
    def stop(step: int, metrics: Metrics, heard: list[int] = []) -> None:  # noqa: B006
        heard.append(step)
        time.sleep(0.4)
        if len(heard) == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        write_encoder(OBJECTIVES["skip_gram"], corpus, tmp_path, seed=3, on_metrics=stop)
    summary = write_encoder(OBJECTIVES["skip_gram"], corpus, tmp_path, seed=3)
    assert summary["seconds"] > 0.8  # two points were kept
    assert summary["tokens_per_second"] < summary["tokens"] / 0.8


def test_a_damaged_checkpoint_is_said_and_training_starts_again(
    corpus: EncodedCorpus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    objective = OBJECTIVES["skip_gram"]
    expected = pretrain(objective, corpus, seed=3, checkpoints=tmp_path)
    for file in tmp_path.glob(checkpoints.PATTERN):
        file.write_bytes(b"not a safetensors file")
    again = pretrain(objective, corpus, seed=3, checkpoints=tmp_path)
    assert "cannot be read" in caplog.text
    assert np.array_equal(again.network.word_vectors(), expected.network.word_vectors())


STEP = """
import os, signal, sys, time
from pathlib import Path
from sslcore.artifacts import ArtifactStore
from sslcore.objectives.skip_gram import SkipGram
from sslcore.tokenization.encoding import EncodedCorpus
from sslcore.training import checkpoints
from sslcore.training.pretraining import write_encoder
checkpoints.SECONDS, checkpoints.SHARE = 0.0, 1e9
lists = [[f"w{(i * j) % 97}" for j in range(60)] for i in range(1, 700)]
heard = []
def hear(step, metrics):
    heard.append(step)
    time.sleep(0.2)  # the thread that writes is done by then
    if len(heard) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
def build(folder):
    corpus = EncodedCorpus.from_token_lists(lists)
    return write_encoder(SkipGram(dimensions=8, epochs=6, deterministic=True), corpus, folder, seed=3, on_metrics=hear)
ref, _ = ArtifactStore(sys.argv[1]).ensure("encoder", 1, {"seed": 3}, {}, build)
print(ref.digest)
"""


def test_a_step_killed_by_the_system_goes_on_in_the_store(tmp_path: Path) -> None:
    def run(store: str, kill_at: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", STEP, str(tmp_path / store), str(kill_at)]
        return subprocess.run(command, capture_output=True, text=True, env={**os.environ})

    unbroken = run("one", 0)
    assert unbroken.returncode == 0, unbroken.stderr
    assert run("two", 3).returncode == -signal.SIGKILL
    building = next((tmp_path / "two" / "encoder").glob(".building-*"))
    assert list((building / CHECKPOINT).glob(checkpoints.PATTERN))
    resumed = run("two", 0)
    assert resumed.stdout == unbroken.stdout
    assert not list((tmp_path / "two" / "encoder").glob(".building-*"))
    store = ArtifactStore(tmp_path / "two")
    assert not any(CHECKPOINT in name for m in store.manifests() for name in m.files)


KILLED = """
import hashlib, os, signal, sys
from pathlib import Path
from safetensors import numpy as safetensors
from sslcore.objectives.masked_lm import MaskedLM
from sslcore.training import checkpoints
from sslcore.training.pretraining import pretrain
from tests.broken_runs import OF_PIECES, labelled_corpus
checkpoints.SECONDS, checkpoints.SHARE = 0.0, 1e9
folder, when, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
offer, save, heard, saved = checkpoints.Checkpoints.offer, safetensors.save_file, [], []
def every_fourth(self, learner, begin, *rest, **now):
    if begin.step % 4 == 0:
        offer(self, learner, begin, *rest, **now)
        self.finish()
def half(tensors, file, **rest):
    save(tensors, file, **rest)
    saved.append(file)
    if when == "saving" and len(saved) == number:
        os.truncate(file, file.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)
def hear(step, metrics):
    heard.append(f"{step} {metrics}")
    if when == "at" and step == number:
        os.kill(os.getpid(), signal.SIGKILL)
    print("at", step, file=sys.stderr, flush=True)
checkpoints.Checkpoints.offer, safetensors.save_file = every_fourth, half
objective = MaskedLM(**{**OF_PIECES, "epochs": 3})
encoder = pretrain(objective, labelled_corpus(), seed=3, checkpoints=folder, on_metrics=hear)
weights = b"".join(p.detach().numpy().tobytes() for p in encoder.network.parameters())
print(len(heard), hashlib.sha256(weights).hexdigest(), hashlib.sha256(repr(heard).encode()).hexdigest())
"""


def test_a_run_killed_as_it_saves_between_two_saves_and_in_a_step_ends_in_the_same_bytes(tmp_path: Path) -> None:
    def start(folder: str, when: str = "never", number: int = 0) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", KILLED, str(tmp_path / folder), when, str(number)]
        here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=here)

    def files() -> set[str]:
        return {file.name for file in (tmp_path / "killed").iterdir()}

    unbroken, said = start("whole").communicate()
    assert unbroken, said
    assert int(unbroken.split()[0]) > 16  # six steps an epoch
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / "state-000000000003.unfinished").touch()  # the next save that succeeds takes it away
    for when, number, left in (
        ("saving", 1, {"state-000000000003.unfinished", "state-000000000004.unfinished"}),
        ("saving", 2, {"state-000000000004.safetensors", "state-000000000008.unfinished"}),
        ("at", 11, {"state-000000000004.safetensors", "state-000000000008.safetensors"}),  # in the second epoch
    ):
        killed = start("killed", when, number)
        killed.communicate()
        assert killed.returncode == -signal.SIGKILL
        assert files() == left
    somewhere = start("killed")
    assert somewhere.stderr is not None
    for line in somewhere.stderr:
        if line == "at 13\n":
            break
    somewhere.kill()  # in the middle of the next step
    somewhere.communicate()
    ended, said = start("killed").communicate()
    assert ended == unbroken, said


def test_an_artefact_holds_no_checkpoint(corpus: EncodedCorpus, tmp_path: Path) -> None:
    write_encoder(OBJECTIVES["skip_gram"], corpus, tmp_path, seed=3)
    assert not (tmp_path / CHECKPOINT).exists()


def test_a_state_goes_on_where_rows_are_padded_otherwise() -> None:
    """AVX-512 pads to sixteen numbers, AVX2 to eight; the dimensions come first in both."""
    learner: Any = partial(KernelLearner, None, lambda *_: {}, lambda: None, lambda _: 0.1)
    saved = torch.arange(16.0).reshape(2, 8)
    wide, narrow = torch.zeros(2, 16), torch.zeros(2, 8)
    learner({"inputs": wide}).restore({"inputs": saved.numpy()})
    assert (wide[:, :8] == saved).all()
    assert not wide[:, 8:].any()
    learner({"inputs": narrow}).restore({"inputs": wide.numpy()})
    assert (narrow == saved).all()


TERMINATED = """
import os, signal, sys
from pathlib import Path
import numpy as np
import sslcore
lists = [[f"w{(i * j) % 97}" for j in range(60)] for i in range(1, 700)]
heard = []
def hear(step, metrics):
    heard.append(step)
    if len(heard) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGTERM)
objective = sslcore.DenoisingAutoencoder(dimensions=8, epochs=2)
encoder = sslcore.pretrain(objective, lists, seed=3, on_metrics=hear, checkpoints=Path("checkpoints"))
np.save(sys.argv[1], encoder.network.rows.detach().numpy())
"""


def test_asked_to_end_a_run_saves_where_it_is_and_ends_as_the_system_asked(tmp_path: Path) -> None:
    def run(name: str, at: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", TERMINATED, name, str(at)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    assert run("never.npy", 5).returncode == -signal.SIGTERM
    assert not (tmp_path / "never.npy").exists()
    (saved,) = (tmp_path / "checkpoints").glob(checkpoints.PATTERN)
    assert saved.stem == "state-000000000005"
    assert run("resumed.npy", 0).returncode == 0
    for file in (tmp_path / "checkpoints").iterdir():
        file.unlink()
    assert run("unbroken.npy", 0).returncode == 0
    assert np.array_equal(np.load(tmp_path / "resumed.npy"), np.load(tmp_path / "unbroken.npy"))


class Parabola(DenoisingAutoencoder):
    """x² by gradient descent: x becomes (1 − 2 × rate) x, which diverges from a rate of 1 on."""

    def learner(self, encoder: Any, generator: Any, *, device: str, workers: int) -> TorchLearner:
        class Square(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.x = torch.nn.Parameter(torch.tensor(3.0))

            def forward(self, batch: Any) -> dict[str, torch.Tensor]:
                return {"loss": self.x**2}

        loss = Square()
        rate = self.learning_rate * 10
        return TorchLearner(
            encoder, loss, [torch.optim.SGD(loss.parameters(), lr=1)], lambda done: rate, threads=1, seed=0
        )


@pytest.mark.parametrize("folder", [True, False])
@pytest.mark.parametrize(("rate", "slowed"), [(0.08, 0), (0.12, 1), (0.3, 2), (0.9, None)])
def test_a_run_that_diverges_goes_back_and_on_with_a_lower_rate_twice_at_most(
    rate: float, slowed: int | None, folder: bool, corpus: EncodedCorpus, tmp_path: Path
) -> None:
    last: dict[int, Metrics] = {}

    def run() -> None:
        pretrain(
            Parabola(learning_rate=rate, epochs=20),
            corpus,
            seed=0,
            on_metrics=last.__setitem__,
            checkpoints=tmp_path if folder else None,
        )

    if slowed is None:
        with pytest.raises(UserError, match=r"the loss .* the training diverged; choose a learning_rate several times"):
            run()
        return
    run()
    assert last[max(last)]["learning_rate"] == pytest.approx(rate * 10 / 2**slowed)
    assert last[max(last)]["loss"] < 1e-3


def test_a_state_that_holds_no_numbers_is_never_written(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    learner: Any = partial(KernelLearner, None, lambda *_: {}, lambda: None, lambda _: 0.1)
    for step, value in enumerate((1.0, float("nan")), 1):
        state = learner({"inputs": torch.full((2, 2), value)})
        kept.offer(state, Begin(step, 10.0, 0.5), Curve(), 0, now=True)
    found = kept.read()
    assert found is not None
    assert (found.begin.step, found.state["inputs"].tolist()) == (1, [[1, 1], [1, 1]])


def test_the_last_two_are_kept_and_a_damaged_one_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Checkpoints(tmp_path)
    learner: Any = partial(KernelLearner, None, lambda *_: {}, lambda: None, lambda _: 0.1)
    for step in (1, 2, 30):
        kept.offer(learner({"inputs": torch.full((2,), float(step))}), Begin(step, 1.0, 0.5), Curve(), 0, now=True)
    kept.finish()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["state-000000000002.safetensors", "state-000000000030.safetensors"]
    files[1].write_bytes(files[1].read_bytes()[:50])
    found = kept.read()
    assert found is not None
    assert found.begin.step == 2
    assert "going on from the one before" in caplog.text


FULL = """
import resource
from pathlib import Path
import sslcore
from sslcore.training import checkpoints
checkpoints.SECONDS, checkpoints.SHARE = 0.0, 1e9
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))  # writing more fails, as on a full disk
lists = [[f"w{(i * j) % 97}" for j in range(60)] for i in range(1, 300)]
sslcore.pretrain(sslcore.DenoisingAutoencoder(epochs=1), lists, seed=3, checkpoints=Path("checkpoints"))
print(sorted(Path("checkpoints").iterdir()))
"""


def test_a_disk_that_is_full_costs_the_checkpoint_and_not_the_run(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
    assert "no checkpoint at step" in done.stderr
    assert "training goes on" in done.stderr
