"""Out of memory: what is said fits, and nothing is lost."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sslcore
from sslcore.objectives.bag_objective import BagObjective
from sslcore.objectives.masked_lm import MaskedLM
from sslcore.objectives.sim_cse import SimCSE
from sslcore.tokenization.encoding import EncodedCorpus
from sslcore.training.checkpoints import Checkpoints
from sslcore.training.memory import OutOfMemoryError, is_refusal

TINY: dict[str, Any] = {"size": "tiny", "dimensions": 16, "layers": 1, "maximum_tokens": 16, "epochs": 1}
REFUSED = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "33513012 bytes. Error code 12 (Cannot allocate memory)\nframes"
)


@pytest.fixture(scope="module")
def corpus() -> EncodedCorpus:
    generator = np.random.default_rng(0)
    return EncodedCorpus.from_token_lists([[f"w{j}" for j in generator.integers(0, 40, 14)] for _ in range(128)])


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """A machine whose transformers refuse more tokens at once than the number in here says."""
    from sslcore.models.transformer import TransformerEncoder

    given, states = {"tokens": 300, "steps": 0}, TransformerEncoder.states

    def refusing(self: Any, sequences: Any) -> torch.Tensor:
        if len(sequences.ids) > given["tokens"]:
            raise RuntimeError(REFUSED)
        return states(self, sequences)

    monkeypatch.setattr(TransformerEncoder, "states", refusing)
    return given


def test_parts_that_fit_are_said_and_do_fit(corpus: EncodedCorpus, room: dict[str, int]) -> None:
    objective = MaskedLM(**TINY, batch_tokens=1024)
    with pytest.raises(OutOfMemoryError) as caught:
        sslcore.pretrain(objective, corpus, seed=0, workers=1)
    said = str(caught.value)
    assert "masked_lm is out of memory on cpu: a step with batch_tokens=1024, maximum_tokens=16" in said
    assert "(tried to allocate 33513012 bytes;" in said
    assert "parts=8, the same training" in said  # a quarter fits: half of it is said
    assert "batch_tokens=112, another" in said
    sslcore.pretrain(objective.model_copy(update={"parts": 8}), corpus, seed=0, workers=1)
    sslcore.pretrain(objective.model_copy(update={"batch_tokens": 112}), corpus, seed=0, workers=1)


def test_texts_that_are_compared_are_computed_in_chunks(corpus: EncodedCorpus, room: dict[str, int]) -> None:
    objective = SimCSE(**TINY, batch_size=64)
    with pytest.raises(OutOfMemoryError, match=r"chunk=8, the same training, only slower$"):
        sslcore.pretrain(objective, corpus, seed=0, workers=1)
    sslcore.pretrain(objective.model_copy(update={"chunk": 8}), corpus, seed=0, workers=1)


def test_a_batch_that_is_always_whole_is_to_be_smaller(corpus: EncodedCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    from sslcore.objectives._bag_reconstruction import BagReconstruction

    forward = BagReconstruction.forward

    def refusing(self: Any, batch: Any) -> Any:
        if batch.weight > 20:
            raise MemoryError
        return forward(self, batch)

    monkeypatch.setattr(BagReconstruction, "forward", refusing)
    objective: BagObjective = sslcore.DenoisingAutoencoder(dimensions=8, batch_size=100, epochs=1)
    with pytest.raises(OutOfMemoryError, match="batch_size=6, another training"):
        sslcore.pretrain(objective, corpus, seed=0, workers=1)


def test_where_nothing_fits_it_is_said_what_else_helps(corpus: EncodedCorpus, room: dict[str, int]) -> None:
    room["tokens"] = 3
    with pytest.raises(OutOfMemoryError, match="give more parts, a lower batch_tokens, shorter texts"):
        sslcore.pretrain(MaskedLM(**TINY, batch_tokens=1024), corpus, seed=0, workers=1)


def test_the_weights_are_those_before_the_step(corpus: EncodedCorpus, room: dict[str, int]) -> None:
    objective = MaskedLM(**TINY, batch_tokens=1024)
    batches = objective.batches(corpus, 0)
    encoder = sslcore.models.encoder.Encoder(
        corpus.tokenizer, objective.network(corpus.tokenizer, torch.Generator()), objective.model_dump(mode="json"), 0
    )
    learner = objective.learner(encoder, torch.Generator(), device="cpu", workers=1)
    room["tokens"] = 10_000
    learner.update(batches[0])
    before = {name: np.array(array) for name, array in learner.state().items()}
    room["tokens"] = 300
    with pytest.raises(OutOfMemoryError):
        learner.update(batches[1])
    after = learner.state()
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_the_same_call_in_parts_goes_on_from_the_last_checkpoint(
    corpus: EncodedCorpus, room: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = Checkpoints.offer
    seen: list[int] = []

    def offered(self: Checkpoints, learner: Any, begin: Any, *rest: Any, now: bool = False) -> None:
        seen.append(begin.step)
        offer(self, learner, begin, *rest, now=True)
        if begin.step == 3:
            room["tokens"] = 300  # another process wants memory too

    monkeypatch.setattr(Checkpoints, "offer", offered)
    room["tokens"] = 10_000
    objective = MaskedLM(**{**TINY, "epochs": 2}, batch_tokens=512)
    with pytest.raises(OutOfMemoryError, match=r"parts=4.* goes on from step 3$"):
        sslcore.pretrain(objective, corpus, seed=0, workers=1, checkpoints=tmp_path)
    sslcore.pretrain(objective.model_copy(update={"parts": 4}), corpus, seed=0, workers=1, checkpoints=tmp_path)
    assert seen == list(range(1, len(objective.batches(corpus, 0)) + 1))


@pytest.mark.parametrize("kind", [sslcore.SkipGram, sslcore.FastText])
def test_matrices_that_do_not_fit_are_counted(
    kind: Any, corpus: EncodedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sslcore.kernels import lanes

    def refused(*shape: int) -> np.ndarray:
        raise MemoryError("Unable to allocate")

    monkeypatch.setattr(lanes, "aligned_zeros", refused)
    with pytest.raises(OutOfMemoryError, match=r"matrix of 45 tokens × 300 dimensions × 4 bytes takes 0\.00 GB"):
        sslcore.pretrain(kind(dimensions=300), corpus, seed=0, workers=1)


def test_other_errors_stay_what_they_are(corpus: EncodedCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_refusal(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."))
    assert not is_refusal(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    monkeypatch.setattr(MaskedLM, "loss", lambda *_: torch.nn.Linear(1, 1))
    with pytest.raises(Exception, match=r"linear\(\)"):
        sslcore.pretrain(MaskedLM(**TINY, batch_tokens=512), corpus, seed=0, workers=1)


LIMITED = """
import resource, sys
import numpy as np
import sslcore

