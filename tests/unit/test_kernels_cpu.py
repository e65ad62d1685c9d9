"""The compiled kernel against the reference on the same draws, and the draws against their distributions."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sslcore.kernels import cpu, draws, reference

COUNTS = np.array([0, 400, 300, 200, 50, 30, 15, 5])


def drawn(
    ids: np.ndarray, boundaries: np.ndarray, *, window: int, negatives: int, seed: int = 1, threshold: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """words, first, last, negatives of `draw_windows`, cut to what was drawn."""
    words, first, last = (np.empty(len(ids), np.int32) for _ in range(3))
    noise_words = np.empty((len(ids), negatives), np.int32)
    keep = reference.keep_probabilities(COUNTS, threshold)
    noise = draws.alias_table(reference.noise_distribution(COUNTS))
    n = draws.draw_windows(ids, boundaries, keep, noise, window, np.uint64(seed), words, first, last, noise_words)
    return words[:n], first[:n], last[:n], noise_words[:n]


def text(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice(len(COUNTS), n, p=COUNTS / COUNTS.sum()).astype(np.int32)


@pytest.mark.parametrize("dimensions", [1, 7, 8, 33, 100])
@pytest.mark.parametrize(("window", "negatives"), [(1, 1), (5, 5), (4, 6), (2, 12)])
def test_the_kernel_makes_the_updates_of_the_reference(dimensions: int, window: int, negatives: int) -> None:
    generator = np.random.default_rng(dimensions)
    ids = text(40)
    windows = drawn(ids, np.array([0, 15, 16, 40]), window=window, negatives=negatives)
    scale = 2 * dimensions**-0.25  # dot products of a few units, where the sigmoid bends
    slow_in, slow_out = (generator.normal(0, scale, (len(COUNTS), dimensions)) for _ in range(2))
    fast_in, fast_out = (np.zeros((len(COUNTS), cpu.padded(dimensions)), np.float32) for _ in range(2))
    fast_in[:, :dimensions], fast_out[:, :dimensions] = slow_in, slow_out
    slow_loss, slow_pairs = reference.update_windows(slow_in, slow_out, *windows, 0.05, 0.01)
    fast_loss, fast_pairs = cpu.update_windows(fast_in, fast_out, *windows, 0.05, 0.01)
    assert fast_pairs == slow_pairs
    assert fast_loss == pytest.approx(slow_loss, rel=1e-4)
    np.testing.assert_allclose(fast_in[:, :dimensions], slow_in, atol=2e-4)
    np.testing.assert_allclose(fast_out[:, :dimensions], slow_out, atol=2e-4)
    assert not fast_in[:, dimensions:].any()  # the padding stays zero


def test_the_loss_of_very_unlikely_pairs_does_not_underflow() -> None:
    inputs, outputs = np.full((8, 8), 2.0, np.float32), np.full((8, 8), 1.0, np.float32)
    windows = drawn(text(50), np.array([0, 50]), window=5, negatives=100)
    slow, _ = reference.update_windows(inputs.astype(float), outputs.astype(float), *windows, 0.0, 0.0)
    fast, _ = cpu.update_windows(inputs, outputs, *windows, 0.0, 0.0)
    assert fast == pytest.approx(slow, rel=1e-5)


def test_probabilities_equal_the_sigmoid_to_six_digits() -> None:
    x = np.linspace(-39, 39, 6 * 1001).reshape(-1, 6).astype(np.float32)
    logits = np.concatenate([x, np.zeros((8, 6), np.float32)])
    p, q = np.zeros_like(logits), np.zeros_like(logits)
    cpu.positive_and_negative_probabilities(logits, p, q, len(x))
    np.testing.assert_allclose(p[: len(x)], reference.sigmoid(x.astype(float)), rtol=3e-6)
    np.testing.assert_allclose(q[: len(x)], reference.sigmoid(-x.astype(float)), rtol=3e-6)


def test_negatives_follow_the_noise_distribution() -> None:
    _, _, _, negatives = drawn(text(20_000), np.array([0, 20_000]), window=2, negatives=5)
    shares = np.bincount(negatives.ravel(), minlength=len(COUNTS)) / negatives.size
    np.testing.assert_allclose(shares, reference.noise_distribution(COUNTS), atol=0.005)


@pytest.mark.parametrize("probabilities", [[1.0], [0.5, 0.5], [0, 1.0, 0], [0.7, 0.1, 0.1, 0.1]])
def test_the_alias_table_holds_exactly_the_probabilities(probabilities: list[float]) -> None:
    n = len(probabilities)
    table = draws.alias_table(np.array(probabilities))
    held = np.zeros(n)
    for i, (threshold, alias) in enumerate(table):
        share = 1.0 if alias == i else threshold / 2**32
        held[i] += share / n
        held[alias] += (1 - share) / n
    np.testing.assert_allclose(held, probabilities, atol=1e-9)


def test_window_sizes_are_uniform_and_sentences_are_not_crossed() -> None:
    boundaries = np.arange(0, 20_001, 20)
    _, first, last, _ = drawn(text(20_000) * 0 + 1, boundaries, window=5, negatives=1)
    position = np.arange(20_000)
    assert (first // 20 == position // 20).all()
    assert ((last - 1) // 20 == position // 20).all()
    inside = (position % 20 >= 5) & (position % 20 < 15)
    sizes = np.bincount((position - first)[inside], minlength=6)[1:] / inside.sum()
    np.testing.assert_allclose(sizes, 0.2, atol=0.02)


def test_subsampling_keeps_the_share_it_should_and_closes_the_gaps() -> None:
    ids, threshold = text(50_000), 0.01
    words, first, last, _ = drawn(ids, np.array([0, 50_000]), window=1, negatives=1, threshold=threshold)
    kept = np.bincount(words, minlength=8) / np.maximum(1, np.bincount(ids, minlength=8))
    np.testing.assert_allclose(kept, reference.keep_probabilities(COUNTS, threshold), atol=0.06)
    assert (last - first)[1:-1].tolist() == [3] * (len(words) - 2)


def test_draws_depend_on_the_seed_alone() -> None:
    ids, boundaries = text(100), np.array([0, 100])
    one, two, other = (drawn(ids, boundaries, window=5, negatives=5, seed=seed) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(one, two, strict=True))
    assert not (one[3] == other[3]).all()


COMPILE = "from sslcore.kernels.draws import next_random; import numpy as np; print(next_random(np.uint64(1)))"


def test_machine_code_is_cached_where_neither_the_library_nor_the_home_can_be_written(tmp_path: Path) -> None:
    """A container with a read-only image: `__pycache__` cannot be made (here a file has its name), nor ~/.cache."""
    package = tmp_path / "site" / "sslcore"
    shutil.copytree(
        Path(cpu.__file__).parents[1], package, ignore=shutil.ignore_patterns("__pycache__", "corpus", "evaluation")
    )
    (package / "kernels" / "__pycache__").touch()
    environment = {
        **{name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"},
        "PYTHONPATH": str(tmp_path / "site"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": "/proc/none",
        "XDG_CACHE_HOME": "/proc/none",
        "TMPDIR": str(tmp_path),
    }
    run = subprocess.run(
        [sys.executable, "-c", COMPILE], cwd=tmp_path / "site", env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert list(tmp_path.glob("sslcore-numba-*/**/*.nbi"))
