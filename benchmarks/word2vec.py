"""Skip-gram here and in gensim, one after the other on the same text with the same nominal settings.

    python benchmarks/word2vec.py --text FILE.txt            lines are documents of words parted by spaces
    python benchmarks/word2vec.py --wikipedia FILE.jsonl.zst makes text as text8 was made: a-z, digits spelt

CPU seconds of training (all threads) are steadier than wall time on a shared machine, so the ratio is taken from them.
Quality is Spearman's rho on WordSim-353 and SimLex-999 and the accuracy on Google's analogies, all from gensim's
package data, measured by gensim for both. gensim's `corpus_file` decays its rate too slowly with several workers and
one epoch (each worker counts against the whole corpus), which flatters it there: compare at 5 epochs.
"""

import argparse
import io
import itertools
import json
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sslcore
from sslcore.tokenization.encoding import EncodedCorpus

if TYPE_CHECKING:
    from gensim.models import KeyedVectors

DIGITS = dict(enumerate(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]))
LINE = 1000  # words: text8 has no documents, so lines of this length stand for them


def text8_like(path: Path, words: int) -> Iterator[list[str]]:
    """Lines of 1,000 words from a zstd-compressed JSON-lines file with a field `text`, until `words` are reached."""
    import zstandard

    def tokens() -> Iterator[str]:
        with path.open("rb") as file:
            reader = zstandard.ZstdDecompressor().stream_reader(file)
            for row in io.TextIOWrapper(reader, encoding="utf-8", newline="\n"):
                text = re.sub("[0-9]", lambda digit: f" {DIGITS[int(digit[0])]} ", json.loads(row)["text"].lower())
                yield from re.sub("[^a-z]+", " ", text).split()

    stream = itertools.islice(tokens(), words)
    while line := list(itertools.islice(stream, LINE)):
        yield line


def quality(vectors: "KeyedVectors") -> dict[str, float]:
    from gensim.test.utils import datapath

    return {
        "WS-353": vectors.evaluate_word_pairs(datapath("wordsim353.tsv"))[1].statistic,
        "SimLex": vectors.evaluate_word_pairs(datapath("simlex999.txt"))[1].statistic,
        "analogies": vectors.evaluate_word_analogies(datapath("questions-words.txt"), restrict_vocab=30_000)[0],
    }


def timed(train: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = train()
    return result, {"wall_seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}


def train_gensim(file: Path, arguments: argparse.Namespace, seed: int) -> tuple["KeyedVectors", dict[str, float]]:
    from gensim.models import Word2Vec

    model = Word2Vec(
        sg=1,
        hs=0,
        negative=arguments.negatives,
        vector_size=arguments.dimensions,
        window=arguments.window,
        sample=arguments.subsampling,
        min_count=5,
        epochs=arguments.epochs,
        workers=arguments.threads,
        seed=seed,
    )
    model.build_vocab(corpus_file=str(file))
    _, times = timed(
        lambda: model.train(
            corpus_file=str(file),
            total_words=model.corpus_total_words,
            total_examples=model.corpus_count,
            epochs=arguments.epochs,
        )
    )
    return model.wv, times


def train_ours(
    corpus: EncodedCorpus, arguments: argparse.Namespace, seed: int, deterministic: bool
) -> tuple["KeyedVectors", dict[str, float]]:
    objective = sslcore.SkipGram(
        dimensions=arguments.dimensions,
        window=arguments.window,
        epochs=arguments.epochs,
        negatives=arguments.negatives,
        subsampling=arguments.subsampling,
        deterministic=deterministic,
    )
    encoder, times = timed(lambda: sslcore.pretrain(objective, corpus, seed=seed, workers=arguments.threads))
    return encoder.to_keyed_vectors(), times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--text", type=Path)
    source.add_argument("--wikipedia", type=Path)
    parser.add_argument("--words", type=int, default=17_000_000)
    parser.add_argument("--dimensions", type=int, default=100)
    parser.add_argument("--window", type=int, default=5)
    parser.add_argument("--negatives", type=int, default=5)
    parser.add_argument("--subsampling", type=float, default=1e-4)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3, help="each with its own seed")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "corpus.txt"
        if arguments.text:
            lines: Iterator[list[str]] = (line.split() for line in arguments.text.open(encoding="utf-8"))
        else:
            lines = text8_like(arguments.wikipedia, arguments.words)
        with file.open("w", encoding="utf-8") as out:
            out.writelines(" ".join(line) + "\n" for line in lines)
        corpus = EncodedCorpus.from_token_lists((line.split() for line in file.open(encoding="utf-8")), minimum_count=5)
        sslcore.pretrain(sslcore.SkipGram(epochs=1), [["compile", "first"] * 5], seed=0)
        contenders: dict[str, Callable[[int], tuple[KeyedVectors, dict[str, float]]]] = {
            "gensim": lambda seed: train_gensim(file, arguments, seed),
            "sslcore deterministic": lambda seed: train_ours(corpus, arguments, seed, True),
            "sslcore hogwild": lambda seed: train_ours(corpus, arguments, seed, False),
        }
        results: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
        for seed in range(arguments.runs):
            for name, train in contenders.items():  # interleaved: all meet the same weather
                vectors, times = train(seed)
                results[name].append({**times, **quality(vectors)})
                print(f"{name:22} seed {seed}  " + "  ".join(f"{k} {v:.3f}" for k, v in results[name][-1].items()))
    print(
        f"\n{corpus.tokens:,} words, {corpus.tokenizer.vocabulary_size:,} in the vocabulary; median of {arguments.runs}"
    )
    gensim_cpu = statistics.median(r["cpu_seconds"] for r in results["gensim"])
    for name, runs in results.items():
        medians = {key: statistics.median(r[key] for r in runs) for key in runs[0]}
        spoken = "  ".join(f"{key} {value:.3f}" for key, value in medians.items())
        print(f"{name:22} {spoken}  gensim / this, CPU: {gensim_cpu / medians['cpu_seconds']:.1f}")


if __name__ == "__main__":
    main()
