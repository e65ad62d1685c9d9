"""Every objective on two development sets: what a linear probe makes of its vectors, and how fast it trains.

    python benchmarks/objectives.py DATA --kinds masked_lm sim_cse … --tokens 2000000 --json FILE

DATA holds en_20newsgroups and zh_online_shopping. Each objective pretrains on the texts without their labels, all
transformers at one size and for about as many tokens; a logistic regression on the frozen vectors then learns from 8
and 32 labels a class. Macro F1 on held-out texts, mean and standard deviation over seeds, beside the same network with
random weights (the noise floor is the spread over its seeds) and, with --checkpoint FOLDER, beside that public model.
Where it falls below those, two figures may say why: what the run's curve holds (loss, accuracy, effective rank of a
batch …) at its first and its last point; the mean cosine and the effective rank of held-out texts, with random weights
and trained (`space`).
What learns from labels (s4l, label_augmentation) is given those of the 32 a class that the first draw of the probe has.
"""

import argparse
import hashlib
import json
import re
import statistics
import tempfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from probes import objective_from, read_tab, standardised
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

import sslcore
from sslcore.evaluation.geometry import geometry
from sslcore.objectives.registry import objective_kinds
from sslcore.randomness import torch_generator
from sslcore.tokenization.encoding import EncodedCorpus
from sslcore.tokenization.jieba_words import JiebaWords
from sslcore.tokenization.tokenizer import fit_tokenizer
from sslcore.tokenization.word_piece import WordPiece
from sslcore.tokenization.words import Words
from sslcore.training.pretraining import write_encoder

BUDGETS, DRAWS = (8, 32), (0, 1, 2)
TESTED = 1000  # held-out texts
OF_EVERY_RUN = ["tokens", "done", "learning_rate"]  # in its curve, and no sign of what it learned
VOCABULARY = 4000  # of the transformers: with more, most of a tiny one's time and weights would be the vocabulary's


class Labelled(NamedTuple):
    train: list[str]
    train_labels: np.ndarray
    test: list[str]
    test_labels: np.ndarray
    words: Any


def english(folder: Path) -> Labelled:
    train, test = (read_tab(folder / f"en_20newsgroups/20newsgroups-{split}.tab.xz") for split in ("train", "test"))
    return Labelled(*train, *test, Words())


def chinese(folder: Path) -> Labelled:
    """Reviews by what was bought, every fifth of them for the test; repeated reviews count once."""
    table = pd.read_csv(folder / "zh_online_shopping/online_shopping_10_cats.zip").dropna().drop_duplicates("review")
    texts, labels = table["review"].to_numpy(), table["cat"].to_numpy()
    held = np.arange(len(texts)) % 5 == 0
    return Labelled(list(texts[~held]), labels[~held], list(texts[held]), labels[held], JiebaWords())


SETS = {"20newsgroups": english, "online_shopping": chinese}


def some_of(data: Labelled, texts: int) -> Labelled:
    rows = np.random.default_rng(0).permutation(len(data.train))[:texts]
    return data._replace(train=[data.train[i] for i in rows], train_labels=data.train_labels[rows])


def rows_of(data: Labelled, budget: int, draw: int) -> np.ndarray:
    """Some of each class."""
    generator = np.random.default_rng(draw)
    classes = sorted(set(data.train_labels))
    return np.concatenate([generator.permutation(np.flatnonzero(data.train_labels == c))[:budget] for c in classes])


def probe(encoder: Any, data: Labelled) -> dict[str, float]:
    """Macro F1 by labels a class, mean over the draws."""
    held = np.random.default_rng(0).permutation(len(data.test))[:TESTED]
    cells = {(budget, draw): rows_of(data, budget, draw) for budget in BUDGETS for draw in DRAWS}
    needed = np.unique(np.concatenate(list(cells.values())))
    train, test = standardised(
        encoder.encode([data.train[i] for i in needed]), encoder.encode([data.test[i] for i in held])
    )
    scores: dict[str, list[float]] = {}
    for (budget, _), rows in cells.items():
        model = LogisticRegression(C=10.0, max_iter=300)
        model.fit(train[np.searchsorted(needed, rows)], data.train_labels[rows])
        score = f1_score(data.test_labels[held], model.predict(test), average="macro")
        scores.setdefault(str(budget), []).append(score)
    return {budget: float(np.mean(of_draws)) for budget, of_draws in scores.items()}


