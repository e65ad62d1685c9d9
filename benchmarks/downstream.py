"""What a public encoder reaches on the four shapes, beside the same network from scratch and a plain baseline.

    python benchmarks/downstream.py DATA --checkpoint FOLDER --sets cola stsb conll2003 xquad_en --seeds 5 --json FILE

DATA holds text_classification/en_cola, pairs/stsb_en, tagging/en_conll2003 and extractive_qa/xquad_en_zh; FOLDER is a
public encoder, all-MiniLM-L6-v2 for instance. Both networks train by the preset bert_small at its middle rate (1e-4, 4
epochs, batches of 32), from scratch at the rate of random weights. The test rows are the published ones (CoLA's two
development sets together, STS-B's and CoNLL-2003's test sets); XQuAD, which has no training rows, is drawn by article
anew for each seed: 30 of 48 to learn from, 6 to choose by, 12 to be asked.

The plain baseline: of CoLA logistic regression on TF-IDF of one to three words; of STS-B the cosine of TF-IDF; of
CoNLL-2003 logistic regression on a word, its shape and its neighbours; of XQuAD the sentence nearest to the question by
TF-IDF. `frozen`, of STS-B, is the cosine of the encoder's vectors as they are. What FILE has already is not run again,
so a precision has a FILE of its own.
"""

import argparse
import csv
import gzip
import itertools
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from kept_runs import KeptRuns
from scipy.sparse import csr_matrix
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, SGDClassifier

from sslcore import contracts
from sslcore.evaluation.statistics import seed_noise
from sslcore.finetuning import fine_tune
from sslcore.finetuning.answers import answer_scores, language_of
from sslcore.finetuning.entities import entity_scores
from sslcore.finetuning.presets import preset
from sslcore.finetuning.scores import matthews, spearman
from sslcore.finetuning.shapes.classification import Classification
from sslcore.finetuning.shapes.pairs import Pairs
from sslcore.finetuning.shapes.registry import AnyShape
from sslcore.finetuning.shapes.spans import SpanExtraction
from sslcore.finetuning.shapes.tagging import Tagging
from sslcore.finetuning.tuning import with_maximum_tokens
from sslcore.models.encoder import Encoder
from sslcore.randomness import torch_generator
from sslcore.training.precision import Precision


class Parts(NamedTuple):
    train: pa.Table
    validation: pa.Table
    test: pa.Table


class Task(NamedTuple):
    shape: AnyShape
    metrics: tuple[str, ...]
    parts: Callable[[Path, int], Parts]  # of the data's folder and a seed
    baselines: dict[str, Callable[[Parts, Encoder], tuple[float, ...]]]  # its metrics, by name


# -- the sets ----------------------------------------------------------------------------------------------------------


def cola(folder: Path, seed: int) -> Parts:
    def read(name: str) -> pa.Table:
        lines = (folder / "text_classification/en_cola" / name).read_text("utf-8").rstrip("\n").split("\n")
        cells = [line.split("\t") for line in lines]
        return pa.table({"text": [row[3] for row in cells], "label": [row[1] for row in cells]})

    rows = read("in_domain_train.tsv")
    order = np.random.default_rng(seed).permutation(len(rows))
    held = len(rows) // 10
    test = pa.concat_tables([read("in_domain_dev.tsv"), read("out_of_domain_dev.tsv")])
    return Parts(rows.take(order[held:]), rows.take(order[:held]), test)


def stsb(folder: Path, seed: int) -> Parts:
    def read(name: str) -> pa.Table:
        with (folder / f"pairs/stsb_en/stsb-en-{name}.csv").open(encoding="utf-8", newline="") as file:
            first, second, scores = zip(*csv.reader(file), strict=True)
        return pa.table({"text": first, "text_b": second, "score": [float(score) for score in scores]})

    return Parts(read("train"), read("dev"), read("test"))


def conll2003(folder: Path, seed: int) -> Parts:
    def read(name: str) -> pa.Table:
        rows = list(conll_sentences(folder / "tagging/en_conll2003" / name))
        return pa.table({"tokens": [tokens for tokens, _ in rows], "tags": [tags for _, tags in rows]})

    return Parts(read("eng.train.gz"), read("eng.testa"), read("eng.testb"))


