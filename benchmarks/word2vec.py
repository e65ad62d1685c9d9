"""Word vectors here and in gensim, one after the other on the same text with the same nominal settings.

    python benchmarks/word2vec.py --wikipedia FILE.jsonl.zst                    every case, makes text as text8 was made
    python benchmarks/word2vec.py --text FILE.txt --cases skip-gram cbow        lines are documents, spaces part words
    python benchmarks/word2vec.py … --epochs 5 --runs 5 --similarity FOLDER     quality: also the word pairs in FOLDER
    python benchmarks/word2vec.py … --word2vec-c ./word2vec                     beside the authors' program

CPU seconds of training (all threads) are steadier than wall time on a shared machine, so the ratio is taken from them;
contenders take turns, so that all meet the same weather. Quality is Spearman's rho on WordSim-353, SimLex-999 and the
word pairs of FOLDER (files of word, word, score), and the accuracy on Google's analogies, measured by gensim for all.
gensim's `corpus_file` decays its rate too slowly with several workers and one epoch (each worker counts against the
whole corpus), which flatters it there: compare quality at 5 epochs. Peak memory (Linux) is by how
much a fresh process grows to its highest while a model is made and trained.
`fast-text-unseen` knows only words that occur 1,000 times and is asked about pairs with a word that it never saw.
"""

import argparse
import io
import itertools
import json
import re
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import sslcore
from sslcore.objectives.word_objective import WordObjective
from sslcore.tokenization.encoding import EncodedCorpus

if TYPE_CHECKING:
    from gensim.models import KeyedVectors

DIGITS = dict(enumerate(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]))
LINE = 1000  # words: text8 has no documents, so lines of this length stand for them


class Case(NamedTuple):
    """The same model in both libraries."""

    ours: type[WordObjective]
    fields: dict[str, Any]
    gensim: dict[str, Any]


HIERARCHICAL: dict[str, Any] = {"output": "hierarchical_softmax"}
CASES = {
    "skip-gram": Case(sslcore.SkipGram, {}, {"sg": 1}),
    "skip-gram-300": Case(sslcore.SkipGram, {"dimensions": 300}, {"sg": 1}),
    "cbow": Case(sslcore.CBOW, {}, {"sg": 0}),
    "skip-gram-hs": Case(sslcore.SkipGram, HIERARCHICAL, {"sg": 1, "hs": 1, "negative": 0}),
    "fast-text": Case(sslcore.FastText, {}, {"sg": 1, "fasttext": True}),
    "cbow-hs": Case(sslcore.CBOW, HIERARCHICAL, {"sg": 0, "hs": 1, "negative": 0}),
    "fast-text-unseen": Case(sslcore.FastText, {"minimum_count": 100}, {"sg": 1, "fasttext": True}),
}


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


def quality(vectors: "KeyedVectors", pairs: list[Path]) -> dict[str, float]:
    from gensim.test.utils import datapath

    found = {
        "WS-353": vectors.evaluate_word_pairs(datapath("wordsim353.tsv"))[1].statistic,
        "SimLex": vectors.evaluate_word_pairs(datapath("simlex999.txt"))[1].statistic,
        "analogies": vectors.evaluate_word_analogies(datapath("questions-words.txt"), restrict_vocab=30_000)[0],
    }
    for path in pairs:
        rows = [re.split(r"[\t ]+", line.strip()) for line in path.read_text("utf-8").splitlines()]
        with tempfile.NamedTemporaryFile("w", suffix=".tsv", encoding="utf-8") as file:
            file.writelines("\t".join(row[:3]) + "\n" for row in rows if len(row) >= 3)
            file.flush()
            found[path.stem] = vectors.evaluate_word_pairs(file.name)[1].statistic
    return found


def unseen(vectors: "KeyedVectors", pairs: list[Path]) -> dict[str, float]:
    """Spearman's rho on the pairs with a word that `vectors` put together from n-grams: mean over the files."""
    from scipy.stats import spearmanr

    found, known = [], vectors.key_to_index.keys()
    for path in pairs:
        rows = [re.split(r"[\t ]+", line.strip().lower()) for line in path.read_text("utf-8").splitlines()]
        here = [row for row in rows if len(row) >= 3 and not {row[0], row[1]} <= known]
        if len(here) >= 30:
            scores = [vectors.similarity(one, other) for one, other, *_ in here]
            found.append(spearmanr(scores, [float(row[2]) for row in here]).statistic)
    return {"unseen": statistics.fmean(found)} if found else {}


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def train_gensim(
    case: Case, file: Path, objective: WordObjective, threads: int, seed: int
) -> tuple[Any, dict[str, float]]:
    from gensim.models import FastText, Word2Vec

    settings = dict(case.gensim)
    model = (FastText if settings.pop("fasttext", False) else Word2Vec)(
        vector_size=objective.dimensions,
        window=objective.window,
        sample=objective.subsampling,
        alpha=objective.learning_rate,
        min_count=max(5, objective.minimum_count),
        epochs=objective.epochs,
        workers=threads,
        seed=seed,
        **settings,
    )
    model.build_vocab(corpus_file=str(file))
    totals = {"total_words": model.corpus_total_words, "total_examples": model.corpus_count}
    _, times = timed(lambda: model.train(corpus_file=str(file), epochs=objective.epochs, **totals))
    return model.wv, times


