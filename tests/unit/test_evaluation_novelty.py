"""Scores of novelty: as their papers have them, chosen without novel rows, and served with the model."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.covariance import LedoitWolf
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from sklearn.neighbors import NearestNeighbors

from sslcore.errors import UserError
from sslcore.evaluation.ood import measure_novelty
from sslcore.finetuning import FineTuning, fine_tune
from sslcore.finetuning.confidence import with_confidence
from sslcore.finetuning.encoded import EncodedTexts
from sslcore.finetuning.model import FineTunedModel, features_and_outputs
from sslcore.finetuning.novelty import (
    MOST_ROWS,
    SCORES,
    fit_mahalanobis,
    fit_nearest,
    free_energy,
    mahalanobis,
    nearest,
    softmax_novelty,
    threshold_of,
)
from sslcore.finetuning.novelty_choice import DEFAULT, chosen_score, held_out_auroc
from sslcore.finetuning.separation import auroc, average_precision, false_positive_rate, separation
from sslcore.finetuning.shapes.classification import Classification, LabelledTexts, softmax
from sslcore.models.encoder import Encoder
from sslcore.objectives.skip_gram import SkipGram
from sslcore.tokenization.tokenizer import fit_tokenizer
from sslcore.tokenization.words import Words
from tests.unit.conftest import TOPICS, topic_texts


def blobs(rows: int, seed: int, classes: int = 6, dimensions: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Features around a centre for each class, uneven in their directions."""
    centres = 6 * np.random.default_rng(99).normal(size=(classes, dimensions))
    generator = np.random.default_rng(seed)
    numbers = generator.integers(classes, size=rows)
    return centres[numbers] + generator.normal(size=(rows, dimensions)) * np.linspace(0.2, 3, dimensions), numbers


@pytest.mark.parametrize("digits", [0, 1, 6])  # rounded scores have ties
def test_separation_is_scikit_learns(digits: int) -> None:
    generator = np.random.default_rng(digits)
    inside, outside = generator.normal(size=317).round(digits), generator.normal(1, 1.5, size=103).round(digits)
    truth, scores = np.repeat([0, 1], [317, 103]), np.concatenate([inside, outside])
    assert auroc(inside, outside) == pytest.approx(roc_auc_score(truth, scores))
    assert average_precision(inside, outside) == pytest.approx(average_precision_score(truth, scores))
    false, true, _ = roc_curve(1 - truth, -scores, drop_intermediate=False)  # positive: of the domain
    assert false_positive_rate(inside, outside) == pytest.approx(false[np.argmax(true >= 0.95)])


def test_separation_of_what_cannot_and_of_what_can_be_told_apart() -> None:
    low, high = np.arange(20.0), np.arange(100.0, 130)
    apart = separation(low, high)
    assert (apart.auroc, apart.fpr_at_95_tpr, apart.aupr) == (1, 0, 1)
    assert separation(high, low).auroc == 0
    same = separation(np.ones(20), np.ones(30))
    assert (same.auroc, same.fpr_at_95_tpr, same.aupr) == (0.5, 1, 0.6)
    with pytest.raises(UserError, match="20 rows of the domain and 0 novel ones"):
        separation(low, np.empty(0))


def test_the_scores_of_logits_are_their_formulas() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 7)) * 4
    np.testing.assert_allclose(softmax_novelty(logits), 1 - softmax(logits).max(axis=1), atol=1e-12)
    for temperature in (1.0, 3.0):
        ours = -temperature * np.log(np.exp(logits / temperature).sum(axis=1))
        np.testing.assert_allclose(free_energy(logits, temperature), ours)
    sure = softmax_novelty(np.array([[100.0, 0, 0], [90.0, 0, 0]]))  # 1 − p is 0 for both
    assert 0 < sure[0] < sure[1] < 1e-30


def test_mahalanobis_is_the_distance_under_scikit_learns_covariance() -> None:
    features, classes = blobs(200, seed=0)
    arrays = fit_mahalanobis(features, classes)
    means = np.stack([features[classes == number].mean(axis=0) for number in np.unique(classes)])
    precision = LedoitWolf(assume_centered=True).fit(features - means[classes]).precision_
    scored, _ = blobs(30, seed=1)
    differences = scored[:, None] - means
    by_hand = np.einsum("ncd,de,nce->nc", differences, precision, differences).min(axis=1)
    np.testing.assert_allclose(mahalanobis(scored, arrays), by_hand, rtol=1e-3)


