"""What an ONNX graph says of raw text, by the tokenizer beside it in transformers, is what the model itself answers."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from sslcore.finetuning import FineTuning, confidence, fine_tune
from sslcore.finetuning.confidence import with_confidence
from sslcore.finetuning.model import FineTunedModel
from sslcore.finetuning.novelty import SCORES, Detector, Novelty, Score, fitted
from sslcore.finetuning.novelty import novelty as novelty_by
from sslcore.finetuning.outputs import outputs_of
from sslcore.finetuning.shapes.classification import Classification
from sslcore.finetuning.shapes.pairs import Pairs
from sslcore.finetuning.shapes.registry import AnyShape
from sslcore.finetuning.shapes.spans import SpanExtraction
from sslcore.finetuning.shapes.tagging import Tagging
from sslcore.models.encoder import Encoder
from sslcore.serving.export import export
from sslcore.serving.framed_tokenizer import tokenizer_with_frame
from sslcore.serving.onnx_novelty import NoveltyOutputs
from tests.checkpoints import KINDS, SENTENCES, made_checkpoint
from tests.unit.test_finetuning_pairs import PAIRS

runtime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

WORDS = [sentence.rstrip(".").split() for sentence in SENTENCES]
LONG = "the ship was seen near the river " * 9  # more than the 64 tokens that the checkpoints take


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Encoder]:
    folders = {kind: made_checkpoint(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}
    made = {kind: Encoder.from_huggingface(folder) for kind, folder in folders.items()}
    for encoder in made.values():
        if encoder.network.layered:
            del encoder.network.layers[1:]  # an export's time is that of its layers
    return made


def tuned(shape: AnyShape, encoder: Encoder, rows: pa.Table, most: int = 24) -> FineTunedModel:
    """A model that says different things of different rows."""
    labels = shape.labels_of(rows)
    examples = shape.examples(rows, encoder, labels, maximum_tokens=most)
    config = FineTuning(epochs=1, minimum_steps=12, batch_size=16, learning_rate=2e-3, maximum_tokens=most, patience=99)
    model = fine_tune(shape, encoder, examples, examples, config, labels=labels, seed=0)
    return with_confidence(model, examples, examples, seed=0)


class Exported:
    """The files alone, as somebody has them who has no sslcore."""

    def __init__(self, model: FineTunedModel, folder: Path) -> None:
        from transformers import AutoTokenizer

        self.folder = export(model, folder / "onnx", "onnx")
        self.tokenizer = AutoTokenizer.from_pretrained(self.folder)
        self.session = runtime.InferenceSession(self.folder / "model.onnx")
        self.outputs = [output.name for output in self.session.get_outputs()]

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text("utf-8"))

    def batch(self, *texts: Any, **options: Any) -> Any:
        return self.tokenizer(*texts, padding=True, return_tensors="np", **{"truncation": True, **options})

    def run(self, batch: Any, outputs: list[str]) -> list[np.ndarray]:
        return self.session.run(outputs, dict(batch))


def assert_probabilities(said: np.ndarray, labels: list[str], answers: pa.Table) -> None:
    expected = np.stack([answers[f"probability of {label}"].to_numpy() for label in labels], axis=1)
    assert np.ptp(expected, axis=0).min() > 0.02  # else all would be equal whatever is read
    np.testing.assert_allclose(said, expected, atol=1e-4)
    assert [labels[place] for place in said.argmax(axis=1)] == answers["label"].to_pylist()


@pytest.mark.parametrize("kind", ["electra", "distilbert", "mpnet", "modernbert", "albert", "deberta-v2"])
def test_kinds_that_are_not_as_bert_give_their_vectors(kind: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    encoder = Encoder.from_huggingface(made_checkpoint(kind, tmp_path / "checkpoint"))
    folder = export(encoder, tmp_path / "onnx", "onnx")
    texts = [*SENTENCES[::9], LONG, "ship"]
    batch = AutoTokenizer.from_pretrained(folder)(texts, padding=True, truncation=True, return_tensors="np")
    (vectors,) = runtime.InferenceSession(folder / "model.onnx").run(["text_vector"], dict(batch))
    np.testing.assert_allclose(vectors, encoder.encode(texts), atol=1e-4)


@pytest.mark.parametrize("score", ["nearest", "mahalanobis", "energy"])
def test_classes_are_the_models_calibrated_and_cut_where_it_cuts(
    encoders: dict[str, Encoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, score: Score
) -> None:
    monkeypatch.setattr(confidence, "chosen_score", lambda found: score)
    labels = ["ship" if "ship" in text else "other" for text in SENTENCES]
    model = tuned(Classification(), encoders["bert"], pa.table({"text": SENTENCES, "label": labels}))
    assert model.temperature != 1
    exported = Exported(model, tmp_path)
    texts = [*SENTENCES[::9], LONG, "ship " * 30 + "quokka " * 30, "", "ship"]
    batch = exported.batch(texts)
    assert batch["input_ids"].shape == (len(texts), 24 + 2)
    vectors, probabilities, novelty, novel = exported.run(
        batch, ["text_vector", "probabilities", "novelty", "is_novel"]
    )
    answers = model.answers(pa.table({"text": texts}))
    assert_probabilities(probabilities, exported.json("labels.json"), answers)
    assert not vectors[texts.index("")].any()
    expected = answers["novelty"].to_numpy()
    np.testing.assert_allclose(novelty, expected, rtol=1e-3, atol=1e-4)
    assert model.detector is not None
    threshold = model.detector.description.threshold
    # The threshold is a validation row's own novelty: a text that says the same as that row lies on either side of it.
    far = np.abs(expected - threshold) > 1e-4 + 1e-3 * abs(threshold)
    assert far.sum() > len(texts) / 2
    np.testing.assert_array_equal(novel[far], answers["is_novel"].to_numpy()[far])


@pytest.mark.parametrize("score", SCORES)
def test_every_score_of_novelty_is_the_models(score: Score) -> None:
    rng = np.random.default_rng(0)
    features, classes = rng.normal(size=(60, 8)).astype(np.float32), np.arange(60) % 3
    logits = (30 * rng.normal(size=(60, 3))).astype(np.float32)  # so sure that 1 - p is 0 in some
    arrays = fitted(score, features[:40], classes[:40], seed=0)
    expected = novelty_by(score, arrays, logits, features)
    threshold = float(np.median(expected))
    outputs = NoveltyOutputs(Detector(Novelty(score=score, threshold=threshold, rows=60, auroc={}), arrays))
    said = outputs(torch.from_numpy(logits), torch.from_numpy(features))
    assert len(set(expected)) > 30
    np.testing.assert_allclose(said["novelty"], expected, rtol=1e-4, atol=1e-30)
    far = np.abs(expected - threshold) > 1e-4 * abs(threshold)
    np.testing.assert_array_equal(said["is_novel"].numpy()[far], (expected > threshold)[far])


def test_each_label_of_several_has_a_probability(encoders: dict[str, Encoder], tmp_path: Path) -> None:
    labels = [[word for word in ("ship", "river") if word in text] for text in SENTENCES]
    rows = pa.table({"text": SENTENCES, "label": labels})
    model = tuned(Classification(multi_label=True), encoders["gpt2"], rows)
    exported = Exported(model, tmp_path)
    texts = [*SENTENCES[::9], ""]  # the frame of GPT-2 is of a token that a text may have too
    (said,) = exported.run(exported.batch(texts), ["probabilities"])
    answers = model.answers(pa.table({"text": texts}))
    names = exported.json("labels.json")
    np.testing.assert_allclose(said, np.stack([answers[f"probability of {n}"] for n in names], axis=1), atol=1e-4)
    assert [[names[i] for i in np.flatnonzero(row)] for row in said >= 0.5] == answers["label"].to_pylist()


def tagged() -> pa.Table:
    tags = [["B" if word in ("ship", "river", "May") else "O" for word in words] for words in WORDS]
    return pa.table({"tokens": WORDS, "tags": tags})


def tokens_of_words(exported: Exported, rows: list[list[str]], *, last: bool) -> tuple[Any, list[list[int]]]:
    """The batch of words, each written after a space, and of each row the token that stands for each word."""
    batch = exported.batch([[f" {word}" for word in words] for words in rows], is_split_into_words=True)
    places = []
    for row in range(len(rows)):
        found: dict[int, int] = {}
        for place, word in enumerate(batch.word_ids(row)):
            if word is not None and (last or word not in found):
                found[word] = place
        places.append([found[word] for word in sorted(found)])
    return batch, places


def test_tags_are_those_of_each_words_first_token(encoders: dict[str, Encoder], tmp_path: Path) -> None:
    model = tuned(Tagging(), encoders["roberta"], tagged())
    exported = Exported(model, tmp_path)
    rows = [*WORDS[::9], ["May"], ["unbelievable", "ships"], ["ship"] * 90]
    batch, places = tokens_of_words(exported, rows, last=False)
    scores, probabilities = exported.run(batch, ["tag_scores", "probabilities"])
    np.testing.assert_allclose(torch.tensor(scores).softmax(-1).numpy(), probabilities, atol=1e-5)
    labels = exported.json("labels.json")
    answers = model.answers(pa.table({"tokens": rows})).to_pylist()
    assert {tag for answer in answers for tag in answer["tags"]} == {"B", "O"}
    assert any(len(words) < len(row) for words, row in zip(places, batch["input_ids"], strict=True))
    for row, answer in enumerate(answers):
        read = len(rows[row]) - answer["words_not_read"]
        said = probabilities[row, places[row][:read]]
        assert [labels[i] for i in said.argmax(axis=1)] == answer["tags"][:read]
        np.testing.assert_allclose(said.max(axis=1), answer["probabilities"][:read], atol=1e-4)


def best_path(scores: np.ndarray, crf: dict[str, Any]) -> tuple[int, ...]:
    """Of all paths through [words, tags] the one that scores highest."""

    def score(path: tuple[int, ...]) -> float:
        steps = sum(crf["transitions"][a][b] for a, b in itertools.pairwise(path))
        return sum(scores[i][tag] for i, tag in enumerate(path)) + steps + crf["start"][path[0]] + crf["end"][path[-1]]

    return max(itertools.product(range(scores.shape[1]), repeat=len(scores)), key=score)


def test_a_crfs_best_path_is_found_from_what_is_written(encoders: dict[str, Encoder], tmp_path: Path) -> None:
    model = tuned(Tagging(crf=True), encoders["gpt2"], tagged())
    with torch.no_grad():  # transitions that decide
        model.network.crf.transitions.copy_(torch.tensor([[-3.0, 0.5], [1.0, 0.0]]))
        model.network.crf.start_transitions.copy_(torch.tensor([0.4, 0.0]))
    exported = Exported(model, tmp_path)
    assert "probabilities" not in exported.outputs
    rows = [words[:7] for words in WORDS[::9]]
    batch, places = tokens_of_words(exported, rows, last=True)
    (scores,) = exported.run(batch, ["tag_scores"])
    labels, crf = exported.json("labels.json"), exported.json("transitions.json")
    of_words = [scores[row, places[row]] for row in range(len(rows))]
    said = [[labels[tag] for tag in best_path(of_row, crf)] for of_row in of_words]
    assert said == model.answers(pa.table({"tokens": rows}))["tags"].to_pylist()
    assert said != [[labels[tag] for tag in of_row.argmax(axis=1)] for of_row in of_words]


def pairs() -> pa.Table:
    first, second = SENTENCES[:48], [SENTENCES[7 * i % len(SENTENCES)] for i in range(48)]
    says = [("ship" in a, "river" in b) for a, b in zip(first, second, strict=True)]
    labels, scores = [f"{a} {b}" for a, b in says], [3.0 * a + b for a, b in says]
    return pa.table({"text": first, "text_b": second, "label": labels, "score": scores})


ASKED = pa.table({"text": [a for a, _ in PAIRS] + SENTENCES[:9], "text_b": [b for _, b in PAIRS] + SENTENCES[8::-1]})


@pytest.mark.parametrize("kind", KINDS)
def test_the_tokenizer_frames_and_cuts_pairs_as_the_network_does(encoders: dict[str, Encoder], kind: str) -> None:
    encoder = encoders[kind]
    examples = Pairs(says="score").examples(ASKED, encoder, (), maximum_tokens=512)
    first, second = ((texts.ids, texts.offsets) for texts in examples.texts)
    sequences = encoder.network.framed_pairs(first, second, torch.device("cpu"))
    said = tokenizer_with_frame(encoder)(*(ASKED[name].to_pylist() for name in ASKED.column_names), truncation=True)
    assert ("token_type_ids" in said) == encoder.network.tells_apart
    for row, ids in enumerate(said["input_ids"]):
        part = slice(*sequences.offsets[row : row + 2])
        assert ids == sequences.ids[part].tolist()
        if sequences.kinds is not None:
            assert said["token_type_ids"][row] == sequences.kinds[part].tolist()


def assert_of_pairs(exported: Exported, batch: dict[str, np.ndarray], says: str, answers: pa.Table) -> None:
    if says == "class":
        assert_probabilities(*exported.run(batch, ["probabilities"]), exported.json("labels.json"), answers)
        return
    (scores,) = exported.run(batch, ["score"])
    assert np.ptp(scores) > 0.1
    np.testing.assert_allclose(scores, answers["score"].to_numpy(), atol=1e-4)


@pytest.mark.parametrize(("kind", "says"), [("bert", "class"), ("gpt2", "score")])
def test_a_cross_encoder_reads_both_texts_in_one_sequence(
    encoders: dict[str, Encoder], kind: str, says: Any, tmp_path: Path
) -> None:
    model = tuned(Pairs(says=says), encoders[kind], pairs())
    exported = Exported(model, tmp_path)
    batch = exported.batch(*(ASKED[name].to_pylist() for name in ASKED.column_names))
    assert_of_pairs(exported, batch, says, model.answers(ASKED))
    assert (exported.folder / "labels.json").exists() == (says == "class")


@pytest.mark.parametrize(("kind", "says"), [("bert", "class"), ("roberta", "score")])
def test_a_bi_encoder_reads_each_text(encoders: dict[str, Encoder], kind: str, says: Any, tmp_path: Path) -> None:
    model = tuned(Pairs(says=says, architecture="bi_encoder"), encoders[kind], pairs())
    exported = Exported(model, tmp_path)
    texts = ASKED.filter([len(second) < 100 for second in ASKED["text_b"].to_pylist()])
    first, second = (exported.batch(texts[name].to_pylist()) for name in texts.column_names)
    assert first["input_ids"].shape != second["input_ids"].shape
    batch = {**first, **{f"{name}_b": array for name, array in second.items()}}
    assert_of_pairs(exported, batch, says, model.answers(texts))


def test_spans_are_those_of_the_passages_tokens(encoders: dict[str, Encoder], tmp_path: Path) -> None:
    shape = SpanExtraction(null_threshold=0.0, maximum_answer_tokens=6)
    asked = [["Where?", "Who was seen?", "When was that, and who was it?"][i % 3] for i in range(48)]
    answers = [
        [{"text": (word := text.split()[i % 3 + 1]), "start": text.index(f" {word}") + 1}] if i % 4 else []
        for i, text in enumerate(SENTENCES[:48])
    ]
    train = pa.table({"question": asked, "passage": SENTENCES[:48], "answers": answers})
    model = tuned(shape, encoders["bert"], train, most=48)
    exported = Exported(model, tmp_path)
    rows = train.slice(5, 12).drop(["answers"])
    questions, passages = rows["question"].to_pylist(), rows["passage"].to_pylist()
    batch = exported.batch(questions, passages, truncation="only_second", return_offsets_mapping=True)
    ends = batch.pop("offset_mapping")
    scores = np.stack(exported.run(batch, ["start_scores", "end_scores"]), axis=-1)
    placed, said = [], []
    for row, passage in enumerate(passages):
        first, *inside = [0, *(i for i, of in enumerate(batch.sequence_ids(row)) if of == 1)]
        placed.append(scores[row, [first, *inside]])
        spans = [(i, j) for i in inside for j in inside if i <= j < i + shape.maximum_answer_tokens]
        best = max(spans, key=lambda span: scores[row, span[0], 0] + scores[row, span[1], 1])
        nothing = scores[row, first].sum() > scores[row, best[0], 0] + scores[row, best[1], 1]
        said.append("" if nothing else passage[ends[row, best[0], 0] : ends[row, best[1], 1]].strip())
    examples = shape.examples(rows, model.encoder, (), maximum_tokens=48)
    np.testing.assert_allclose(np.concatenate(placed), outputs_of(model.network, examples), atol=1e-4)
    assert said == model.answers(rows)["answer"].to_pylist()
    assert len(set(said)) > 1