def xquad(language: str) -> Callable[[Path, int], Parts]:
    def parts(folder: Path, seed: int) -> Parts:
        data = json.loads((folder / f"extractive_qa/xquad_en_zh/xquad.{language}.json").read_text("utf-8"))["data"]
        order = np.random.default_rng(seed).permutation(len(data))
        return Parts(*(questions([data[place] for place in places]) for places in np.split(order, [30, 36])))

    return parts


def questions(articles: Sequence[Any]) -> pa.Table:
    rows = [
        (
            asked["question"],
            passage["context"],
            [{"text": a["text"], "start": a["answer_start"]} for a in asked["answers"]],
        )
        for article in articles
        for passage in article["paragraphs"]
        for asked in passage["qas"]
    ]
    asked, passages, answers = (list(column) for column in zip(*rows, strict=True))
    return pa.table({"question": asked, "passage": passages, "answers": pa.array(answers, pa.list_(contracts.ANSWER))})


def conll_sentences(path: Path) -> Iterator[tuple[list[str], list[str]]]:
    """(words, tags of entities) of each sentence: word, part of speech, chunk and tag on a line."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        for filled, group in itertools.groupby(lines, key=lambda line: bool(line.strip())):
            rows = [line.split() for line in group]
            if filled and rows[0][0] != "-DOCSTART-":
                yield [row[0] for row in rows], [row[-1] for row in rows]


# -- plain baselines ---------------------------------------------------------------------------------------------------


def regression_on_words(parts: Parts, encoder: Encoder) -> tuple[float, ...]:
    train, test = (part["text"].to_pylist() for part in (parts.train, parts.test))
    vectorizer = TfidfVectorizer(ngram_range=(1, 3), sublinear_tf=True, token_pattern=r"\S+").fit(train)
    model = LogisticRegression(C=10.0, max_iter=1000, class_weight="balanced")
    model.fit(vectorizer.transform(train), parts.train["label"].to_pylist())
    said, truth = model.predict(vectorizer.transform(test)), np.array(parts.test["label"].to_pylist())
    return (matthews((truth == "1").astype(int), (said == "1").astype(int)),)


def cosine_of_words(parts: Parts, encoder: Encoder) -> tuple[float, ...]:
    vectorizer = TfidfVectorizer(sublinear_tf=True)
    vectorizer.fit([text for column in ("text", "text_b") for text in parts.train[column].to_pylist()])
    first, second = (vectorizer.transform(parts.test[column].to_pylist()) for column in ("text", "text_b"))
    return (spearman(np.array(parts.test["score"]), np.asarray(first.multiply(second).sum(axis=1)).ravel()),)


def cosine_of_vectors(parts: Parts, encoder: Encoder) -> tuple[float, ...]:
    vectors = [encoder.encode(parts.test[column].to_pylist()) for column in ("text", "text_b")]
    first, second = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in vectors)
    return (spearman(np.array(parts.test["score"]), (first * second).sum(axis=1)),)


def narrow(matrix: csr_matrix) -> csr_matrix:
    """With indices of 32 bits, which scikit-learn's linear models ask for and its DictVectorizer does not give."""
    matrix.indices, matrix.indptr = matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)
    return matrix


def regression_on_neighbours(parts: Parts, encoder: Encoder) -> tuple[float, ...]:
    def features(words: list[str]) -> Iterator[dict[str, Any]]:
        shapes = [re.sub("[0-9]+", "0", re.sub("[a-z]+", "a", re.sub("[A-Z]+", "A", word))) for word in words]
        padded = ["<", *words, ">"]
        for place, (word, shape) in enumerate(zip(words, shapes, strict=True), start=1):
            before, after = padded[place - 1], padded[place + 1]
            yield {
                "word": word, "lower": word.lower(), "shape": shape, "end": word[-3:], "begin": word[:3],
                "before": before, "after": after, "both": f"{before} {after}", "first": place == 1,
                "capitals": f"{before[:1].isupper()} {word[:1].isupper()} {after[:1].isupper()}",
            }  # fmt: skip

    train, test = (part["tokens"].to_pylist() for part in (parts.train, parts.test))
    vectorizer = DictVectorizer()
    read = narrow(vectorizer.fit_transform(found for words in train for found in features(words)))
    model = SGDClassifier(loss="log_loss", alpha=1e-6, random_state=0)
    model.fit(read, [tag for tags in parts.train["tags"].to_pylist() for tag in tags])
    said = iter(model.predict(narrow(vectorizer.transform(found for words in test for found in features(words)))))
    truth = parts.test["tags"].to_pylist()
    return (entity_scores(truth, [[next(said) for _ in tags] for tags in truth]).f1,)