def digest(encoder: Any) -> str:
    """Equal for networks of one architecture with equal weights."""
    said = hashlib.sha256(type(encoder.network).__name__.encode())
    said.update(str(getattr(encoder.network, "pooling", "")).encode())
    for name, tensor in encoder.network.state_dict().items():
        said.update(name.encode() + tensor.numpy().tobytes())
    return said.hexdigest()


def ends_of_curve(folder: Path) -> pd.DataFrame:
    """Of each metric of the run, its first and its last value."""
    curve = pd.read_parquet(folder / "curve.parquet").sort_values("step")
    return curve[~curve["metric"].isin(OF_EVERY_RUN)].groupby("metric")["value"].agg(["first", "last"])


def space(encoder: Any, data: Labelled) -> tuple[float, float]:
    """(mean cosine, effective rank) of the vectors of held-out texts."""
    found = geometry(encoder.encode(data.test[:TESTED]))
    assert found is not None
    return found.anisotropy, found.effective_rank


def corpus_of(data: Labelled, specification: Any) -> EncodedCorpus:
    tokenizer = fit_tokenizer(specification, data.train)
    sentences = [[part for part in re.split(r"(?<=[.!?。！？])\s*", text) if part] for text in data.train]
    ids, offsets = tokenizer.encode_batch([sentence for document in sentences for sentence in document])
    documents = np.concatenate([[0], np.cumsum([len(document) for document in sentences])])
    names = sorted(set(data.train_labels))
    labels = np.full(len(data.train), -1, np.int32)
    rows = rows_of(data, max(BUDGETS), draw=DRAWS[0])
    labels[rows] = np.searchsorted(names, data.train_labels[rows])
    return EncodedCorpus(ids, offsets, offsets[documents], tokenizer, labels, names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--kinds", nargs="+", default=sorted(objective_kinds()), help='also "kind field=value …"')
    parser.add_argument("--size", default="tiny")
    parser.add_argument("--tokens", type=int, default=2_000_000, help="that a transformer trains on, about")
    parser.add_argument("--texts", type=int, default=100_000, help="to pretrain on, at most")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--checkpoint", type=Path, help="folder of a public model, all-MiniLM-L6-v2 for instance")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    for name in arguments.sets:
        data = some_of(SETS[name](arguments.folder), arguments.texts)
        corpora = {
            "words": corpus_of(data, data.words),
            "pieces": corpus_of(data, WordPiece(vocabulary_size=VOCABULARY)),
        }
        of_random: dict[str, dict[str, float]] = {}
        if arguments.checkpoint:
            public = sslcore.Encoder.from_huggingface(arguments.checkpoint)
            say(arguments, {"set": name, "kind": "checkpoint", **probe(public, data)})
        for words in arguments.kinds:
            objective = objective_from(words)
            transformer = "size" in type(objective).model_fields
            corpus = corpora["pieces" if transformer else "words"]
            if transformer:
                epochs = max(1, round(arguments.tokens / corpus.tokens))
                objective = objective_from(f"{words} size={arguments.size} epochs={epochs}")
            trained, random, runs, curves, spaces = [], [], [], [], []
            for seed in range(arguments.seeds):
                with tempfile.TemporaryDirectory() as folder:
                    runs.append(write_encoder(objective, corpus, Path(folder), seed=seed))
                    encoder = sslcore.load(folder)
                    curves.append(ends_of_curve(Path(folder)))
                trained.append(probe(encoder, data))
                untrained = encoder.fresh(torch_generator(seed, "random"))
                spaces.append([space(each, data) for each in (untrained, encoder)])
                if (weights := digest(untrained)) not in of_random:  # many objectives train one architecture
                    of_random[weights] = probe(untrained, data)
                random.append(of_random[weights])
            said: dict[str, Any] = {"set": name, "kind": words}
            for figure in ("tokens_per_second", "waiting_for_data"):
                said[figure] = statistics.median(run[figure] for run in runs)
            said["curve"] = pd.concat(curves).groupby("metric").mean().round(3).T.to_dict("list")
            said["space"] = np.mean(spaces, axis=0).round(3).tolist()
            for budget in map(str, BUDGETS):
                for who, scores in (("trained", trained), ("random", random)):
                    values = [score[budget] for score in scores]
                    said[f"{who} {budget}"] = [
                        round(float(np.mean(values)), 3),
                        round(float(np.std(values, ddof=1)), 3),
                    ]
            say(arguments, said)


def say(arguments: argparse.Namespace, said: dict[str, Any]) -> None:
    print(json.dumps(said, ensure_ascii=False), flush=True)
    if arguments.json:
        with arguments.json.open("a", encoding="utf-8") as file:
            file.write(json.dumps(said, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