def test_mahalanobis_stands_fewer_rows_than_dimensions() -> None:
    features, _ = blobs(8, seed=0, dimensions=40)
    for classes in (np.arange(8), np.repeat([3, 5], 4)):  # also one row of each class
        distances = mahalanobis(np.concatenate([features, features + 50]), fit_mahalanobis(features, classes))
        assert np.isfinite(distances).all()
        assert distances[:8].max() < distances[8:].min()


def test_nearest_is_the_tenth_neighbour_on_the_unit_sphere() -> None:
    features, _ = blobs(500, seed=0)
    scored, _ = blobs(40, seed=1)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (features, scored)]
    theirs = NearestNeighbors(n_neighbors=10).fit(unit[0]).kneighbors(unit[1])[0][:, -1]
    np.testing.assert_allclose(nearest(scored, fit_nearest(features, np.random.default_rng(0))), theirs, atol=1e-3)
    few = nearest(scored, fit_nearest(features[:3], np.random.default_rng(0)))  # the farthest of three
    np.testing.assert_allclose(few, np.linalg.norm(unit[1][:, None] - unit[0][:3], axis=2).max(axis=1), atol=1e-3)
    many = fit_nearest(np.ones((MOST_ROWS + 5, 2)), np.random.default_rng(0))
    assert many["rows"].shape == (MOST_ROWS, 2)


def test_one_in_twenty_of_the_domain_is_called_novel() -> None:
    """Whatever the distribution is; with few rows it is the highest that sets the threshold."""
    generator = np.random.default_rng(0)
    above = [
        np.mean(generator.exponential(size=1000) > threshold_of(generator.exponential(size=99))) for _ in range(300)
    ]
    assert np.mean(above) == pytest.approx(0.05, abs=0.005)
    assert threshold_of(np.arange(1.0, 101.0)) == 96  # ⌈0.95 · 101⌉
    assert threshold_of(np.array([3.0, 1.0, 2.0])) == 3


def test_the_choice_needs_no_novel_rows() -> None:
    """Classes known in turn are told from the others, of which nothing is learnt."""
    (train, train_classes), (validation, classes) = blobs(600, seed=0), blobs(300, seed=1)
    found = held_out_auroc(train, train_classes, validation, classes, seed=0)
    assert set(found) == set(SCORES)
    assert found["mahalanobis"] > 0.95  # blobs are what it assumes
    assert all(0.3 < value <= 1 for value in found.values())
    assert found == held_out_auroc(train, train_classes, validation, classes, seed=0)
    assert chosen_score({"softmax": 0.8, "energy": 0.9, "nearest": 0.9}) == "energy"
    three = train_classes < 3
    assert held_out_auroc(train[three], train_classes[three], validation, classes % 3, seed=0) == {}
    assert chosen_score({}) == DEFAULT


Made = tuple[FineTunedModel, LabelledTexts, LabelledTexts]


@pytest.fixture(scope="module")
def made() -> Made:
    texts, labels = topic_texts(400, seed=0)
    held_out, held_out_labels = topic_texts(120, seed=1)
    tokenizer = fit_tokenizer(Words(minimum_count=1), texts)
    objective = SkipGram(dimensions=16)
    network = objective.network(tokenizer, torch.Generator().manual_seed(0))
    encoder = Encoder(tokenizer, network, objective.model_dump(mode="json"), 0)
    train, validation = (
        LabelledTexts(
            EncodedTexts.of(part, tokenizer, network, maximum_tokens=512), np.array([TOPICS.index(x) for x in names])
        )
        for part, names in ((texts, labels), (held_out, held_out_labels))
    )
    quick = FineTuning(epochs=2, minimum_steps=60)
    return (fine_tune(Classification(), encoder, train, validation, quick, labels=TOPICS, seed=0), train, validation)


