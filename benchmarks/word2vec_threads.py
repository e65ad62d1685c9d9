"""What threads of the word2vec kernel cost each other: on the same matrices, and each on matrices of its own.

    python benchmarks/word2vec_threads.py --text FILE.txt          lines are documents, spaces part words

Nothing else than the kernel runs. On matrices of their own threads share only the machine, so the difference is what
the rows cost that several write.
"""

import argparse
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from sslcore.kernels import cpu, draws, huffman, reference
from sslcore.kernels.lanes import aligned_zeros
from sslcore.models.word_weights import word_counts
from sslcore.tokenization.encoding import EncodedCorpus

STRETCH = 8192
DOCUMENT = 1000
DIMENSIONS, WINDOW, NEGATIVES, SUBSAMPLING, RATE = 100, 5, 5, 1e-3, 0.02
KINDS = {"skip-gram": cpu.SKIP_GRAM, "CBOW": cpu.CBOW_MEAN}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--words", type=int, default=4_000_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        corpus = EncodedCorpus.from_text_file(arguments.text, Path(folder) / "corpus")
        counts, ids = word_counts(corpus.tokenizer), np.array(corpus.ids[: arguments.words])
    threads = arguments.threads
    teams = {
        "1 thread": (1, 1),
        f"{threads} threads on the same matrices": (threads, 1),
        f"{threads} threads on matrices of their own": (threads, threads),
    }
    for name, kind in KINDS.items():
        taken: dict[str, list[tuple[float, float]]] = {team: [] for team in teams}
        run(kind, ids[:STRETCH], counts, 1, 1)  # compiles
        for _ in range(arguments.runs):
            for team, (at_once, pairs) in teams.items():
                taken[team].append(run(kind, ids, counts, at_once, pairs))
        for team, runs in taken.items():
            processor, wall = (statistics.median(values) for values in zip(*runs, strict=True))
            print(f"{name}, {team}: {processor:.0f} ns of CPU a word, {wall:.0f} ns in all", flush=True)


def run(kind: int, ids: np.ndarray, counts: np.ndarray, threads: int, pairs: int) -> tuple[float, float]:
    """CPU and wall nanoseconds a word with as many threads on as many pairs of matrices."""
    keep = reference.keep_probabilities(counts, SUBSAMPLING)
    output = cpu.Output(NEGATIVES, draws.alias_table(reference.noise_distribution(counts)), huffman.NO_PATHS)
    generator = np.random.default_rng(0)
    matrices = []
    for _ in range(pairs):
        inputs, outputs = (aligned_zeros(len(counts), cpu.padded(DIMENSIONS)) for _ in range(2))
        inputs[:, :DIMENSIONS] = (generator.random((len(counts), DIMENSIONS), np.float32) - 0.5) / DIMENSIONS
        matrices.append((inputs, outputs))
    stretches = np.split(ids, range(STRETCH, len(ids), STRETCH))

    def train(thread: int) -> None:
        inputs, outputs = matrices[thread % pairs]
        for number in range(thread, len(stretches), threads):
            stretch = stretches[number]
            bounds = np.append(np.arange(0, len(stretch), DOCUMENT), len(stretch))
            seed = np.uint64(number)
            cpu.train_stretch(
                kind, stretch, bounds, keep, WINDOW, output, threads, seed, inputs, outputs, RATE, RATE
            )  # fmt: skip

    processor, wall = time.process_time(), time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(train, range(threads)))
    return (time.process_time() - processor) / len(ids) * 1e9, (time.perf_counter() - wall) / len(ids) * 1e9


if __name__ == "__main__":
    main()
