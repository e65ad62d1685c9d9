"""Chinese reviews by what was bought: our own pretrained models, fine-tuned, beside TF-IDF of characters.

    python benchmarks/chinese.py DATA --objectives skip_gram fast_text --seeds 5

DATA holds zh_online_shopping: 62,774 reviews of ten kinds of goods, repeated ones once, every fifth of them to test on.
The encoder pretrains on the other reviews without their labels; then all learn from some labels of each class, or from
all, a tenth of them held out for choosing, with our defaults. TF-IDF is of one to three characters, with the linear
support vector machine whose C is best on the rows held out. Macro F1 on the test rows, mean ± 95 % t interval over
seeds, which draw the labels too; and by how much ours is better, seed by seed.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from objectives import chinese
from probes import objective_from
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

import sslcore
from sslcore.evaluation.statistics import seed_noise
from sslcore.finetuning import FineTuning, fine_tune
from sslcore.finetuning.encoded import EncodedTexts
from sslcore.finetuning.scores import macro_f1
from sslcore.finetuning.shapes.classification import Classification, LabelledTexts
from sslcore.tokenization.encoding import EncodedCorpus
from sslcore.tokenization.tokenizer import fit_tokenizer

CS = (0.1, 1.0, 10.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--objectives", nargs="+", default=["skip_gram", "fast_text"])
    parser.add_argument("--budgets", nargs="+", type=int, default=[10, 30, 100, 0], help="labels a class; 0: all")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    data = chinese(arguments.folder)
    names = sorted(set(data.train_labels))
    classes, truth = (np.searchsorted(names, labels) for labels in (data.train_labels, data.test_labels))
    print(f"{len(classes):,} reviews to learn from, {len(truth):,} to test on, {len(names)} classes")
    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), min_df=2, sublinear_tf=True)
    vectors, test_vectors = vectorizer.fit_transform(data.train), vectorizer.transform(data.test)
    tokenizer = fit_tokenizer(data.words, data.train)
    ids, offsets = tokenizer.encode_batch(data.train)
    corpus = EncodedCorpus(ids, offsets, offsets, tokenizer)
    encoders = {}
    for words in arguments.objectives:
        started = time.perf_counter()
        encoders[words] = sslcore.pretrain(objective_from(words), corpus, seed=0)
        print(f"{words}: pretrained on {corpus.tokens:,} words in {time.perf_counter() - started:.0f} s", flush=True)
    texts = {
        words: [EncodedTexts.of(part, encoder.tokenizer, encoder.network, maximum_tokens=512) for part in data[0:3:2]]
        for words, encoder in encoders.items()
    }

    def linear(train: np.ndarray, held: np.ndarray) -> float:
        models = [LinearSVC(C=c).fit(vectors[train], classes[train]) for c in CS]
        best = max(models, key=lambda model: macro_f1(classes[held], model.predict(vectors[held])))
        return macro_f1(truth, best.predict(test_vectors))

    def ours(words: str, train: np.ndarray, held: np.ndarray, seed: int) -> float:
        read, asked = texts[words]
        parts = [LabelledTexts(read.take(rows), classes[rows]) for rows in (train, held)]
        model = fine_tune(Classification(), encoders[words], *parts, FineTuning(), labels=names, seed=seed)
        return macro_f1(truth, model.logits_of(asked).argmax(axis=1))

    for budget in arguments.budgets:
        scores: dict[str, list[float]] = {}
        for seed in range(arguments.seeds):
            order = np.random.default_rng(seed).permutation(len(classes))
            if budget:
                of_classes = [order[classes[order] == place][:budget] for place in range(len(names))]
                order = np.random.default_rng(seed).permutation(np.concatenate(of_classes))
            held, train = order[: len(order) // 10], order[len(order) // 10 :]
            scores.setdefault("tf-idf", []).append(linear(train, held))
            for words in encoders:
                scores.setdefault(words, []).append(ours(words, train, held, seed))
        for who, found in scores.items():
            values, better = np.array(found), np.array(found) - np.array(scores["tf-idf"])
            difference = "" if who == "tf-idf" else f"   {better.mean():+.3f} ± {seed_noise(better) or 0:.3f}"
            print(
                f"{budget or 'all':>4} {who:<12} {values.mean():.3f} ± {seed_noise(values) or 0:.3f}{difference}",
                flush=True,
            )


if __name__ == "__main__":
    main()