generator = np.random.default_rng(0)
lists = [[f"w{j}" for j in generator.integers(0, 3000, 120)] for _ in range(500)]
corpus = sslcore.EncodedCorpus.from_token_lists(lists)
few = sslcore.EncodedCorpus.from_token_lists(lists[:5], minimum_count=1)
sslcore.pretrain(sslcore.MaskedLM(size="tiny", epochs=1), few, seed=0)  # what is imported is there
held = 1024 * next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (held + 500_000_000,) * 2)
fields = eval(sys.argv[1])
sslcore.pretrain(sslcore.MaskedLM(size="tiny", epochs=1, batch_tokens=60_000, **fields), corpus, seed=0)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a limit on a process's memory is Linux's")
def test_under_a_real_limit_what_is_said_fits() -> None:
    def run(**fields: Any) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", LIMITED, repr(fields)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    refused = run()
    last = refused.stderr.strip().splitlines()[-1]
    assert last.startswith("sslcore.training.memory.OutOfMemoryError: masked_lm is out of memory on cpu")
    parts = int(last.partition("What fits: parts=")[2].split(",")[0])
    assert 4 <= parts <= 32
    assert run(parts=parts).returncode == 0


def test_how_a_step_is_computed_is_no_part_of_an_artefact_s_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the run that was out of memory finds its checkpoint."""
    from sslcore.artifacts import Ref
    from tasks import pretraining

    asked: list[Any] = []
    monkeypatch.setattr(pretraining.runtime, "build", lambda step, kind, version, spec, *_, **__: asked.append(spec))
    for fields in ({}, {"parts": 8}, {"batch_tokens": 1024}):
        objective = MaskedLM(**TINY, **fields)  # type: ignore[arg-type]
        pretraining.pretrain.fn(objective, Ref(kind="encoded_corpus", key="k", digest="d"), 0)
    assert asked[0] == asked[1] != asked[2]
