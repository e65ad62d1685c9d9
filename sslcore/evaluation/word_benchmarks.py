"""Do the word vectors agree with people: WordSim-353, SimLex-999 and the Google analogies.

Similarity and relatedness (Finkelstein et al. 2002; Hill et al. 2015): Spearman's ρ between cosines and human scores.
Analogies (Mikolov et al. 2013): "a is to b as c is to ?" by 3CosAdd, argmax over the vocabulary of cos(x, b − a + c)
with unit vectors and the three question words excluded. A word is read as the encoder reads a text of that one word, so
encoders of texts are measured too. Pairs and questions with a word the vocabulary lacks are left out, and the coverage
says how many are left: a score over 3 % of the questions is about those 3 %.

The files are those that the gensim package ships as test data, read as text.
"""

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from sslcore.errors import UserError

if TYPE_CHECKING:
    from sslcore.models.encoder import Encoder

SIMILARITY = {"WordSim-353": "wordsim353.tsv", "SimLex-999": "simlex999.txt"}
ANALOGIES = "questions-words.txt"
ANALOGY_VOCABULARY = 30_000  # most frequent tokens an answer may be, as in word2vec's compute-accuracy
QUESTIONS_AT_ONCE = 1024
MINIMUM_PAIRS = 10  # ρ over fewer pairs is noise


class WordScore(BaseModel):
    """One benchmark: its score, and on how much of it."""

    model_config = ConfigDict(frozen=True)

    benchmark: str
    measure: Literal["spearman", "accuracy"]
    score: float | None  # None: too little of it is in the vocabulary
    found: int  # pairs or questions whose words are all in the vocabulary
    total: int


class WordTable:
    """Unit vectors of the vocabulary's tokens, most frequent first, and the token that a word is."""

    def __init__(self, encoder: "Encoder", most: int | None = None) -> None:
        tokenizer = encoder.tokenizer
        counts = np.asarray(tokenizer.counts)
        real = np.arange(tokenizer.first_word_id, tokenizer.vocabulary_size)
        self.ids = real[np.argsort(-counts[real], kind="stable")][:most]
        self.tokens = [tokenizer.tokens[i] for i in self.ids]
        vectors = encoder.encode_ids(self.ids.astype(np.int32), np.arange(len(self.ids) + 1))
        self.vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
        self._tokenizer = tokenizer
        self._place = {int(token): place for place, token in enumerate(self.ids)}
        self._known: dict[str, int | None] = {}

    def place(self, word: str) -> int | None:
        """Row of the word's vector; None unless the tokenizer makes exactly one known token of it."""
        return self.places([word])[0]

    def places(self, words: list[str]) -> list[int | None]:
        """Rows of several words."""
        new = sorted({word for word in words if word not in self._known})
        if new:
            ids, offsets = self._tokenizer.encode_batch(new)
            for word, start, end in zip(new, offsets[:-1], offsets[1:], strict=True):
                self._known[word] = self._place.get(int(ids[start])) if end - start == 1 else None
        return [self._known[word] for word in words]


def word_scores(encoder: "Encoder") -> list[WordScore]:
    """All three benchmarks. Seconds: most of it the analogies' product [questions, D] × [D, vocabulary]."""
    table = WordTable(encoder, ANALOGY_VOCABULARY)
    scores = [similarity(name, read_pairs(packaged(file)), table) for name, file in SIMILARITY.items()]
    return [*scores, *analogies(read_questions(packaged(ANALOGIES)), table)]


def similarity(name: str, pairs: list[tuple[str, str, float]], table: WordTable) -> WordScore:
    """Spearman's ρ of cosines against human scores."""
    from scipy.stats import spearmanr

    first, second = table.places([a for a, _, _ in pairs]), table.places([b for _, b, _ in pairs])
    rows = [
        (a, b, human)
        for a, b, (_, _, human) in zip(first, second, pairs, strict=True)
        if a is not None and b is not None
    ]
    score = None
    if len(rows) >= MINIMUM_PAIRS:
        left, right, human = (np.array(column) for column in zip(*rows, strict=True))
        cosines = (table.vectors[left] * table.vectors[right]).sum(axis=1)
        score = float(spearmanr(cosines, human).statistic)
    return WordScore(benchmark=name, measure="spearman", score=score, found=len(rows), total=len(pairs))


def analogies(sections: dict[str, list[tuple[str, str, str, str]]], table: WordTable) -> list[WordScore]:
    """Accuracy over the semantic and the syntactic sections (those named gram…), and over both."""
    right: dict[str, tuple[int, int, int]] = {}
    for name, questions in sections.items():
        kind = "syntactic" if name.startswith("gram") else "semantic"
        columns = [table.places([question[i] for question in questions]) for i in range(4)]
        rows = [row for row in zip(*columns, strict=True) if None not in row]
        hits = int(answered(np.array(rows, np.int64).reshape(-1, 4), table.vectors).sum())
        before = right.get(kind, (0, 0, 0))
        right[kind] = (before[0] + hits, before[1] + len(rows), before[2] + len(questions))
    right["all"] = tuple(map(sum, zip(*right.values(), strict=True)))  # type: ignore[assignment]
    return [
        WordScore(
            benchmark="Google analogies" + ("" if kind == "all" else f", {kind}"),
            measure="accuracy",
            score=hits / found if found >= MINIMUM_PAIRS else None,
            found=found,
            total=total,
        )
        for kind, (hits, found, total) in reversed(right.items())
    ]


def answered(questions: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """bool [n]: whether 3CosAdd finds the fourth word; questions int[n, 4] are rows of the unit vectors [V, D]."""
    right = np.zeros(len(questions), bool)
    for start in range(0, len(questions), QUESTIONS_AT_ONCE):
        a, b, c, expected = questions[start : start + QUESTIONS_AT_ONCE].T
        cosines = (vectors[b] - vectors[a] + vectors[c]) @ vectors.T
        rows = np.arange(len(a))
        for word in (a, b, c):
            cosines[rows, word] = -np.inf
        right[start : start + len(a)] = cosines.argmax(axis=1) == expected
    return right


def packaged(file: str) -> Path:
    """Where the installed gensim package keeps a benchmark file; gensim itself is not imported."""
    found = find_spec("gensim")
    if found is None or not found.submodule_search_locations:
        raise UserError("the word benchmarks are read from the gensim package: pip install gensim")
    return Path(found.submodule_search_locations[0]) / "test" / "test_data" / file


def read_pairs(path: Path) -> list[tuple[str, str, float]]:
    """(word, word, human score) of each line that is not a comment."""
    lines = (line.split("\t") for line in lines_of(path))
    return [(first, second, float(score)) for first, second, score in lines]


def read_questions(path: Path) -> dict[str, list[tuple[str, str, str, str]]]:
    """Section → questions a, b, c, d."""
    sections: dict[str, list[tuple[str, str, str, str]]] = {}
    questions: list[tuple[str, str, str, str]] = []
    for line in lines_of(path):
        if line.startswith(":"):
            questions = sections.setdefault(line[1:].strip(), [])
        else:
            a, b, c, d = line.split()
            questions.append((a, b, c, d))
    return sections


def lines_of(path: Path) -> Iterable[str]:
    return (line for line in path.read_text("utf-8").splitlines() if line and not line.startswith("#"))
