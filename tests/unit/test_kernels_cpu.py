"""The compiled kernel against the reference on the same draws, and the draws against their distributions."""

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from sslcore.kernels import cpu, draws, huffman, reference
from sslcore.kernels.hot import Hot, add_changes, hot_rows
from sslcore.kernels.lanes import LANES

WIDTH = cpu.padded(8)
NONE_HOT = Hot(np.empty((0, WIDTH), np.float32), np.empty((0, WIDTH), np.float32))
COUNTS = np.array([0, 400, 300, 200, 50, 30, 15, 5])


def drawn(
    ids: np.ndarray, boundaries: np.ndarray, *, window: int, seed: int = 1, threshold: float = 0.0
) -> draws.Windows:
    keep = reference.keep_probabilities(COUNTS, threshold)
    return draws.draw_windows(ids, boundaries, keep, window, np.uint64(seed))[0]


def noise_words(groups: int, negatives: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """negatives and times of `draw_negatives`."""
    noise = draws.alias_table(reference.noise_distribution(COUNTS))
    return draws.draw_negatives(noise, groups, negatives, np.uint64(seed))


def text(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice(len(COUNTS), n, p=COUNTS / COUNTS.sum()).astype(np.int32)


MODELS = {
    "skip-gram": (cpu.SKIP_GRAM, reference.update_skip_gram),
    "CBOW, mean": (cpu.CBOW_MEAN, partial(reference.update_cbow, combine="mean")),
    "CBOW, sum": (cpu.CBOW_SUM, partial(reference.update_cbow, combine="sum")),
}
OUTPUTS = {"1 negative": 1, "5 negatives": 5, "6 negatives": 6, "12 negatives": 12, "paths": 0}


@pytest.mark.parametrize("dimensions", [1, 7, 8, 33, 100])
@pytest.mark.parametrize("window", [1, 2, 5])
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("model", MODELS)
def test_the_kernel_makes_the_updates_of_the_reference(model: str, output: str, window: int, dimensions: int) -> None:
    """A vocabulary of 7 words: they repeat within windows and among negatives, where updates could get lost."""
    (kind, update), K = MODELS[model], OUTPUTS[output]
    generator = np.random.default_rng(dimensions)
    windows, paths = drawn(text(40), np.array([0, 15, 16, 40]), window=window), huffman.huffman_paths(COUNTS)
    negatives, times = noise_words(10 if K else len(windows.words), K)
    scale = dimensions**-0.25  # dot products of about 1, where the sigmoid bends
    slow_in, slow_out = (generator.normal(0, scale, (len(COUNTS), dimensions)) for _ in range(2))
    fast_in, fast_out = (np.zeros((len(COUNTS), cpu.padded(dimensions)), np.float32) for _ in range(2))
    fast_in[:, :dimensions], fast_out[:, :dimensions] = slow_in, slow_out
    slow_loss, slow_pairs = reference.update_windows(
        update, slow_in, slow_out, *windows[:3], negatives if K else paths, 0.05, 0.01
    )
    hot = Hot(fast_in[:3].copy(), fast_out[: 0 if K else 2].copy())  # as each of several threads has them
    fast_loss, fast_pairs = cpu.update_windows(
        kind, fast_in, fast_out, windows, negatives, times, paths if not K else huffman.NO_PATHS, hot, 0.05, 0.01
    )
    fast_in[:3], fast_out[: len(hot.outputs)] = hot
    assert fast_pairs == slow_pairs
    assert fast_loss == pytest.approx(slow_loss, rel=1e-4)
    np.testing.assert_allclose(fast_in[:, :dimensions], slow_in, atol=2e-4)
    np.testing.assert_allclose(fast_out[:, :dimensions], slow_out, atol=2e-4)
    assert not fast_in[:, dimensions:].any()  # the padding stays zero
    assert not fast_out[:, dimensions:].any()


def test_the_loss_of_very_unlikely_pairs_does_not_underflow() -> None:
    inputs, outputs = np.full((8, WIDTH), 2.0, np.float32), np.full((8, WIDTH), 16 / WIDTH, np.float32)
    windows, (negatives, times) = drawn(text(50), np.array([0, 50]), window=5), noise_words(13, 100)
    slow, _ = reference.update_windows(
        reference.update_skip_gram, inputs.astype(float), outputs.astype(float), *windows[:3], negatives, 0.0, 0.0
    )
    fast, _ = cpu.update_windows(
        cpu.SKIP_GRAM, inputs, outputs, windows, negatives, times, huffman.NO_PATHS, NONE_HOT, 0.0, 0.0
    )
    assert fast == pytest.approx(slow, rel=1e-5)


def test_what_stood_before_within_the_longest_window_is_found() -> None:
    ids = np.concatenate([text(3000), np.full(3, 1, np.int32)])
    boundaries = np.array([0, 1000, 1001, 3003])
    windows = drawn(ids, boundaries, window=3)
    for i, word in enumerate(ids):
        begin = max(boundaries[boundaries <= i].max(), i - 6)
        earlier = [j for j in range(begin, i) if ids[j] == word]
        assert windows.same[i] == (earlier[-1] if earlier else -1)


def test_words_alike_in_their_low_bits_are_not_taken_for_each_other() -> None:
    ids = np.array([5, 5 + draws.LATEST, 5, 5 + 2 * draws.LATEST, 5 + draws.LATEST], np.int32)
    keep = np.ones(5 + 3 * draws.LATEST)
    windows, _ = draws.draw_windows(ids, np.array([0, 5]), keep, 4, np.uint64(0))
    assert windows.same.tolist() == [-1, -1, 0, -1, 1]


def test_negatives_follow_the_noise_distribution() -> None:
    negatives, times = noise_words(4000, 5)
    assert times.sum(1).tolist() == [5] * 4000
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
    _, first, last, _ = drawn(text(20_000) * 0 + 1, boundaries, window=5)
    position = np.arange(20_000)
    assert (first // 20 == position // 20).all()
    assert ((last - 1) // 20 == position // 20).all()
    inside = (position % 20 >= 5) & (position % 20 < 15)
    sizes = np.bincount((position - first)[inside], minlength=6)[1:] / inside.sum()
    np.testing.assert_allclose(sizes, 0.2, atol=0.02)


def test_subsampling_keeps_the_share_it_should_and_closes_the_gaps() -> None:
    ids, threshold = text(50_000), 0.01
    words, first, last, _ = drawn(ids, np.array([0, 50_000]), window=1, threshold=threshold)
    kept = np.bincount(words, minlength=8) / np.maximum(1, np.bincount(ids, minlength=8))
    np.testing.assert_allclose(kept, reference.keep_probabilities(COUNTS, threshold), atol=0.06)
    assert (last - first)[1:-1].tolist() == [3] * (len(words) - 2)


def test_draws_depend_on_the_seed_alone() -> None:
    ids, boundaries = text(100), np.array([0, 100])
    one, two, other = (drawn(ids, boundaries, window=5, seed=seed) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(one, two, strict=True))
    assert not (one.first == other.first).all()


@pytest.mark.skipif(LANES == 8, reason="this machine has no wider registers: every test here is of the narrow ones")
def test_the_kernel_makes_the_same_updates_where_registers_are_narrower() -> None:
    narrow = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"}
    these = "updates_of_the_reference and (33 or 100) and 5 or underflow or hot_rows"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", these]
    run = subprocess.run(command, env={**os.environ, **narrow}, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
    assert run.stdout.count(".") > 40


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


CHANGE = """
import numpy as np
from sslcore.kernels.cpu import padded
from sslcore.kernels.draws import alias_table, draw_negatives
draw_negatives(alias_table(np.ones(4) / 4), 2, 2, np.uint64(1))
print(sum(draw_negatives.stats.cache_hits.values()), "hits")
"""


def test_machine_code_is_made_again_when_another_file_of_the_kernels_changes(tmp_path: Path) -> None:
    package = tmp_path / "sslcore"
    shutil.copytree(
        Path(cpu.__file__).parents[1], package, ignore=shutil.ignore_patterns("__pycache__", "corpus", "evaluation")
    )

    def run() -> str:
        command = [sys.executable, "-c", CHANGE]
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout

    assert run() == "0 hits\n"
    assert run() == "1 hits\n"
    with (package / "kernels" / "lanes.py").open("a") as file:
        file.write("# changed\n")
    assert run() == "0 hits\n"


def test_of_several_threads_each_adds_its_share_to_the_top_of_the_tree() -> None:
    """One stretch, from outputs at zero: with two threads what it changed counts half, and the inputs move alike."""
    paths = huffman.huffman_paths(COUNTS)
    output = cpu.Output(0, draws.alias_table(COUNTS / COUNTS.sum()), paths)
    start = np.random.default_rng(0).normal(size=(len(COUNTS), WIDTH)).astype(np.float32)
    moved = []
    for threads in (1, 2):
        inputs, outputs = start.copy(), np.zeros_like(start)
        ids, bounds, keep = text(200), np.array([0, 200]), np.ones(len(COUNTS))
        seed = np.uint64(3)
        cpu.train_stretch(cpu.SKIP_GRAM, ids, bounds, keep, 3, output, threads, seed, inputs, outputs, 0.05, 0.05)
        moved.append((inputs, outputs))
    assert np.abs(moved[0][1]).max() > 0.01
    np.testing.assert_allclose(moved[1][1], moved[0][1] / 2, rtol=1e-5)
    np.testing.assert_array_equal(moved[1][0], moved[0][0])


def test_of_several_threads_each_adds_its_share_to_the_hot_rows() -> None:
    """The same with words: a sixteenth of the input rows counts half, and all others move alike."""
    generator = np.random.default_rng(0)
    counts = np.sort(generator.integers(1, 500, 64))[::-1].copy()
    ids = generator.choice(64, 3000, p=counts / counts.sum()).astype(np.int32)
    output = cpu.Output(5, draws.alias_table(counts / counts.sum()), huffman.NO_PATHS)
    start = generator.normal(size=(2, 64, WIDTH)).astype(np.float32)
    moved = []
    for threads in (1, 2):
        inputs, outputs = start.copy()
        bounds, keep, seed = np.array([0, 3000]), np.ones(64), np.uint64(3)
        cpu.train_stretch(cpu.CBOW_MEAN, ids, bounds, keep, 3, output, threads, seed, inputs, outputs, 0.05, 0.05)
        moved.append(np.stack([inputs, outputs]) - start)
    assert (np.abs(moved[0][0, :4]) > 0.01).any(1).all()
    np.testing.assert_allclose(moved[1][0, :4], moved[0][0, :4] / 2, atol=1e-5)
    np.testing.assert_allclose(moved[1][0, 4:], moved[0][0, 4:], atol=1e-5)
    np.testing.assert_allclose(moved[1][1], moved[0][1], atol=1e-5)


def test_what_others_changed_in_the_hot_rows_meanwhile_stays() -> None:
    matrix = np.arange(64 * 8, dtype=np.float32).reshape(64, 8)
    start = matrix.copy()
    own, before = hot_rows(matrix, matrix, 2, False)
    assert len(own.inputs) == 4
    assert len(own.outputs) == 0
    assert own.inputs.ctypes.data % 64 == 0
    own.inputs[:] += 1
    matrix[0] += 10
    add_changes(matrix, own.inputs, before.inputs, 2)
    assert (matrix - start)[:5].tolist() == [[10.5] * 8, [0.5] * 8, [0.5] * 8, [0.5] * 8, [0] * 8]