def nearest_sentence(parts: Parts, encoder: Encoder) -> tuple[float, ...]:
    passages = parts.test["passage"].to_pylist()
    language = language_of(passages)
    units: dict[str, Any] = {"analyzer": "char"} if language == "chinese" else {}
    vectorizer = TfidfVectorizer(sublinear_tf=True, **units)
    vectorizer.fit(sorted({*parts.train["passage"].to_pylist(), *passages}))
    scores = []
    for question, passage, answers in zip(
        parts.test["question"].to_pylist(), passages, parts.test["answers"].to_pylist(), strict=True
    ):
        sentences = re.split(r"(?<=[.!?])\s+|(?<=[。！？])", passage)
        near = vectorizer.transform(sentences) @ vectorizer.transform([question]).T
        said = sentences[int(near.toarray().ravel().argmax())]
        scores.append(answer_scores(said, [answer["text"] for answer in answers], language, unanswerable=False))
    exact, f1 = np.mean(scores, axis=0)
    return float(f1), float(exact)


TASKS: dict[str, Task] = {
    "cola": Task(Classification(metric="mcc"), ("mcc",), cola, {"plain": regression_on_words}),
    "stsb": Task(Pairs(says="score"), ("spearman",), stsb, {"plain": cosine_of_words, "frozen": cosine_of_vectors}),
    "conll2003": Task(Tagging(), ("f1",), conll2003, {"plain": regression_on_neighbours}),
    "xquad_en": Task(SpanExtraction(), ("f1", "exact_match"), xquad("en"), {"plain": nearest_sentence}),
    "xquad_zh": Task(SpanExtraction(), ("f1", "exact_match"), xquad("zh"), {"plain": nearest_sentence}),
}


# -- ours --------------------------------------------------------------------------------------------------------------


def fine_tuned(
    task: Task, parts: Parts, encoder: Encoder, rate: float | None, precision: Precision, seed: int
) -> tuple[float, ...]:
    shape, labels = task.shape, task.shape.labels_of(parts.train)
    config = preset("bert_small")
    config = config.model_copy(update={"learning_rate": rate or config.learning_rate, "precision": precision})
    config = with_maximum_tokens(config, shape, encoder, parts.train, labels)
    train, validation, test = (
        shape.examples(part, encoder, labels, maximum_tokens=config.most_tokens) for part in parts
    )
    model = fine_tune(shape, encoder, train, validation, config, labels=labels, seed=seed)
    said = shape.metrics(model.said_of(test)[0], test, labels)
    return tuple(said[name] for name in task.metrics)


def scores_of(
    who: str, task: Task, parts: Parts, checkpoint: Path, precision: Precision, seed: int
) -> tuple[float, ...]:
    encoder = Encoder.from_huggingface(checkpoint)
    if who in task.baselines:
        return task.baselines[who](parts, encoder)
    if who == "fine-tuned":
        return fine_tuned(task, parts, encoder, None, precision, seed)
    fresh = encoder.fresh(torch_generator(seed, "weights"))
    return fine_tuned(task, parts, fresh, encoder.network.rate_from_scratch, precision, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--contenders", nargs="+", choices=["fine-tuned", "from scratch"])
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    kept = KeptRuns(arguments.json)
    for name in arguments.sets:
        task = TASKS[name]
        contenders = [*task.baselines, *(arguments.contenders or ["fine-tuned", "from scratch"])]
        for seed, who in itertools.product(range(arguments.seeds), contenders):

            def scored(task: Task = task, who: str = who, seed: int = seed) -> dict[str, float]:
                started = time.perf_counter()
                parts = task.parts(arguments.folder, seed)
                scores = scores_of(who, task, parts, arguments.checkpoint, arguments.precision, seed)
                return {**dict(zip(task.metrics, scores, strict=True)), "seconds": time.perf_counter() - started}

            kept.run(name, who, seed, scored)
        for who, metric in itertools.product(contenders, task.metrics):
            values = kept.values(name, who, arguments.seeds, metric)
            print(f"{name:<10} {who:<13} {metric:<12} {values.mean():.4f} ± {seed_noise(values) or 0:.4f}", flush=True)


if __name__ == "__main__":
    main()
