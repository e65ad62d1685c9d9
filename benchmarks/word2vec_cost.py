"""What a word of skip-gram costs, against vocabulary, dimensions, window and length of corpus, beside its floor.

    python benchmarks/word2vec_cost.py                       # a table on the screen, a plot in docs/images
    python benchmarks/word2vec_cost.py --words 500000 --most-rows 1000000

Words are drawn from Zipf's law, without order, so nothing is learned and everything is touched. The floor is measured
on the same machine in the same run: multiplications and additions as fast as one core does them (the arithmetic of the
papers' equations, nothing else), and rows of the two matrices fetched, changed and written in the order in which the
windows meet them, with nothing computed on them. Neither can be beaten; what is above the higher one is overhead.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sslcore.kernels import cpu, draws, huffman, reference
from sslcore.kernels.blocks import fetch
from sslcore.kernels.compilation import compiled_in_order
from sslcore.kernels.lanes import LANES, address, aligned_zeros, broadcast, load, store, total, zeros

STRETCH = 8192
DOCUMENT = 1024
NEGATIVES = 5
SUBSAMPLING = 1e-3
REPEATS = 3


class Setting(NamedTuple):
    rows: int = 100_000
    dimensions: int = 100
    window: int = 5
    words: int = 2_000_000


class Cost(NamedTuple):
    """Nanoseconds a raw word."""

    one_thread: float
    two_threads: float  # CPU time of both together
    arithmetic: float
    rows: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", type=int, default=Setting().words)
    parser.add_argument("--most-rows", type=int, default=10_000_000)
    parser.add_argument("--plot", type=Path, default=Path("docs/images/word2vec_cost.png"))
    arguments = parser.parse_args()
    base = Setting(words=arguments.words)
    sweeps: dict[str, list[Any]] = {
        "rows": [rows for rows in (10_000, 100_000, 1_000_000, 10_000_000) if rows <= arguments.most_rows],
        "dimensions": [50, 100, 200, 300, 500, 1000],
        "window": [1, 2, 5, 10, 20],
        "words": [base.words // 4, base.words, 4 * base.words],
    }
    speed = multiplications_a_second()
    print(f"one core: {2 * speed / 1e9:.0f} GFLOP/s of fused multiplications and additions", flush=True)
    found: dict[str, list[tuple[int, Cost]]] = {}
    for field, values in sweeps.items():
        found[field] = []
        for value in values:
            cost = measured(base._replace(**{field: value}), speed)
            found[field].append((value, cost))
            said = "  ".join(f"{name.replace('_', ' ')} {number:7.0f}" for name, number in cost._asdict().items())
            print(f"{field:10} {value:>10,}  ns a word: {said}", flush=True)
    draw(found, base, arguments.plot)


def measured(setting: Setting, speed: float) -> Cost:
    generator = np.random.default_rng(0)
    shares = 1 / (np.arange(setting.rows) + 2.7)  # Mandelbrot's form of Zipf's law
    shares /= shares.sum()
    ids = np.searchsorted(np.cumsum(shares), generator.random(setting.words)).clip(max=setting.rows - 1)
    ids = ids.astype(np.int32)
    keep = reference.keep_probabilities((shares * 1e12).astype(np.int64) + 1, SUBSAMPLING)
    noise = draws.alias_table(reference.noise_distribution((shares * 1e12).astype(np.int64) + 1))
    output = cpu.Output(NEGATIVES, noise, huffman.NO_PATHS)
    inputs, outputs = (aligned_zeros(setting.rows, cpu.padded(setting.dimensions)) for _ in range(2))
    inputs[:, : setting.dimensions] = generator.random((1, setting.dimensions), np.float32) - 0.5
    stretches = np.split(ids, range(STRETCH, setting.words, STRETCH))

    def train(threads: int, number: int) -> None:
        stretch = stretches[number]
        bounds = np.append(np.arange(0, len(stretch), DOCUMENT), len(stretch))
        cpu.train_stretch(
            cpu.SKIP_GRAM, stretch, bounds, keep, setting.window, output, threads, np.uint64(number), inputs, outputs,
            0.01, 0.01,
        )  # fmt: skip

    def on(threads: int) -> Callable[[], None]:
        def run() -> None:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(partial(train, threads), range(len(stretches))))

        return run

    train(1, 0)
    sample = [drawn(stretch, keep, noise, setting.window, number) for number, stretch in enumerate(stretches[:20])]
    share = setting.words / sum(len(stretch) for stretch in stretches[:20])
    pairs = share * sum(int((windows.last - windows.first - 1).sum()) for windows, _ in sample)
    order = [rows_met(windows, negatives) for windows, negatives in sample]
    touch(inputs, outputs, order[0][0], order[0][1])

    def touched() -> None:
        for of_inputs, of_outputs in order:
            touch(inputs, outputs, of_inputs, of_outputs)

    a_word = 1e9 / setting.words
    return Cost(
        seconds(on(1)) * a_word,
        seconds(on(2)) * a_word,
        3 * pairs * (1 + NEGATIVES) * setting.dimensions / speed * a_word,  # score, and a change to either side
        seconds(touched) * share * a_word,
    )


def seconds(work: Callable[[], None]) -> float:
    """CPU time, the median of a few."""
    taken = []
    for _ in range(REPEATS):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return statistics.median(taken)


def drawn(stretch: np.ndarray, keep: np.ndarray, noise: np.ndarray, window: int, seed: int) -> Any:
    bounds = np.append(np.arange(0, len(stretch), DOCUMENT), len(stretch))
    windows, state = draws.draw_windows(stretch, bounds, keep, window, np.uint64(seed))
    groups = -(-len(windows.words) // cpu.SHARING)
    return windows, draws.draw_negatives(noise, groups, NEGATIVES, np.uint64(state))[0]


def rows_met(windows: draws.Windows, negatives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows that must come from memory: every word once as a context, once as a center, and the shared negatives."""
    return windows.words, np.concatenate([windows.words, negatives.ravel()])


