"""Fine-tuning beside transformers' Trainer and a SetFit-style logistic regression: accuracy and seconds, same weights.

    python benchmarks/finetuning.py DATA --checkpoint FOLDER --sets trec6 banking77 clinc150 --seeds 5 --json FILE

DATA holds en_trec6, en_banking77, en_clinc150 and en_20newsgroups; FOLDER is a public encoder, all-MiniLM-L6-v2 for
instance. All train on the same rows, a tenth of them held out for choosing, and are scored on the sets' own test rows.
Trainer has run_glue's recipe (AdamW 5e-5 × 3 epochs unless told otherwise, linear decay, batches of 16 padded to their
longest, best epoch by validation); ours has the same rate, passes and batch, and goes to its end too. The regression is
on frozen vectors, as SetFit's head on an encoder that was not trained further. The contenders take turns, a seed each.
What FILE has already is not run again: use one file for one recipe.
"""

import argparse
import gzip
import itertools
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from kept_runs import KeptRuns
from probes import read_tab
from sklearn.linear_model import LogisticRegression

from sslcore.evaluation.statistics import seed_noise
from sslcore.finetuning import FineTuning, fine_tune
from sslcore.finetuning.encoded import EncodedTexts
from sslcore.finetuning.outputs import outputs_of
from sslcore.finetuning.presets import NEVER
from sslcore.finetuning.scores import macro_f1
from sslcore.finetuning.shapes.classification import Classification, LabelledTexts
from sslcore.models.encoder import Encoder


class Set(NamedTuple):
    train: list[str]
    train_labels: list[str]
    test: list[str]
    test_labels: list[str]


def trec6(folder: Path) -> Set:
    parts = []
    for name in ("TREC.train.all", "TREC.test.all"):
        rows = [line.split(" ", 1) for line in (folder / "en_trec6" / name).read_text("latin-1").splitlines()]
        parts += [[text for _, text in rows], [label for label, _ in rows]]
    return Set(*parts)


def banking77(folder: Path) -> Set:
    parts = []
    for name in ("train.csv", "test.csv"):
        table = pd.read_csv(folder / "en_banking77" / name)
        parts += [table["text"].tolist(), table["category"].tolist()]
    return Set(*parts)


def clinc150(folder: Path) -> Set:
    with gzip.open(folder / "en_clinc150/data_full.json.gz", "rt", encoding="utf-8") as file:
        data = json.load(file)
    parts = []
    for name in ("train", "test"):
        parts += [[text for text, _ in data[name]], [label for _, label in data[name]]]
    return Set(*parts)


def newsgroups(folder: Path) -> Set:
    (train, labels), (test, test_labels) = (
        read_tab(folder / f"en_20newsgroups/20newsgroups-{split}.tab.xz") for split in ("train", "test")
    )
    return Set(train, list(labels), test, list(test_labels))


SETS: dict[str, Callable[[Path], Set]] = {
    "trec6": trec6,
    "banking77": banking77,
    "clinc150": clinc150,
    "20newsgroups": newsgroups,
}


class Rows(NamedTuple):
    texts: list[str]
    classes: np.ndarray


class Split(NamedTuple):
    train: Rows
    validation: Rows
    test: Rows
    labels: list[str]


def split(data: Set, seed: int, rows: int, test_rows: int) -> Split:
    labels = sorted(set(data.train_labels))
    places = {label: place for place, label in enumerate(labels)}
    order = np.random.default_rng(seed).permutation(len(data.train))[:rows]
    held = len(order) // 10

    def of(chosen: np.ndarray) -> Rows:
        return Rows([data.train[i] for i in chosen], np.array([places[data.train_labels[i]] for i in chosen]))

    test = Rows(data.test[:test_rows], np.array([places[label] for label in data.test_labels[:test_rows]]))
    return Split(of(order[held:]), of(order[:held]), test, labels)


def ours(data: Split, checkpoint: Path, arguments: argparse.Namespace, seed: int) -> tuple[np.ndarray, float]:
    encoder = Encoder.from_huggingface(checkpoint)
    started = time.perf_counter()
    train, validation, test = (
        LabelledTexts(
            EncodedTexts.of(part.texts, encoder.tokenizer, encoder.network, maximum_tokens=arguments.maximum_tokens),
            part.classes,
        )
        for part in data[:3]
    )
    config = FineTuning(
        epochs=arguments.epochs,
        batch_size=16,
        learning_rate=arguments.rate,
        precision=arguments.precision,
        maximum_tokens=arguments.maximum_tokens,
        patience=NEVER,
    )
    model = fine_tune(Classification(), encoder, train, validation, config, labels=data.labels, seed=seed)
    seconds = time.perf_counter() - started
    return outputs_of(model.network, test).argmax(axis=1), seconds


