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
pytest.importorskip("triton")
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is first imported with a kernel
from sslcore.kernels import draws, gpu  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
V = 500
COUNTS = (1e6 / (np.arange(V) + 3)).astype(np.int64)
MODELS: dict[str, tuple[int, Any]] = {
    "skip-gram": (gpu.SKIP_GRAM, reference.update_skip_gram),
    "CBOW, mean": (gpu.CBOW_MEAN, partial(reference.update_cbow, combine="mean")),
    "CBOW, sum": (gpu.CBOW_SUM, partial(reference.update_cbow, combine="sum")),
}


def text(n: int) -> "torch.Tensor":
    generator = np.random.default_rng(1)
    return torch.from_numpy(generator.choice(V, n, p=COUNTS / COUNTS.sum()).astype(np.int32)).to(DEVICE)


def drawn(n: int, window: int) -> gpu.Windows:
    boundaries = torch.tensor([n // 3, n // 3 + 1, n], device=DEVICE)
    everything = torch.ones(V, device=DEVICE)
    return gpu.draw_windows(text(n), boundaries, everything, window, torch.Generator(DEVICE).manual_seed(3))


@pytest.mark.parametrize(("window", "K", "dimensions"), [(1, 1, 8), (2, 5, 20), (5, 5, 100), (5, 17, 33)])
@pytest.mark.parametrize("model", MODELS)
def test_one_program_makes_the_updates_of_the_reference(model: str, window: int, K: int, dimensions: int) -> None:
    """Negatives that are no word of the text, since those of a group are written when the group is done."""
    kind, update = MODELS[model]
    windows = drawn(40, window)
    generator = np.random.default_rng(0)
    absent = np.setdiff1d(np.arange(V), windows.words.cpu().numpy())
    groups = gpu.groups_of(windows)
    negatives = np.stack([generator.choice(absent, K, replace=False) for _ in range(groups)]).astype(np.int32)
    negatives[0, 0] = int(windows.words[0])  # but for one that is a center, and is left out there
    slow_in, slow_out = (generator.normal(0, dimensions**-0.25, (V, dimensions)) for _ in range(2))
    fast_in, fast_out = (torch.from_numpy(m.astype(np.float32)).to(DEVICE) for m in (slow_in, slow_out))
    words, first, last = (part.cpu().numpy() for part in windows)
    slow_loss, slow_pairs = reference.update_windows(
        update, slow_in, slow_out, words, first, last, negatives, 0.05, 0.01
    )
    given = torch.from_numpy(negatives).to(DEVICE)
    fast_loss = gpu.update_windows(
        kind, fast_in, fast_out, windows, given, torch.ones(groups, K, device=DEVICE), 0.05, 0.01,
        widest=2 * window + 1, programs=1,
    )  # fmt: skip
    assert int(gpu.pairs(kind, windows)) == slow_pairs
    assert float(fast_loss) == pytest.approx(slow_loss, rel=1e-4)
    np.testing.assert_allclose(fast_in.cpu(), slow_in, atol=2e-4)
    np.testing.assert_allclose(fast_out.cpu(), slow_out, atol=2e-4)


def test_a_negative_drawn_twice_counts_twice() -> None:
    windows, K = drawn(40, 3), 4
    negatives = torch.full((gpu.groups_of(windows), K), V - 1, dtype=torch.int32, device=DEVICE)
    times = torch.zeros(len(negatives), K, device=DEVICE)
    times[:, 0] = K
    slow_in, slow_out = np.full((V, 16), 0.3), np.full((V, 16), 0.2)
    fast_in, fast_out = (torch.from_numpy(m.astype(np.float32)).to(DEVICE) for m in (slow_in, slow_out))
    words, first, last = (part.cpu().numpy() for part in windows)
    slow, _ = reference.update_windows(
        reference.update_skip_gram, slow_in, slow_out, words, first, last, negatives.cpu().numpy(), 0.01, 0.01
    )
    fast = gpu.update_windows(
        gpu.SKIP_GRAM, fast_in, fast_out, windows, negatives, times, 0.01, 0.01, widest=7, programs=1
    )
    assert float(fast) == pytest.approx(slow, rel=1e-3)
    np.testing.assert_allclose(fast_out.cpu(), slow_out, atol=1e-4)


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
    keep = torch.linspace(0, 1, V, device=DEVICE)
    ids = torch.arange(V, device=DEVICE, dtype=torch.int32).repeat(400)
    boundaries = torch.tensor([len(ids)], device=DEVICE)
    windows = gpu.draw_windows(ids, boundaries, keep, 1, torch.Generator(DEVICE).manual_seed(0))
    kept = np.bincount(windows.words.cpu(), minlength=V) / 400
    assert np.abs(kept - keep.cpu().numpy()).max() < 0.12
    probabilities = reference.noise_distribution(COUNTS)
    noise = gpu.Noise.of(draws.alias_table(probabilities), DEVICE)
    negatives, times = gpu.draw_negatives(noise, 100_000, 5, torch.Generator(DEVICE).manual_seed(1))
    shares = np.bincount(negatives.cpu().ravel(), minlength=V) / negatives.numel()
    assert np.abs(shares - probabilities).max() < 5e-4
    assert (times.sum(dim=1) == 5).all()
    repeated = (times > 1).any(dim=1)
    row, of_row = negatives[repeated][0].tolist(), times[repeated][0].tolist()
    assert of_row == [row.count(word) if row.index(word) == k else 0 for k, word in enumerate(row)]


TRAINS = """
import numpy as np, torch, sslcore
from sslcore.objectives import word_objective
from sslcore.training import pretraining
pretraining.check_device = lambda device: None
generator = np.random.default_rng(0)
groups = [[f"a{i}" for i in range(8)], [f"b{i}" for i in range(8)]]
lists = [list(generator.choice(groups[i % 2], 6)) for i in range(300)]
class OnTheCPU(sslcore.{kind}):
    def learner(self, encoder, generator, *, device, workers):
        from sslcore.kernels import gpu
        return word_objective.gpu_learner(self, gpu.{model}, encoder, "{device}")
objective = OnTheCPU(dimensions=12, window=3, epochs={epochs}, subsampling=0, learning_rate=0.05)
losses = []
encoder = sslcore.pretrain(objective, lists, seed=0, on_metrics=lambda step, metrics: losses.append(metrics["loss"]))
keyed = encoder.to_keyed_vectors()
near = np.mean([keyed.similarity(f"a{{i}}", f"a{{j}}") for i in range(8) for j in range(i)])
far = np.mean([keyed.similarity(f"a{{i}}", f"b{{j}}") for i in range(8) for j in range(8)])
print(near - far, losses[0] - losses[-1])
"""


@pytest.mark.parametrize(("kind", "model"), [("SkipGram", "SKIP_GRAM"), ("CBOW", "CBOW_MEAN")])
def test_a_learner_on_the_device_learns(kind: str, model: str) -> None:
    program = TRAINS.format(kind=kind, model=model, device=DEVICE, epochs=12)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stderr
    apart, fallen = map(float, done.stdout.split())
    assert apart > 0.3
    assert fallen > 0.1