@compiled_in_order
def touch(inputs: np.ndarray, outputs: np.ndarray, of_inputs: np.ndarray, of_outputs: np.ndarray) -> None:
    """Read, change and write rows, asking for each sixteen rows ahead."""
    D = inputs.shape[1]
    something = broadcast(np.float32(1e-9))
    for matrix, rows in ((inputs, of_inputs), (outputs, of_outputs)):
        start = address(matrix, 0)
        for n in range(len(rows)):
            if n + 16 < len(rows):
                fetch(start + np.int64(rows[n + 16]) * D * 4, D)
            row = start + np.int64(rows[n]) * D * 4
            for d in range(0, D, LANES):
                store(row, d, load(row, d) + something)


@compiled_in_order
def multiply(times: int) -> float:
    """Twelve independent chains of fused multiplications and additions: as many as a core can have under way."""
    a, b = broadcast(np.float32(0.999)), broadcast(np.float32(0.001))
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = s8 = s9 = s10 = s11 = zeros()
    for _ in range(times):
        s0, s1, s2, s3 = s0 * a + b, s1 * a + b, s2 * a + b, s3 * a + b
        s4, s5, s6, s7 = s4 * a + b, s5 * a + b, s6 * a + b, s7 * a + b
        s8, s9, s10, s11 = s8 * a + b, s9 * a + b, s10 * a + b, s11 * a + b
    return total(s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9 + s10 + s11)


def multiplications_a_second() -> float:
    """Fused multiplications and additions of float32 on one core."""
    multiply(10)
    times = 20_000_000
    return 12 * LANES * times / seconds(lambda: multiply(times))


def draw(found: dict[str, list[tuple[int, Cost]]], base: Setting, path: Path) -> None:
    from matplotlib.figure import Figure

    titles = {
        "rows": "words in the vocabulary", "dimensions": "dimensions", "window": "window", "words": "words of text"
    }  # fmt: skip
    styles: dict[str, dict[str, Any]] = {
        "one_thread": {"color": "#0072B2", "marker": "o", "label": "one thread"},
        "two_threads": {"color": "#D55E00", "marker": "o", "label": "two threads, CPU time of both"},
        "arithmetic": {"color": "#333333", "linestyle": ":", "label": "floor: arithmetic"},
        "rows": {"color": "#333333", "linestyle": "--", "label": "floor: rows from memory"},
    }
    figure = Figure(figsize=(10.5, 7.0), layout="constrained", dpi=120)
    for place, (field, costs) in enumerate(found.items()):
        axes = figure.add_subplot(2, 2, place + 1)
        for name, style in styles.items():
            axes.plot([value for value, _ in costs], [getattr(cost, name) for _, cost in costs], **style)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks([value for value, _ in costs], [f"{value:,}" for value, _ in costs], fontsize=8)
        lowest, highest = axes.get_ylim()
        shown = [tick for tick in (20, 50, 100, 200, 500, 1000, 2000, 5000) if lowest < tick < highest]
        axes.set_yticks(shown, [f"{tick:,}" for tick in shown])
        axes.minorticks_off()
        axes.set_xlabel(titles[field])
        axes.set_ylabel("ns a word")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.suptitle(
        f"Skip-gram, {NEGATIVES} negatives, sample {SUBSAMPLING:g}. Unless varied: {base.rows:,} words in the "
        f"vocabulary, {base.dimensions} dimensions, window {base.window}, {base.words:,} words of text",
        fontsize=9,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


if __name__ == "__main__":
    main()