def trainer(data: Split, checkpoint: Path, arguments: argparse.Namespace, seed: int) -> tuple[np.ndarray, float]:
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=len(data.labels))
    started = time.perf_counter()

    def rows(part: Rows) -> list[dict[str, Any]]:
        ids = tokenizer(part.texts, truncation=True, max_length=arguments.maximum_tokens)["input_ids"]
        return [{"input_ids": i, "labels": int(c)} for i, c in zip(ids, part.classes, strict=True)]

    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=16,
            per_device_eval_batch_size=64,
            learning_rate=arguments.rate,
            num_train_epochs=arguments.epochs,
            eval_strategy="epoch",
            save_strategy="epoch",
            load_best_model_at_end=True,
            report_to=[],
            disable_tqdm=True,
            seed=seed,
            bf16=arguments.precision == "bfloat16",
            use_cpu=True,
        )
        hugging = Trainer(
            model,
            settings,
            data_collator=DataCollatorWithPadding(tokenizer),
            train_dataset=rows(data.train),  # type: ignore[arg-type]
            eval_dataset=rows(data.validation),  # type: ignore[arg-type]
        )
        hugging.train()
        seconds = time.perf_counter() - started
        return np.asarray(hugging.predict(rows(data.test)).predictions).argmax(axis=1), seconds  # type: ignore[arg-type]


VECTORS: dict[str, np.ndarray] = {}  # of a text, and the seconds that it took: the seeds have most texts in common
SECONDS: dict[str, float] = {}


def vectors_of(texts: list[str], encoder: Encoder) -> np.ndarray:
    if missing := [text for text in dict.fromkeys(texts) if text not in VECTORS]:
        started = time.perf_counter()
        VECTORS.update(zip(missing, encoder.encode(missing), strict=True))
        SECONDS.update(dict.fromkeys(missing, (time.perf_counter() - started) / len(missing)))
    return np.stack([VECTORS[text] for text in texts])


def regression(data: Split, checkpoint: Path, arguments: argparse.Namespace, seed: int) -> tuple[np.ndarray, float]:
    encoder = Encoder.from_huggingface(checkpoint)
    train = vectors_of(data.train.texts, encoder)
    started = time.perf_counter()
    model = LogisticRegression(C=10.0, max_iter=1000).fit(train, data.train.classes)
    seconds = time.perf_counter() - started + sum(SECONDS[text] for text in data.train.texts)
    return model.predict(vectors_of(data.test.texts, encoder)), seconds


CONTENDERS = {"sslcore": ours, "Trainer": trainer, "regression": regression}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=["trec6"], choices=list(SETS))
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=list(CONTENDERS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=10**9, help="training rows at most")
    parser.add_argument("--test-rows", type=int, default=10**9, help="at most; a few where seconds are what is asked")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rate", type=float, default=5e-5)
    parser.add_argument("--maximum-tokens", type=int, default=128)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    kept = KeptRuns(arguments.json)
    for name in arguments.sets:
        data = SETS[name](arguments.folder)
        for seed, who in itertools.product(range(arguments.seeds), arguments.contenders):

            def scored(data: Set = data, who: str = who, seed: int = seed) -> dict[str, float]:
                rows = split(data, seed, arguments.rows, arguments.test_rows)
                prediction, seconds = CONTENDERS[who](rows, arguments.checkpoint, arguments, seed)
                return {
                    "accuracy": float(np.mean(prediction == rows.test.classes)),
                    "macro_f1": macro_f1(rows.test.classes, prediction),
                    "seconds": seconds,
                }

            kept.run(name, who, seed, scored)
        for who in arguments.contenders:
            for metric in ("accuracy", "macro_f1"):
                values = kept.values(name, who, arguments.seeds, metric)
                print(
                    f"{name:<14} {who:<12} {metric:<9} {values.mean():.4f} ± {seed_noise(values) or float('nan'):.4f}"
                )
            seconds = np.median(kept.values(name, who, arguments.seeds, "seconds"))
            print(f"{name:<14} {who:<12} seconds   {seconds:.1f}", flush=True)


if __name__ == "__main__":
    main()
