"""The rows an evaluation works with: labelled train, validation and test rows, in one numbering.

Rows are numbered train first, then validation, then test. Train rows without a label are kept for what needs no label
(the TF-IDF vocabulary), numbered after the labelled ones. This is where the test split is opened, and nowhere before.
"""

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from sslcore.errors import UserError
from sslcore.evaluation.config import Evaluation
from sslcore.finetuning.encoded import EncodedTexts
from sslcore.finetuning.rows import LabelledRows, labelled_rows, rows_at
from sslcore.randomness import numpy_generator

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from sslcore.corpus.shards import Corpus
    from sslcore.models.encoder import Encoder


class Material:
    """n rows; `train`, `validation` and `test` are row numbers, `classes` places in `labels` (−1: no label)."""

    def __init__(
        self, labels: list[str], train: LabelledRows, validation: LabelledRows, test: LabelledRows, extra: list[str]
    ) -> None:
        self.labels = labels
        self.texts = train.texts + extra + validation.texts + test.texts
        self.test_document_ids = test.document_ids
        self._fit_rows = len(train) + len(extra)
        ends = np.cumsum([self._fit_rows, len(validation), len(test)])
        self.train = np.arange(len(train))
        self.validation = np.arange(ends[0], ends[1])
        self.test = np.arange(ends[1], ends[2])
        self.classes = np.concatenate(
            [train.classes, np.full(len(extra), -1), validation.classes, test.classes]
        ).astype(np.int64)
        self._encoded: dict[tuple[object, ...], EncodedTexts] = {}

    def tfidf(self) -> "csr_matrix":
        """TF-IDF vectors of all rows; vocabulary and idf from every train text, with or without a label."""
        from sslcore.evaluation.tfidf import tfidf_vectors

        return tfidf_vectors(self.texts, fit_rows=self._fit_rows)

    def encoded(self, encoder: "Encoder", maximum_tokens: int) -> EncodedTexts:
        """Token ids of all rows; encoders with one tokenizer share them."""
        tokenizer = encoder.tokenizer
        ngrams = getattr(encoder.network, "space", None)
        key = (tokenizer.specification.model_dump_json(), hash(tuple(tokenizer.tokens)), ngrams, maximum_tokens)
        if key not in self._encoded:
            self._encoded[key] = EncodedTexts.of(self.texts, tokenizer, encoder.network, maximum_tokens=maximum_tokens)
        return self._encoded[key]

    def features(self, encoder: "Encoder", texts: EncodedTexts) -> np.ndarray:
        """float32 [n, dimensions] of the frozen encoder, standardised by the train texts."""
        from sslcore.finetuning.encoded import outputs

        features = outputs(encoder.network, texts)
        fitted = features[: self._fit_rows]
        return (features - fitted.mean(axis=0)) / fitted.std(axis=0).clip(1e-6)


def gather(config: Evaluation, corpus: "Corpus", seed: int) -> tuple[Material, list[str]]:
    """The material of a labelled corpus, and notes on what was left out. Raises UserError below two classes."""
    notes: list[str] = []
    counts = Counter(label for batch in corpus.batches("train", ["label"]) for label in batch["label"].to_pylist())
    unlabelled = counts.pop(None, 0)
    small = sorted(label for label, count in counts.items() if count < config.minimum_rows_per_class)
    labels = sorted(set(counts) - set(small))
    if small:
        rows = sum(counts[label] for label in small)
        notes.append(
            f"{len(small)} of {len(counts)} classes have fewer than {config.minimum_rows_per_class} train rows and are "
            f"left out with their {rows} rows: {listed(small)}."
        )
    if len(labels) < 2:
        found = f"one, {labels[0]!r}" if labels else "none"
        raise UserError(
            f"an evaluation with labels needs two classes of {config.minimum_rows_per_class} or more train rows; found "
            f"{found}{f', and {len(small)} smaller' if small else ''}. Label more rows, or check that --label names "
            "the right column."
        )
    limits: dict[str, int] = {
        "train": config.maximum_train_rows,
        "validation": config.maximum_test_rows,
        "test": config.maximum_test_rows,
    }
    found_rows: dict[str, LabelledRows] = {}
    for split, limit in limits.items():
        rows_of = labelled_rows(corpus, split, labels, maximum=limit, generator=numpy_generator(seed, "rows", split))
        found_rows[split] = rows_of
        if len(rows_of) < rows_of.labelled:
            notes.append(f"{len(rows_of):,} of {rows_of.labelled:,} labelled {split} rows are used, drawn at random.")
        if split != "train" and rows_of.unknown:
            notes.append(f"{rows_of.unknown:,} {split} rows have a label that no train class stands for: not scored.")
    extra: list[str] = []
    if unlabelled and (room := config.maximum_train_rows - len(found_rows["train"])) > 0:
        places = np.flatnonzero(
            np.concatenate([batch["label"].is_null().to_numpy(False) for batch in corpus.batches("train", ["label"])])
        )
        chosen = np.sort(numpy_generator(seed, "rows", "unlabelled").permutation(places)[:room])
        extra = [text for batch in rows_at(corpus, "train", chosen, ["text"]) for text in batch["text"].to_pylist()]
        notes.append(f"{unlabelled:,} train rows have no label; TF-IDF learns words from {len(extra):,} of them too.")
    return Material(labels, found_rows["train"], found_rows["validation"], found_rows["test"], extra), notes


def listed(names: list[str], most: int = 5) -> str:
    """`'a', 'b' and 7 more`."""
    shown = ", ".join(repr(name) for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
