"""How much an objective's vectors help a classifier with few labels: what the defaults were chosen by.

    python benchmarks/probes.py FOLDER skip_gram "skip_gram window=5 pooling=mean" denoising_autoencoder

FOLDER holds en_20newsgroups and en_reuters_r8_r52 as Orange .tab.xz files. Each objective pretrains on the train texts
without their labels; logistic regression on the frozen vectors then learns from 2, 8 and 32 labels a class. Macro F1 on
the test texts, mean of three draws of the labels; TF-IDF with the same regression stands beside it, and with --random
the objective's encoder before any training, mean ± standard deviation over three seeds.
"""

import argparse
import lzma
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

import sslcore
from sslcore.models.encoder import Encoder
from sslcore.objectives.registry import parse_objective
from sslcore.randomness import torch_generator
from sslcore.tokenization.encoding import EncodedCorpus
from sslcore.tokenization.tokenizer import fit_tokenizer
from sslcore.tokenization.words import Words

SETS = {
    "20newsgroups": "en_20newsgroups/20newsgroups-{}.tab.xz",
    "R52": "en_reuters_r8_r52/reuters-r52-{}.tab.xz",
}
BUDGETS, DRAWS, SEEDS, C = (2, 8, 32), (0, 1, 2), (0, 1, 2), 10.0


def read_tab(path: Path) -> tuple[list[str], np.ndarray]:
    """(texts, labels) of an Orange table: three header lines, then label, tab, text."""
    lines = lzma.decompress(path.read_bytes()).decode("utf-8").split("\n")[3:]
    rows = [line.split("\t") for line in lines]
    rows = [row for row in rows if len(row) > 1 and row[0] and row[1]]
    return [row[1] for row in rows], np.array([row[0] for row in rows])


def standardised(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Zero mean; squared length 1 on average: so that one C serves every dimension."""
    mean, scale = train.mean(0), (train.std(0) + 1e-6) * np.sqrt(train.shape[1])
    return (train - mean) / scale, (test - mean) / scale


def probe(train: Any, train_labels: np.ndarray, test: Any, test_labels: np.ndarray) -> list[float]:
    """Macro F1 by budget."""
    scores = []
    for budget in BUDGETS:
        of_draws = []
        for draw in DRAWS:
            generator = np.random.default_rng(draw)
            rows = np.concatenate(
                [generator.permutation(np.flatnonzero(train_labels == c))[:budget] for c in np.unique(train_labels)]
            )
            model = LogisticRegression(C=C, max_iter=300).fit(train[rows], train_labels[rows])
            of_draws.append(f1_score(test_labels, model.predict(test), average="macro"))
        scores.append(float(np.mean(of_draws)))
    return scores


def probe_encoder(
    encoder: Encoder, train: list[str], train_labels: np.ndarray, test: list[str], test_labels: np.ndarray
) -> list[float]:
    vectors = standardised(encoder.encode(train), encoder.encode(test))
    return probe(vectors[0], train_labels, vectors[1], test_labels)


def objective_from(words: str) -> Any:
    """`skip_gram window=5 pooling=mean` as an objective."""
    kind, *fields = words.split()
    values = dict(field.split("=", 1) for field in fields)
    return parse_objective({"kind": kind, **{name: yaml.safe_load(value) for name, value in values.items()}})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("objectives", nargs="*", default=["skip_gram", "denoising_autoencoder"])
    parser.add_argument("--random", action="store_true", help="also probe untrained encoders of each objective")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)  # two labels a class: we know
    for name in arguments.sets:
        pattern = SETS[name]
        (texts, labels), (test, test_labels) = (
            read_tab(arguments.folder / pattern.format(s)) for s in ("train", "test")
        )
        vectorizer = TfidfVectorizer(sublinear_tf=True).fit(texts)
        scores = probe(vectorizer.transform(texts), labels, vectorizer.transform(test), test_labels)
        print(name, "tf-idf", *(f"{s:.3f}" for s in scores), flush=True)
        tokenizer = fit_tokenizer(Words(), texts)
        ids, offsets = tokenizer.encode_batch(texts)
        corpus = EncodedCorpus(ids, offsets, offsets, tokenizer)
        for words in arguments.objectives:
            cpu = time.process_time()
            encoder = sslcore.pretrain(objective_from(words), corpus, seed=0, workers=1)
            cpu = time.process_time() - cpu
            scores = probe_encoder(encoder, texts, labels, test, test_labels)
            print(name, repr(words), *(f"{s:.3f}" for s in scores), f"{cpu:.0f} CPU s", flush=True)
            if arguments.random:
                fresh = [encoder.fresh(torch_generator(seed)) for seed in SEEDS]
                untrained = np.array([probe_encoder(e, texts, labels, test, test_labels) for e in fresh])
                said = (f"{m:.3f}±{s:.3f}" for m, s in zip(untrained.mean(0), untrained.std(0, ddof=1), strict=True))
                print(name, repr(f"random {words}"), *said, flush=True)


if __name__ == "__main__":
    main()
