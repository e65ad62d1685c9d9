"""Word benchmarks on vectors whose answers are known, and on gensim's own reading of the same files."""

import numpy as np
import pytest
import torch

from sslcore.evaluation.geometry import geometry, neighbours
from sslcore.evaluation.word_benchmarks import (
    SIMILARITY,
    WordTable,
    analogies,
    answered,
    packaged,
    read_pairs,
    read_questions,
    similarity,
    word_scores,
)
from sslcore.models.encoder import Encoder
from sslcore.objectives.skip_gram import SkipGram
from sslcore.tokenization.tokenizer import fit_tokenizer
from sslcore.tokenization.words import Words


def encoder_of(words: dict[str, list[float]]) -> Encoder:
    """A word encoder with these vectors; earlier words are more frequent."""
    texts = [" ".join([word] * (len(words) + 5 - place)) for place, word in enumerate(words)]
    tokenizer = fit_tokenizer(Words(minimum_count=1), texts)
    objective = SkipGram(dimensions=len(next(iter(words.values()))))
    network = objective.network(tokenizer, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for word, vector in words.items():
            network.vectors[tokenizer.ids[word]] = torch.tensor(vector)
    return Encoder(tokenizer, network, objective.model_dump(mode="json"), 0)


def test_files_hold_the_published_numbers_of_items() -> None:
    assert {name: len(read_pairs(packaged(file))) for name, file in SIMILARITY.items()} == {
        "WordSim-353": 353,
        "SimLex-999": 999,
    }
    sections = read_questions(packaged("questions-words.txt"))
    assert len(sections) == 14
    assert sum(map(len, sections.values())) == 19_544


def test_similarity_is_one_for_vectors_that_agree_with_people() -> None:
    angles = np.linspace(0, 1.5, 12)
    vectors = {"anchor": [1.0, 0.0]} | {f"word{chr(97 + i)}": [np.cos(a), np.sin(a)] for i, a in enumerate(angles)}
    table = WordTable(encoder_of(vectors))
    pairs = [("anchor", word, 10.0 - i) for i, word in enumerate(list(vectors)[1:])]
    agrees = similarity("made", [*pairs, ("anchor", "missing", 3.0)], table)
    assert (agrees.score, agrees.found, agrees.total) == (pytest.approx(1.0), 12, 13)
    opposed = similarity("made", [(a, b, -human) for a, b, human in pairs], table)
    assert opposed.score == pytest.approx(-1.0)
    assert similarity("made", pairs[:5], table).score is None  # five pairs are noise


def test_analogies_are_3cosadd_with_the_question_excluded() -> None:
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((40, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    questions = generator.permuted(np.tile(np.arange(40), (200, 1)), axis=1)[:, :4]
    slow = []
    for a, b, c, d in questions:
        target = vectors[b] - vectors[a] + vectors[c]
        cosines = {i: float(vectors[i] @ target) for i in range(40) if i not in (a, b, c)}
        slow.append(max(cosines, key=cosines.__getitem__) == d)
    assert answered(questions, vectors).tolist() == slow
    assert 0 < sum(slow) < 200


def test_analogy_coverage_counts_only_questions_whose_words_are_all_known() -> None:
    offset = np.array([0.0, 0.0, 0.6])
    base = {f"base{chr(97 + i)}": [np.cos(i), np.sin(i), 0.0] for i in range(6)}
    words = base | {"q" + name: (np.array(v) + offset).tolist() for name, v in base.items()}
    table = WordTable(encoder_of(words))
    names = list(base)
    questions = [(a, "q" + a, b, "q" + b) for a in names for b in names if a != b]
    found = analogies({"made-up": questions, "gram1": [("basea", "nowhere", "baseb", "qbaseb")]}, table)
    by_name = {score.benchmark: score for score in found}
    assert (by_name["Google analogies"].found, by_name["Google analogies"].total) == (30, 31)
    assert by_name["Google analogies, semantic"].score == pytest.approx(1.0)
    assert by_name["Google analogies, syntactic"].score is None


def test_scores_are_gensims_on_the_same_vectors() -> None:
    words = sorted({w for a, b, _ in read_pairs(packaged("wordsim353.tsv")) for w in (a.lower(), b.lower())})
    words = [word for word in words if word.isalpha()]
    generator = np.random.default_rng(1)
    encoder = encoder_of({word: generator.standard_normal(20).tolist() for word in words})
    ours = word_scores(encoder)[0]
    theirs = encoder.to_keyed_vectors().evaluate_word_pairs(str(packaged("wordsim353.tsv")))
    assert ours.score == pytest.approx(theirs[1].statistic, abs=1e-6)
    assert 100 * (1 - ours.found / ours.total) == pytest.approx(theirs[2])


def test_geometry_of_spaces_that_are_known() -> None:
    one_axis = geometry(np.outer(np.array([1.0, -1.0] * 20), np.array([1.0, 0, 0, 0])))
    assert one_axis is not None
    assert one_axis.effective_rank == pytest.approx(1.0)
    spread = geometry(np.random.default_rng(0).standard_normal((1500, 16)))
    assert spread is not None
    assert spread.effective_rank > 15.5
    assert abs(spread.anisotropy) < 0.02
    assert spread.uniformity < -3
    collapsed = geometry(np.ones((50, 4)) + 1e-4 * np.random.default_rng(0).standard_normal((50, 4)))
    assert collapsed is not None
    assert collapsed.anisotropy == pytest.approx(1.0, abs=1e-4)
    assert collapsed.uniformity == pytest.approx(0.0, abs=1e-4)
    assert geometry(np.zeros((5, 3))) is None


def test_neighbours_are_the_nearest_others() -> None:
    found = neighbours(
        encoder_of({"alpha": [1, 0], "beta": [0.9, 0.1], "gamma": [0, 1], "delta": [0.1, 0.9]}), nearest=1
    )
    assert {each.word: each.nearest[0][0] for each in found} == {
        "alpha": "beta",
        "beta": "alpha",
        "gamma": "delta",
        "delta": "gamma",
    }
