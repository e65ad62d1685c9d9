"""Our TF-IDF against scikit-learn's, and the regression on it."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from sslcore.evaluation.logistic import regress
from sslcore.evaluation.tfidf import tfidf_vectors
from sslcore.finetuning.scores import macro_f1

TEXTS = [
    "The cat sat on the mat; the cat slept.",
    "A dog sat on the log!",
    "the CAT and a dog",
    "  ...  ",
    "Élan vital, élan",
    "élan of the dog: 42 times 42",
    "a new word and the cat sat",
    "unseen entirely",
]
FIT = 6


def test_vectors_are_those_of_scikit_learn() -> None:
    theirs = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2, token_pattern=r"[^\W_]+")
    theirs.fit(TEXTS[:FIT])
    expected = theirs.transform(TEXTS)
    ours = tfidf_vectors(TEXTS, fit_rows=FIT)
    assert ours.shape == expected.shape
    # The columns have another order: the rows' products with each other know nothing of it.
    np.testing.assert_allclose((ours @ ours.T).toarray(), (expected @ expected.T).toarray(), atol=1e-6)
    np.testing.assert_allclose(np.sort(ours.toarray(), axis=1), np.sort(expected.toarray(), axis=1), atol=1e-6)


def test_chinese_gets_characters_and_pairs_of_them() -> None:
    vectors = tfidf_vectors(["我喜歡貓", "我喜歡狗", "天氣"], fit_rows=3)
    assert vectors.shape[1] == 3 + 2  # 我 喜 歡, 我喜 喜歡
    assert vectors[0].nnz == 5
    assert vectors[2].nnz == 0


def test_no_shared_word_is_an_error() -> None:
    with pytest.raises(ValueError, match="no word occurs in 2 of the 2 training texts"):
        tfidf_vectors(["one", "two"], fit_rows=2)


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("classes", [2, 4])
def test_regression_is_scikit_learns_at_the_c_it_chose(sparse: bool, classes: int) -> None:
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((classes, 30))
    truth = np.arange(120) % classes
    rows = (centres[truth] + 2 * generator.standard_normal((120, 30))).astype(np.float32)
    rows[:, 20:] = 0  # columns that training never sees
    features = csr_matrix(rows) if sparse else rows
    train, validation, scored = slice(0, 60), slice(60, 90), slice(90, 120)
    fit = regress(
        features[train],
        truth[train],
        features[validation],
        truth[validation],
        features[scored],
        number_of_classes=classes,
        strengths=(0.001, 0.1, 10.0),
        seed=0,
    )
    expected = {}
    for strength in (0.001, 0.1, 10.0):
        model = LogisticRegression(C=strength, tol=1e-6, max_iter=1000).fit(rows[train], truth[train])
        expected[strength] = macro_f1(truth[validation], model.predict(rows[validation]))
        if strength == fit.strength:
            probabilities = np.exp(fit.logits) / np.exp(fit.logits).sum(axis=1, keepdims=True)
            np.testing.assert_allclose(probabilities, model.predict_proba(rows[scored]), atol=0.02)
    assert expected[fit.strength] >= max(expected.values()) - 0.05
    assert fit.validation_score == pytest.approx(expected[fit.strength], abs=0.05)  # a row may lie on the boundary


def test_without_validation_rows_the_middle_strength_is_taken() -> None:
    rows, truth = np.eye(4, dtype=np.float32), np.array([0, 1, 0, 1])
    fit = regress(rows, truth, rows[:0], truth[:0], rows, number_of_classes=2, strengths=(0.01, 0.1, 1.0), seed=0)
    assert (fit.strength, fit.validation_score) == (0.1, None)
    assert fit.logits.shape == (4, 2)
