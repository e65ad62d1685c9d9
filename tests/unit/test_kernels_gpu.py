"""The Triton kernel in its interpreter, on the CPU, against the reference on the same draws."""

import os
import subprocess
import sys
from functools import partial
from typing import Any

import numpy as np
import pytest

from sslcore.kernels import reference

torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is first imported
pytest.importorskip("triton")
from sslcore.kernels import draws, gpu  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
COUNTS = np.array([50, 20, 10, 5, 4, 3, 1])
MODELS: dict[str, tuple[int, Any]] = {
    "skip-gram": (gpu.SKIP_GRAM, reference.update_skip_gram),
    "CBOW, mean": (gpu.CBOW_MEAN, partial(reference.update_cbow, combine="mean")),
    "CBOW, sum": (gpu.CBOW_SUM, partial(reference.update_cbow, combine="sum")),
}


def drawn(n: int, window: int) -> gpu.Windows:
    ids = np.random.default_rng(1).choice(len(COUNTS), n, p=COUNTS / COUNTS.sum()).astype(np.int32)
    boundaries = torch.tensor([n // 3, n // 3 + 1, n], device=DEVICE)
    everything = torch.ones(len(COUNTS), device=DEVICE)
    generator = torch.Generator(DEVICE).manual_seed(3)
    return gpu.draw_windows(torch.from_numpy(ids).to(DEVICE), boundaries, everything, window, generator)


@pytest.mark.parametrize(("window", "K", "dimensions"), [(1, 1, 8), (2, 5, 20), (5, 5, 100), (5, 17, 33)])
@pytest.mark.parametrize("model", MODELS)
def test_one_program_makes_the_updates_of_the_reference(model: str, window: int, K: int, dimensions: int) -> None:
    """A vocabulary of 7 words: they repeat within windows, among negatives and between both."""
    kind, update = MODELS[model]
    windows = drawn(40, window)
    noise = gpu.Noise.of(draws.alias_table(reference.noise_distribution(COUNTS)), DEVICE)
    groups = gpu.groups_of(windows)
    negatives, times = gpu.draw_negatives(noise, groups, K, torch.Generator(DEVICE).manual_seed(4))
    generator = np.random.default_rng(0)
    slow_in, slow_out = (generator.normal(0, dimensions**-0.25, (len(COUNTS), dimensions)) for _ in range(2))
    fast_in, fast_out = (torch.from_numpy(m.astype(np.float32)).to(DEVICE) for m in (slow_in, slow_out))
    words, first, last = (part.cpu().numpy() for part in windows)
    slow_loss, slow_pairs = reference.update_windows(
        update, slow_in, slow_out, words, first, last, negatives.cpu().numpy(), 0.05, 0.01
    )
    fast_loss = gpu.update_windows(
        kind, fast_in, fast_out, windows, negatives, times, 0.05, 0.01, widest=2 * window + 1, programs=1
    )
    assert int(gpu.pairs(kind, windows)) == slow_pairs
    assert float(fast_loss) == pytest.approx(slow_loss, rel=1e-4)
    np.testing.assert_allclose(fast_in.cpu(), slow_in, atol=2e-4)
    np.testing.assert_allclose(fast_out.cpu(), slow_out, atol=2e-4)


def test_several_programs_lose_no_update() -> None:
    """Atomic additions: at a rate so small that the order does not matter, any number of programs moves the rows."""
    windows, K = drawn(40, 3), 5
    noise = gpu.Noise.of(draws.alias_table(reference.noise_distribution(COUNTS)), DEVICE)
    negatives, times = gpu.draw_negatives(noise, gpu.groups_of(windows), K, torch.Generator(DEVICE).manual_seed(4))
    moved = []
    for programs in (1, 7):
        inputs, outputs = (torch.full((len(COUNTS), 16), start, device=DEVICE) for start in (0.3, 0.2))
        gpu.update_windows(
            gpu.SKIP_GRAM, inputs, outputs, windows, negatives, times, 1e-4, 1e-4, widest=7, programs=programs
        )
        moved.append((inputs, outputs))
    for one, many in zip(*moved, strict=True):
        torch.testing.assert_close(one, many, atol=1e-5, rtol=0)


def test_windows_stay_within_documents_and_reach_as_far_as_asked() -> None:
    n, window = 3000, 4
    ids = torch.arange(n, dtype=torch.int32, device=DEVICE)
    boundaries = torch.tensor([1000, 1001, n], device=DEVICE)
    words, first, last = (
        part.cpu().numpy()
        for part in gpu.draw_windows(
            ids, boundaries, torch.ones(n, device=DEVICE), window, torch.Generator(DEVICE).manual_seed(0)
        )
    )
    assert np.array_equal(words, np.arange(n))
    document = np.searchsorted([1000, 1001], words, side="right")
    assert all(len(set(document[a:b])) == 1 for a, b in zip(first, last, strict=True))
    inner = slice(1500, 2500)
    reach = words[inner] - first[inner]
    assert np.array_equal(reach, last[inner] - words[inner] - 1)
    assert set(reach) == {1, 2, 3, 4}
    assert np.bincount(reach)[1:] == pytest.approx(250, abs=60)


def test_words_are_thinned_out_and_negatives_drawn_as_they_should_be() -> None:
    V = 500
    keep = torch.linspace(0, 1, V, device=DEVICE)
    ids = torch.arange(V, device=DEVICE, dtype=torch.int32).repeat(400)
    boundaries = torch.tensor([len(ids)], device=DEVICE)
    windows = gpu.draw_windows(ids, boundaries, keep, 1, torch.Generator(DEVICE).manual_seed(0))
    kept = np.bincount(windows.words.cpu(), minlength=V) / 400
    assert np.abs(kept - keep.cpu().numpy()).max() < 0.12
    probabilities = reference.noise_distribution((1e6 / (np.arange(V) + 3)).astype(np.int64))
    noise = gpu.Noise.of(draws.alias_table(probabilities), DEVICE)
    negatives, times = gpu.draw_negatives(noise, 100_000, 5, torch.Generator(DEVICE).manual_seed(1))
    shares = np.bincount(negatives.cpu().ravel(), minlength=V) / negatives.numel()
    assert np.abs(shares - probabilities).max() < 5e-4
    assert (times.sum(dim=1) == 5).all()
    repeated = (times > 1).any(dim=1)
    row, of_row = negatives[repeated][0].tolist(), times[repeated][0].tolist()
    assert of_row == [row.count(word) if row.index(word) == k else 0 for k, word in enumerate(row)]


def test_a_learner_moves_the_words_of_a_batch_and_hands_them_to_the_encoder() -> None:
    from sslcore import SkipGram
    from sslcore.models.encoder import Encoder
    from sslcore.objectives.word_objective import Stretch, Stretches, gpu_learner
    from sslcore.randomness import torch_generator
    from sslcore.tokenization.encoding import EncodedCorpus

    corpus = EncodedCorpus.from_token_lists([[f"w{i % 9}" for i in range(90)]])
    objective = SkipGram(dimensions=12, window=2, subsampling=0)
    network = objective.network(corpus.tokenizer, torch_generator(0))
    before = network.word_vectors().copy()
    encoder = Encoder(corpus.tokenizer, network, objective.model_dump(mode="json"), 0)
    learner = gpu_learner(objective, gpu.SKIP_GRAM, encoder, DEVICE)
    stretches = [
        Stretch(np.array(ids, np.int32), np.array([0, len(ids)]), seed) for seed, ids in enumerate([[5, 6, 7], [8, 5]])
    ]
    batch = Stretches(stretches, 5, 0.0, 1.0)
    first = learner.update(batch)["loss"]
    assert np.log(2) < first < 6.001 * np.log(2)  # a center and at most five negatives, all outputs still zero
    assert learner.update(batch)["loss"] < first
    moved = np.flatnonzero((learner.encoder.network.word_vectors() != before).any(axis=1))
    assert moved.tolist() == [5, 6, 7, 8]
    again = gpu_learner(objective, gpu.SKIP_GRAM, encoder, DEVICE)
    again.restore(learner.state())
    assert again.update(batch)["loss"] == pytest.approx(learner.update(batch)["loss"], rel=1e-5)


TRAINS = """
import numpy as np, torch, sslcore
from sslcore.objectives import word_objective
from sslcore.training import pretraining
pretraining.check_device = lambda device: None
generator = np.random.default_rng(0)
groups = [[f"a{{i}}" for i in range(4)], [f"b{{i}}" for i in range(4)]]
lists = [list(generator.choice(groups[i % 2], 6)) for i in range(60)]
class OnTheCPU(sslcore.{kind}):
    def learner(self, encoder, generator, *, device, workers):
        from sslcore.kernels import gpu
        return word_objective.gpu_learner(self, gpu.{model}, encoder, "{device}")
objective = OnTheCPU(dimensions=12, window=3, epochs={epochs}, subsampling=0, learning_rate=0.3)
losses = []
encoder = sslcore.pretrain(objective, lists, seed=0, on_metrics=lambda step, metrics: losses.append(metrics["loss"]))
keyed = encoder.to_keyed_vectors()
near = np.mean([keyed.similarity(f"a{{i}}", f"a{{j}}") for i in range(4) for j in range(i)])
far = np.mean([keyed.similarity(f"a{{i}}", f"b{{j}}") for i in range(4) for j in range(4)])
print(near - far, losses[0] - losses[-1])
"""


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "model"), [("SkipGram", "SKIP_GRAM"), ("CBOW", "CBOW_MEAN")])
def test_a_learner_on_the_device_learns(kind: str, model: str) -> None:
    program = TRAINS.format(kind=kind, model=model, device=DEVICE, epochs=3)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stderr
    apart, fallen = map(float, done.stdout.split())
    assert apart > 0.3
    assert fallen > 0.1
