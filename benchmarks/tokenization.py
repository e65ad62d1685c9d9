"""Megabytes a second of fitting and encoding, by kind, beside Hugging Face `tokenizers` called bare and gensim's scan.

    python benchmarks/tokenization.py PATH [--text COLUMN] [--kinds words bpe …] [--megabytes 20] [--rounds 3]

PATH is anything `sslcore ingest` reads. The other side of encoding is `encode_batch` of the very tokenizer we save,
that of fitting the library's own trainer on the same texts; gensim and `space_separated` both cut at spaces and count.
Rounds alternate between the sides; figures are medians. MB are UTF-8 bytes of text; CPU seconds count all threads.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

from sslcore.corpus.raw import RawDocument
from sslcore.corpus.sources import FilesSource, raw_files, read_documents
from sslcore.tokenization import TOKENIZATION, Tokenizer, fit_tokenizer
from sslcore.tokenization.engine import SPECIAL_TOKENS
from sslcore.tokenization.subword_family import SubwordTokenization, even_sample

KINDS = ("words", "jieba_words", "space_separated", "bpe", "word_piece", "unigram")


class Cost(NamedTuple):
    wall_seconds: float
    cpu_seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", help="file, folder, glob or URL")
    parser.add_argument("--text", default="", help="the column of the text, where the file has columns")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--megabytes", type=float, default=20.0, help="read at most this much text")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    texts = read(arguments.path, arguments.text, int(arguments.megabytes * 1e6))
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    print(f"{len(texts):,} documents, {megabytes:.1f} MB\n")
    print("kind            work    ours MB/s (wall)  other MB/s (wall)  CPU: other/ours  the other")
    fit_tokenizer(TOKENIZATION.validate_python({"kind": "words", "minimum_count": 1}), ["compile"]).encode("first")
    for kind in arguments.kinds:
        specification = TOKENIZATION.validate_python({"kind": kind})
        tokenizer = fit_tokenizer(specification, texts)
        fitting = other_fit(tokenizer, texts)
        row(kind, "fit", megabytes, arguments.rounds, lambda s=specification: fit_tokenizer(s, texts), fitting)
        row(
            kind,
            "encode",
            megabytes,
            arguments.rounds,
            lambda t=tokenizer: t.encode_batch(texts),
            bare(tokenizer, texts),
        )


def read(path: str, column: str, most_bytes: int) -> list[str]:
    source = FilesSource(paths=(path,), text=column)
    texts: list[str] = []
    size = 0
    for file in raw_files(source):
        for document in read_documents(source, file):
            if isinstance(document, RawDocument):
                texts.append(document.text)
                size += len(document.text.encode())
            if size >= most_bytes:
                return texts
    return texts


def row(
    kind: str, work: str, megabytes: float, rounds: int, ours: Callable, other: tuple[str, Callable] | None
) -> None:
    """Time both sides in turn and print one line."""
    costs: list[Cost] = []
    others: list[Cost] = []
    for _ in range(rounds):
        costs.append(cost(ours))
        if other:
            others.append(cost(other[1]))
    speed = megabytes / statistics.median(c.wall_seconds for c in costs)
    line = f"{kind:<15} {work:<7} {speed:>16.1f}"
    if other:
        speed = megabytes / statistics.median(c.wall_seconds for c in others)
        ratio = statistics.median(c.cpu_seconds for c in others) / statistics.median(c.cpu_seconds for c in costs)
        line += f"  {speed:>17.1f}  {ratio:>15.2f}  {other[0]}"
    print(line, flush=True)


def cost(work: Callable) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


def other_fit(tokenizer: Tokenizer, texts: list[str]) -> tuple[str, Callable] | None:
    """The nearest thing somebody else would call to get this vocabulary."""
    specification = tokenizer.specification
    if specification.kind == "words":
        from tokenizers import trainers

        theirs = tokenizer.huggingface()
        trainer = trainers.WordLevelTrainer(
            vocab_size=specification.vocabulary_size,
            min_frequency=specification.minimum_count,
            special_tokens=list(SPECIAL_TOKENS),
            show_progress=False,
        )
        return "tokenizers, WordLevelTrainer", lambda: theirs.train_from_iterator(texts, trainer)
    if specification.kind == "space_separated":
        return "gensim, split and build_vocab", lambda: gensim_scan(texts, specification.minimum_count)
    if isinstance(specification, SubwordTokenization):
        sample = even_sample(texts, specification.training_characters)
        return "the same trainer, without counting", lambda: specification.trained(sample)
    return None


def gensim_scan(texts: list[str], minimum_count: int) -> None:
    from gensim.models import Word2Vec

    Word2Vec(min_count=minimum_count, vector_size=1).build_vocab(text.split() for text in texts)


def bare(tokenizer: Tokenizer, texts: list[str]) -> tuple[str, Callable] | None:
    if tokenizer.specification.kind == "jieba_words":
        import rjieba

        return "rjieba.cut, nothing looked up", lambda: [rjieba.cut(text, True) for text in texts]
    theirs = tokenizer.huggingface()
    return "tokenizers, encode_batch", lambda: theirs.encode_batch(texts, add_special_tokens=False)


if __name__ == "__main__":
    main()