def train_ours(
    objective: WordObjective, corpus: EncodedCorpus, threads: int, seed: int
) -> tuple["KeyedVectors", dict[str, float]]:
    encoder, times = timed(lambda: sslcore.pretrain(objective, corpus, seed=seed, workers=threads))
    return encoder.to_keyed_vectors(), times


def train_word2vec_c(
    program: Path, case: Case, file: Path, objective: WordObjective, threads: int, seed: int
) -> tuple["KeyedVectors", dict[str, float]]:
    """The whole run of the authors' program or of one with its options (pWord2Vec), counting included; no seed."""
    from gensim.models import KeyedVectors

    settings = {
        "train": file, "size": objective.dimensions, "window": objective.window, "sample": objective.subsampling,
        "alpha": objective.learning_rate, "min-count": 5, "iter": objective.epochs, "threads": threads, "binary": 1,
        "cbow": 1 - case.gensim["sg"], "hs": case.gensim.get("hs", 0), "negative": case.gensim.get("negative", 5),
    }  # fmt: skip
    with tempfile.NamedTemporaryFile(suffix=".bin") as out:
        options = [
            text for name, value in {**settings, "output": out.name}.items() for text in (f"-{name}", str(value))
        ]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        _, times = timed(lambda: subprocess.run([program, *options], check=True, capture_output=True))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times["cpu"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return KeyedVectors.load_word2vec_format(out.name, binary=True), times


def grown(ours: bool, case: Case, file: Path, folder: Path, objective: WordObjective, threads: int) -> float:
    """By how many MB this process grows to its highest while one model is made and trained. Linux only."""

    def of_process(field: str) -> float:
        return int(re.findall(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())[0]) / 1e3

    corpus = EncodedCorpus.open(folder)
    small = objective.model_copy(update={"epochs": 1, "minimum_count": 1})
    sslcore.pretrain(small, [["imported", "and", "compiled"] * 5], seed=0, workers=threads).to_keyed_vectors()
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far is forgotten
    before = of_process("VmRSS")
    if ours:
        sslcore.pretrain(objective, corpus, seed=0, workers=threads)
    else:
        train_gensim(case, file, objective, threads, 0)
    return of_process("VmHWM") - before


def say_peaks(name: str, *arguments: Any) -> None:
    for contender in ("gensim", "sslcore"):
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            megabytes = pool.submit(grown, contender == "sslcore", *arguments).result()
        print(f"{name}: {contender} grows by {megabytes:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--text", type=Path)
    source.add_argument("--wikipedia", type=Path)
    parser.add_argument("--words", type=int, default=17_000_000)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--window", type=int, default=5)
    parser.add_argument("--subsampling", type=float, default=1e-4)
    parser.add_argument("--learning-rate", type=float, help="default: the authors', 0.025, for CBOW 0.05")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--threads", type=int, nargs="+", default=[2])
    parser.add_argument("--runs", type=int, default=3, help="each with its own seed")
    parser.add_argument("--similarity", type=Path, help="folder of more word pairs")
    parser.add_argument("--word2vec-c", type=Path)
    parser.add_argument("--without-gensim", action="store_true")
    parser.add_argument("--deterministic", action="store_true", help="ours also in one reproducible thread")
    parser.add_argument("--memory", action="store_true", help="only the peak memory, of one run of each")
    parser.add_argument("--json", type=Path, help="append every run to this file, one JSON object a line")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = arguments.text or Path(folder) / "corpus.txt"
        if arguments.wikipedia:
            with file.open("w", encoding="utf-8") as out:
                out.writelines(" ".join(line) + "\n" for line in text8_like(arguments.wikipedia, arguments.words))
        compare(arguments, file, Path(folder))


def compare(arguments: argparse.Namespace, file: Path, folder: Path) -> None:
    pairs = sorted(arguments.similarity.glob("*-*.txt")) if arguments.similarity else []
    corpus = counted(file, folder / "corpus", arguments.runs, not arguments.without_gensim)
    for name in arguments.cases:
        case = CASES[name]
        fields = {
            "dimensions": 100, "window": arguments.window, "subsampling": arguments.subsampling,
            "epochs": arguments.epochs, **case.fields,
        }  # fmt: skip
        if arguments.learning_rate:
            fields["learning_rate"] = arguments.learning_rate
        objective = case.ours(**fields)
        if arguments.memory:
            say_peaks(name, case, file, folder / "corpus", objective, arguments.threads[0])
            continue
        sslcore.pretrain(
            objective.model_copy(update={"epochs": 1, "minimum_count": 1}), [["compile", "first"] * 5], seed=0
        )
        contenders: dict[str, Callable[[int], tuple[Any, dict[str, float]]]] = {}
        for threads in arguments.threads:
            if not arguments.without_gensim:
                contenders[f"gensim, {threads}"] = partial(train_gensim, case, file, objective, threads)
            if arguments.word2vec_c:
                program = arguments.word2vec_c
                contenders[f"{program.name}, {threads}"] = partial(
                    train_word2vec_c, program, case, file, objective, threads
                )
            contenders[f"sslcore, {threads}"] = partial(train_ours, objective, corpus, threads)
        if arguments.deterministic:
            alone = objective.model_copy(update={"deterministic": True})
            contenders["sslcore, deterministic"] = partial(train_ours, alone, corpus, 1)
        results: dict[str, list[dict[str, float]]] = {contender: [] for contender in contenders}
        for seed in range(arguments.runs):
            for contender, train in contenders.items():
                vectors, times = train(seed)
                scores = unseen(vectors, pairs) if name == "fast-text-unseen" else quality(vectors, pairs)
                results[contender].append({**times, **scores})
                said = {"case": name, "contender": contender, "seed": seed, **results[contender][-1]}
                if arguments.json:
                    with arguments.json.open("a", encoding="utf-8") as out:
                        out.write(json.dumps(said) + "\n")
                print(spoken(f"{name} {contender}", results[contender][-1]), flush=True)
        summarise(name, results)


def counted(file: Path, folder: Path, runs: int, gensim: bool) -> EncodedCorpus:
    """The encoded corpus; says how fast that was with two threads, and gensim's scan, which only counts."""
    EncodedCorpus.from_text_file(__file__, folder, minimum_count=1, workers=2)  # compile
    results: dict[str, list[dict[str, float]]] = {}
    megabytes = file.stat().st_size / 1e6
    for _ in range(runs):
        if gensim:
            counts, times = timed(lambda: gensim_counts(file))
            results.setdefault("gensim's scan", []).append({**times, "MB/s": megabytes / times["wall"]})
        corpus, times = timed(lambda: EncodedCorpus.from_text_file(file, folder, workers=2))
        results.setdefault("sslcore, 2", []).append({**times, "MB/s": megabytes / times["wall"]})
    first = corpus.tokenizer.first_word_id
    words = zip(corpus.tokenizer.tokens[first:], corpus.tokenizer.counts[first:].tolist(), strict=True)
    print(f"{corpus.tokens:,} words, {corpus.tokenizer.vocabulary_size:,} in the vocabulary")
    print(f"encoded {corpus.ids.nbytes / 1e6:.0f} MB, which are mapped")
    if gensim:
        print(f"gensim counts the same: {counts == dict(words)}")
    summarise(f"count and encode {megabytes:.0f} MB", results)
    return corpus


def gensim_counts(file: Path) -> dict[str, int]:
    from gensim.models import Word2Vec

    model = Word2Vec(min_count=5)
    model.scan_vocab(corpus_file=str(file))
    model.prepare_vocab()
    return {word: model.wv.get_vecattr(word, "count") for word in model.wv.index_to_key}


def summarise(name: str, results: dict[str, list[dict[str, float]]]) -> None:
    """Medians of the times, means of the scores, and how many times the CPU seconds of the first contender go in."""
    first = statistics.median(run["cpu"] for run in next(iter(results.values())))
    print(f"\n{name}: median times, mean scores of {len(next(iter(results.values())))} runs")
    for contender, runs in results.items():
        middle = {
            key: (statistics.median if key in ("wall", "cpu", "MB/s") else statistics.fmean)(run[key] for run in runs)
            for key in runs[0]
        }
        print(spoken(f"  {contender}", {**middle, "ratio": first / middle["cpu"]}))
    print(flush=True)


def spoken(who: str, figures: dict[str, float]) -> str:
    return f"{who:34} " + "  ".join(f"{name} {value:.3f}" for name, value in figures.items())


if __name__ == "__main__":
    main()