def test_answers_carry_calibrated_probability_and_novelty(made: Made, tmp_path: Path) -> None:
    plain, train, validation = made
    assert plain.description.calibration is None
    texts, _ = topic_texts(100, seed=2)
    common_only = [" ".join(f"common{letter}" for letter in "abcdefghijklmnop")] * 5
    rows = pa.table({"text": texts + common_only})
    assert plain.answers(rows).column_names[:3] == ["label", "probability", "probability of farming"]
    model = with_confidence(plain, train, validation, seed=0)
    np.testing.assert_array_equal(model.logits(texts), plain.logits(texts))
    answers = model.answers(rows)
    assert answers.column_names[:4] == ["label", "probability", "novelty", "is_novel"]
    assert answers["label"].to_pylist() == plain.answers(rows)["label"].to_pylist()
    scaled = softmax(model.logits(texts) / np.float32(model.temperature))
    np.testing.assert_allclose(answers["probability"].to_numpy()[:100], scaled.max(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(model.probabilities(texts), scaled)
    novel = answers["is_novel"].to_numpy()
    assert novel[:100].mean() < 0.15
    threshold = model.description.novelty.threshold
    np.testing.assert_array_equal(novel, answers["novelty"].to_numpy() > threshold)
    model.save(tmp_path)
    loaded = FineTunedModel.load(tmp_path)
    assert loaded.description == model.description
    assert loaded.answers(rows).equals(answers)
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".pkl", ".bin", ".pt")]


@pytest.mark.parametrize("score", SCORES)
def test_every_score_comes_back_from_disk(
    score: str, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sslcore.finetuning.confidence.chosen_score", lambda found: score)
    model = with_confidence(*made, seed=0)
    model.save(tmp_path)
    rows = pa.table({"text": topic_texts(20, seed=3)[0]})
    loaded = FineTunedModel.load(tmp_path)
    assert loaded.answers(rows).equals(model.answers(rows))
    assert (tmp_path / "novelty.safetensors").exists() is (score in ("mahalanobis", "nearest"))
    assert json.loads((tmp_path / "model.json").read_text())["novelty"]["score"] == score


def test_a_detector_of_another_model_is_refused(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sslcore.finetuning.confidence.chosen_score", lambda found: "nearest")
    with_confidence(*made, seed=0).save(tmp_path)
    written = json.loads((tmp_path / "model.json").read_text())
    written["novelty"]["score"] = "mahalanobis"
    (tmp_path / "model.json").write_text(json.dumps(written))
    with pytest.raises(UserError, match=r"holds \['rows'\], but the novelty score mahalanobis needs"):
        FineTunedModel.load(tmp_path)
    (tmp_path / "novelty.safetensors").unlink()
    with pytest.raises(UserError, match=r"novelty\.safetensors is missing"):
        FineTunedModel.load(tmp_path)


def test_novel_rows_measure_what_they_had_no_part_in(made: Made) -> None:
    model, train, validation = made
    model = with_confidence(model, train, validation, seed=0)
    inside = EncodedTexts.of(topic_texts(100, seed=4)[0], model.tokenizer, model.network.encoder, maximum_tokens=64)
    ids = np.random.default_rng(0).choice(train.encoded.ids[:50], size=160).astype(np.int32)
    outside = LabelledTexts(EncodedTexts(ids, np.arange(0, 161, 4)), np.full(40, -1))
    found = measure_novelty(model, train, validation, LabelledTexts(inside, np.zeros(100, int)), outside, seed=0)
    assert [one.score for one in found] == list(SCORES)
    (own,) = (one for one in found if one.chosen)
    assert own.score == model.description.novelty.score
    values = [
        model.detector.novelty(*features_and_outputs(model.network, part)[::-1])
        for part in (LabelledTexts(inside, np.zeros(100, int)), outside)
    ]
    assert own.separation.auroc == pytest.approx(roc_auc_score(np.repeat([0, 1], [100, 40]), np.concatenate(values)))
    assert own.novel_flagged == pytest.approx(np.mean(values[1] > model.description.novelty.threshold))
    with pytest.raises(UserError, match="there are no novel rows"):
        measure_novelty(model, train, validation, validation, outside.take(np.arange(0)), seed=0)


def test_without_validation_rows_nothing_is_made_up(made: Made, tmp_path: Path) -> None:
    plain, train, validation = made
    for nothing in (validation.take(np.arange(0)), LabelledTexts(validation.encoded, np.full(120, -1))):
        model = with_confidence(plain, train, nothing, seed=0)
        assert (model.temperature, model.detector) == (1, None)
        assert "no labelled validation rows" in model.description.calibration.note
        assert "novelty" not in model.answers(pa.table({"text": ["music"]})).column_names
    few = with_confidence(plain, train, validation.take(np.arange(6)), seed=0)
    assert "only 6 validation rows: about 1 in 7" in few.description.novelty.note
