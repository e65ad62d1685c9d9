"""Fine-tuning: it learns what can be learnt, moves what it may move, and comes back from disk as it was."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from sslcore.contracts import check_folder
from sslcore.corpus.shards import Corpus
from sslcore.errors import UserError
from sslcore.finetuning import FineTuning, fine_tune, write_finetuned_model
from sslcore.finetuning.encoded import EncodedTexts, outputs
from sslcore.finetuning.model import FineTunedModel
from sslcore.finetuning.restriction import VocabularyRestriction
from sslcore.finetuning.rows import CorpusRows
from sslcore.finetuning.scores import accuracy
from sslcore.finetuning.shapes.classification import Classification, LabelledTexts, softmax
from sslcore.models.encoder import Encoder
from sslcore.models.transformer import tokens_at_once
from sslcore.objectives.denoising_autoencoder import DenoisingAutoencoder
from sslcore.objectives.masked_lm import MaskedLM
from sslcore.objectives.skip_gram import SkipGram
from sslcore.training.devices import torch_threads
from tests.checkpoints import KINDS, SENTENCES, made_checkpoint
from tests.topics import CLASS, QUICK, TOPICS, Task, labelled, topic_task, untrained
from tests.unit.conftest import topic_texts

PLACES = ("harbour", "police", "river")


@pytest.fixture(scope="module")
def task() -> Task:
    return topic_task()


def weights(model: FineTunedModel) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.network.state_dict().items()}


def test_a_separable_task_is_learnt_from_nothing(task: Task) -> None:
    encoder, train, validation = task
    texts, labels = topic_texts(200, seed=2)
    model = fine_tune(CLASS, encoder, train, validation, QUICK, labels=TOPICS, seed=0)
    assert np.mean([a == b for a, b in zip(model.predict(texts), labels, strict=True)]) > 0.95
    assert model.training.validation["macro_f1"] > 0.95
    assert model.training.steps <= QUICK.steps(len(train))


def test_unfrozen_moves_the_encoder_and_leaves_the_one_given_alone(task: Task) -> None:
    encoder, train, validation = task
    before = encoder.network.vectors.detach().clone()
    model = fine_tune(CLASS, encoder, train, validation, QUICK, labels=TOPICS, seed=0)
    assert torch.equal(encoder.network.vectors, before)
    assert not torch.allclose(model.network.encoder.vectors, before)


def test_frozen_moves_the_head_and_nothing_else(task: Task) -> None:
    encoder, train, validation = task
    config = FineTuning(freezing="encoder", epochs=2, minimum_steps=60)
    model = fine_tune(CLASS, encoder, train, validation, config, labels=TOPICS, seed=0)
    for name, tensor in encoder.network.state_dict().items():
        assert torch.equal(model.network.encoder.state_dict()[name], tensor), name
    assert model.network.head.weight.abs().sum() > 0
    assert {block.name: block.trainable for block in model.training.blocks} == {"vectors": 0, "head": 4 * 16 + 4}
    assert model.training.total_parameters == encoder.network.vectors.numel() + 4 * 16 + 4


def test_frozen_embeddings_stay_and_the_layers_above_move() -> None:
    texts, labels = topic_texts(100, seed=0)
    encoder = untrained(texts, DenoisingAutoencoder())
    groups = encoder.layer_groups()
    train = labelled(encoder, texts, labels)
    config = FineTuning(freezing="embeddings", epochs=1, minimum_steps=10)
    model = fine_tune(CLASS, encoder, train, train, config, labels=TOPICS, seed=0)
    for place, (group, names) in enumerate(groups):
        for name in names:
            same = torch.equal(
                dict(model.network.encoder.named_parameters())[name], encoder.network.get_parameter(name)
            )
            assert same is (place == 0), (group, name)


def test_rows_of_tokens_that_training_never_saw_do_not_move(task: Task) -> None:
    encoder, train, validation = task
    few = LabelledTexts(train.encoded.take(np.arange(8)), train.classes[:8])
    model = fine_tune(CLASS, encoder, few, validation, QUICK, labels=TOPICS, seed=0)
    moved = (model.network.encoder.vectors != encoder.network.vectors).any(dim=1).numpy()
    assert set(np.flatnonzero(moved)) == set(np.unique(few.encoded.ids))


def test_a_restricted_network_reads_the_same_and_comes_back_whole(task: Task) -> None:
    encoder, train, _ = task
    few = train.encoded.take(np.arange(5))
    restriction = VocabularyRestriction(encoder.known_ids, 5, few)
    small = restriction.network(encoder.network)
    assert small.vectors.shape[0] == len(np.union1d(np.arange(5), few.ids)) < encoder.tokenizer.vocabulary_size
    np.testing.assert_array_equal(outputs(small, restriction.texts(few)), outputs(encoder.network, few))
    whole = restriction.put_back(small, encoder.network)
    assert torch.equal(whole.vectors, encoder.network.vectors)
    assert whole.vectors is not encoder.network.vectors


def test_a_transformer_is_fine_tuned_restricted_and_repeatably() -> None:
    """Its frame's tokens keep their ids in the smaller vocabulary, and its own dropout follows from the seed."""
    texts, labels = topic_texts(60, seed=0)
    encoder = untrained(texts, MaskedLM(size="tiny", maximum_tokens=32, batch_tokens=64))
    train = labelled(encoder, texts, labels)
    few = train.encoded.take(np.arange(7))
    restriction = VocabularyRestriction(encoder.known_ids, 5, few)
    small = restriction.network(encoder.network)
    assert small.model.get_input_embeddings().weight.shape[0] < encoder.tokenizer.vocabulary_size
    np.testing.assert_allclose(outputs(small, restriction.texts(few)), outputs(encoder.network, few), atol=1e-6)
    config = FineTuning(epochs=1, minimum_steps=120, learning_rate=1e-3)
    first, again = (fine_tune(CLASS, encoder, train, train, config, labels=TOPICS, seed=1) for _ in range(2))
    assert accuracy(train.classes, first.logits_of(train.encoded).argmax(axis=1)) > 0.9
    assert all(torch.equal(value, weights(again)[name]) for name, value in weights(first).items())


@pytest.mark.parametrize("kind", KINDS)
def test_a_public_encoder_of_any_kind_is_fine_tuned(kind: str, tmp_path: Path) -> None:
    """With all but the last layer frozen, on the tokens that occur."""
    encoder = Encoder.from_huggingface(made_checkpoint(kind, tmp_path))
    classes = [PLACES.index(word) for text in SENTENCES for word in text.split() if word in PLACES]
    train = labelled(encoder, SENTENCES, [TOPICS[number] for number in classes])
    groups = dict(encoder.layer_groups())
    freezing = "first_1" if len(groups) > 2 else "embeddings"  # ALBERT's layers are one
    config = FineTuning(freezing=freezing, epochs=1, minimum_steps=60, learning_rate=1e-3)
    model = fine_tune(CLASS, encoder, train, train.take(np.arange(0)), config, labels=TOPICS, seed=0)
    losses = [value for _, name, value in model.curve if name == "loss"]
    assert losses[-1] < 0.8 * losses[0]
    before = encoder.network.state_dict()
    moved = {
        name for name, tensor in model.network.encoder.state_dict().items() if not torch.equal(tensor, before[name])
    }
    assert moved == set(groups[list(groups)[-1]])


def test_a_frame_from_the_end_of_the_vocabulary_is_kept(tmp_path: Path) -> None:
    """GPT-2 frames with its last token; its vocabulary has no special ones before the words."""
    encoder = Encoder.from_huggingface(made_checkpoint("gpt2", tmp_path))
    frame = encoder.network.frame
    assert frame[0] == encoder.known_ids - 1
    few = labelled(encoder, SENTENCES[:3], TOPICS[:3]).encoded
    restriction = VocabularyRestriction(encoder.known_ids, encoder.tokenizer.first_word_id, few, frame=frame)
    small = restriction.network(encoder.network)
    assert small.frame[0] == len(np.unique(few.ids))
    np.testing.assert_allclose(outputs(small, restriction.texts(few)), outputs(encoder.network, few), atol=1e-6)
    assert restriction.put_back(small, encoder.network).frame == frame


@pytest.mark.parametrize(("kind", "padding"), [("bert", 0), ("modernbert", None)])
def test_paddings_row_is_no_other_tokens(kind: str, padding: int | None, tmp_path: Path) -> None:
    """torch gives it no gradient. ModernBERT has it among its last tokens, of which only those that occur are kept."""
    encoder = Encoder.from_huggingface(made_checkpoint(kind, tmp_path))
    whole = encoder.network.model.get_input_embeddings()
    assert whole.padding_idx == encoder.tokenizer.padding_id
    few = labelled(encoder, SENTENCES[:3], TOPICS[:3]).encoded
    first, frame = encoder.tokenizer.first_word_id, encoder.network.frame
    restriction = VocabularyRestriction(encoder.known_ids, first, few, frame=frame)
    assert restriction.network(encoder.network).model.get_input_embeddings().padding_idx == padding
    assert whole.padding_idx == encoder.tokenizer.padding_id


def test_side_by_side_they_draw_as_alone() -> None:
    """Threads share torch's generator, from which a transformer's dropout draws."""
    texts, labels = topic_texts(60, seed=0)
    encoder = untrained(texts, MaskedLM(size="tiny", maximum_tokens=32, batch_tokens=64))
    train = labelled(encoder, texts, labels)
    config = FineTuning(epochs=1, minimum_steps=30, learning_rate=1e-3)

    def trained(seed: int) -> dict[str, torch.Tensor]:
        return weights(fine_tune(CLASS, encoder, train, train, config, labels=TOPICS, seed=seed))

    with torch_threads(1):
        alone = [trained(seed) for seed in range(4)]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(trained, range(4)))
    for one, other in zip(alone, together, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_many_texts_at_once_are_encoded_as_a_few() -> None:
    texts, _ = topic_texts(60, seed=0)
    encoder = untrained(texts, MaskedLM(size="tiny", maximum_tokens=32, batch_tokens=64))
    many = [*texts, "", *texts] * 20
    ids, offsets = encoder.tokenizer.encode_batch(many)
    assert len(ids) > tokens_at_once(torch.device("cpu"))
    np.testing.assert_allclose(encoder.encode_ids(ids, offsets)[: len(texts)], encoder.encode(texts), atol=1e-6)


def test_one_seed_gives_the_same_weights_and_touches_no_global_generator(task: Task) -> None:
    encoder, train, validation = task
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, again, other = (
        weights(fine_tune(CLASS, encoder, train, validation, QUICK, labels=TOPICS, seed=seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_metrics_and_progress_are_told_as_they_come(task: Task) -> None:
    encoder, train, validation = task
    told: list[tuple[int, dict[str, float]]] = []
    fractions: list[float] = []
    model = fine_tune(
        CLASS, encoder, train, validation, QUICK, labels=TOPICS, seed=0,
        progress=lambda fraction, _: fractions.append(fraction),
        on_metrics=lambda step, metrics: told.append((step, dict(metrics))),
    )  # fmt: skip
    assert [step for step, _ in told] == list(range(1, model.training.steps + 1))
    assert model.curve == [
        (step, name, value) for step, metrics in told for name, value in metrics.items() if name != "done"
    ]
    assert fractions == sorted(fractions)
    assert 0 < fractions[0] <= fractions[-1] <= 1


def test_a_model_comes_back_from_disk_with_equal_logits(task: Task, tmp_path: Path) -> None:
    encoder, train, validation = task
    model = fine_tune(CLASS, encoder, train, validation, QUICK, labels=TOPICS, seed=0)
    model.save(tmp_path)
    texts, _ = topic_texts(20, seed=3)
    texts += ["", "nothing known here"]
    loaded = FineTunedModel.load(tmp_path)
    np.testing.assert_array_equal(loaded.logits(texts), model.logits(texts))
    assert loaded.labels == tuple(TOPICS)
    assert loaded.curve == model.curve
    assert loaded.description == model.description
    probabilities = loaded.probabilities(texts)
    assert probabilities.shape == (22, 4)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert loaded.predict(texts) == [TOPICS[i] for i in probabilities.argmax(axis=1)]
    assert loaded.predict([]) == []
    assert json.loads((tmp_path / "model.json").read_text())["labels"] == TOPICS
    check_folder("finetuned_model", tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".pkl", ".bin", ".pt")]


def test_a_damaged_model_is_refused_by_name(task: Task, tmp_path: Path) -> None:
    encoder, train, validation = task
    fine_tune(CLASS, encoder, train, validation, QUICK, labels=TOPICS, seed=0).save(tmp_path)
    tensors = load_file(tmp_path / "weights.safetensors")
    save_file(
        {name: tensor for name, tensor in tensors.items() if name != "head.bias"}, tmp_path / "weights.safetensors"
    )
    with pytest.raises(UserError, match=r"head\.bias \[4\] is missing"):
        FineTunedModel.load(tmp_path)
    save_file(tensors, tmp_path / "weights.safetensors")
    description = json.loads((tmp_path / "model.json").read_text())
    for wrong, message in (
        ({**description, "labels": TOPICS[:3]}, r"head\.bias has shape \[4\], expected \[3\]"),
        ({**description, "format": 99}, "update sslcore"),
        ({**description, "labels": None}, "labels"),
    ):
        (tmp_path / "model.json").write_text(json.dumps(wrong))
        with pytest.raises(UserError, match=message):
            FineTunedModel.load(tmp_path)
    (tmp_path / "model.json").unlink()
    with pytest.raises(UserError, match=r"model\.json is missing"):
        FineTunedModel.load(tmp_path)


def test_one_string_in_place_of_a_list_is_an_error(task: Task) -> None:
    encoder, train, validation = task
    model = fine_tune(CLASS, encoder, train, validation, FineTuning(epochs=1, minimum_steps=1), labels=TOPICS, seed=0)
    with pytest.raises(UserError, match=r"predict\(\[text\]\)"):
        model.predict("a text")  # type: ignore[arg-type]


def test_writing_a_model_from_a_corpus(corpus_of: Callable[..., Corpus], tmp_path: Path) -> None:
    texts, labels = topic_texts(200, seed=0)
    held_out, held_out_labels = topic_texts(60, seed=1)
    partly: list[str | None] = [None if i % 5 == 0 else label for i, label in enumerate(labels)]
    corpus = corpus_of(train=(texts, partly), validation=(held_out[:-1], held_out_labels[:-1]))
    folder = tmp_path / "model"
    folder.mkdir()
    summary = write_finetuned_model(CLASS, QUICK, untrained(texts), CorpusRows(corpus), folder, seed=0)
    check_folder("finetuned_model", folder)
    assert summary["labels"] == TOPICS
    assert (summary["train_rows"], summary["validation_rows"], summary["rows_left_out"]) == (160, 59, {"no label": 40})
    assert summary["validation"]["macro_f1"] > 0.9
    assert [block["name"] for block in summary["blocks"]] == ["vectors", "head"]
    assert json.loads(json.dumps(summary)) == summary
    assert accuracy(np.array(held_out_labels), np.array(FineTunedModel.load(folder).predict(held_out))) > 0.9


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "no labelled rows to train on"),
        ([None] * 8, "no labelled rows to train on"),
        (["music"] * 8, r"every labelled row has the same class, 'music' \(8 rows\)"),
    ],
)
def test_nothing_to_learn_is_the_users_mistake(
    labels: list[str | None] | None, message: str, corpus_of: Callable[..., Corpus], tmp_path: Path
) -> None:
    texts, _ = topic_texts(8, seed=0)
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(UserError, match=message):
        write_finetuned_model(
            CLASS, QUICK, untrained(texts), CorpusRows(corpus_of(train=(texts, labels))), folder, seed=0
        )
    assert not list(folder.iterdir())


def test_questions_are_classified(data: Path) -> None:
    """TREC-6 (Li & Roth 2002), from nothing: a bag-of-words network reaches about 0.83."""
    rows = {}
    for split in ("TREC.train.all", "TREC.test.all"):
        lines = (data / "text_classification" / "en_trec6" / split).read_text("latin-1").splitlines()
        rows[split] = [line.split(" ", 1) for line in lines]
    train, test = rows["TREC.train.all"], rows["TREC.test.all"]
    encoder = untrained([text for _, text in train], SkipGram(dimensions=50))
    names = sorted({label for label, _ in train})
    learn, choose, score = (
        labelled(encoder, [text for _, text in part], [label for label, _ in part], names)
        for part in (train[500:], train[:500], test)
    )
    model = fine_tune(CLASS, encoder, learn, choose, FineTuning(), labels=names, seed=0)
    assert accuracy(score.classes, model.logits_of(score.encoded).argmax(axis=1)) > 0.75


def test_encoded_texts_are_taken_and_cut_without_mixing_them() -> None:
    texts = EncodedTexts(np.array([1, 2, 3, 4, 5, 6], np.int32), np.array([0, 3, 3, 6]))
    taken = texts.take(np.array([2, 1, 0, 2]), maximum_tokens=2)
    assert taken.ids.tolist() == [4, 5, 1, 2, 4, 5]
    assert taken.offsets.tolist() == [0, 2, 2, 4, 6]


def label_sets(texts: list[str], topics: list[str]) -> pa.Table:
    """Each text's topic is one of its labels; music is loud too, and weaving is nothing at all."""
    sets = {"music": ["music", "loud"], "weaving": []}
    return pa.table({"text": texts, "label": [sets.get(topic, [topic]) for topic in topics]})


def test_texts_of_several_labels_or_none_are_learnt(tmp_path: Path) -> None:
    shape = Classification(multi_label=True)
    train, validation, test = (label_sets(*topic_texts(n, seed)) for n, seed in ((400, 0), (80, 1), (200, 2)))
    encoder = untrained(train["text"].to_pylist())
    labels = shape.labels_of(train)
    assert labels == ("farming", "loud", "music", "sailing")
    learn, choose = (shape.examples(part, encoder, labels, maximum_tokens=512) for part in (train, validation))
    model = fine_tune(shape, encoder, learn, choose, FineTuning(epochs=4), labels=labels, seed=0)
    assert set(model.training.validation) == {"macro_f1", "micro_f1", "loss"}
    assert model.training.validation["macro_f1"] > 0.9
    said = model.answers(test)
    right = [set(a) == set(b) for a, b in zip(said["label"].to_pylist(), test["label"].to_pylist(), strict=True)]
    assert np.mean(right) > 0.9
    for label in labels:
        probable = np.array(said[f"probability of {label}"].to_pylist()) >= 0.5
        assert probable.tolist() == [label in row for row in said["label"].to_pylist()]
    model.save(tmp_path)
    assert FineTunedModel.load(tmp_path).answers(test.drop_columns(["label"])).equals(said)
    with pytest.raises(UserError, match=r"answers\(table with columns text\)"):
        model.predict(["a text"])


def test_sets_of_labels_are_learnt_by_binary_cross_entropy_alone() -> None:
    for fields in ({"focal_gamma": 2}, {"class_weights": "balanced"}, {"label_smoothing": 0.1}, {"metric": "mcc"}):
        with pytest.raises(ValidationError, match="with multi_label the loss is binary cross-entropy"):
            Classification(multi_label=True, **fields)
    encoder = untrained(topic_texts(8, seed=0)[0])
    rows = pa.table({"text": ["a", "b"], "label": [["x"], ["x"]]})
    shape = Classification(multi_label=True)
    examples = shape.examples(rows, encoder, ("x",), maximum_tokens=9)
    with pytest.raises(UserError, match="every row has the same labels"):
        shape.check(examples, ("x",))


def test_balanced_classes_find_the_rare_one_and_the_summary_says_so(task: Task) -> None:
    encoder, train, validation = task
    rare = train.classes == 3
    rows = np.concatenate([np.flatnonzero(~rare), np.flatnonzero(rare)[:20]])
    config = FineTuning(epochs=1, minimum_steps=40, patience=12)
    recalls = []
    for shape in (CLASS, Classification(class_weights="balanced")):
        model = fine_tune(shape, encoder, train.take(rows), validation, config, labels=TOPICS, seed=0)
        found = model.logits_of(validation.encoded).argmax(axis=1) == 3
        recalls.append(found[validation.classes == 3].mean())
    assert recalls[1] > recalls[0] + 0.2
    (note,) = model.training.notes
    assert note.startswith("rows count by the inverse frequency of their class: weaving 4, ")
    assert np.isfinite(model.training.validation["loss"])


@pytest.mark.parametrize("shape", [Classification(label_smoothing=0.2), Classification(focal_gamma=2)])
def test_smoothing_and_focus_learn_as_well_and_are_less_sure(shape: Classification, task: Task) -> None:
    encoder, train, validation = task
    config = FineTuning(epochs=2, minimum_steps=60, patience=12)
    plain, other = (fine_tune(of, encoder, train, validation, config, labels=TOPICS, seed=0) for of in (CLASS, shape))
    assert other.training.validation["accuracy"] > 0.9
    sure = [np.sort(softmax(model.logits_of(train.encoded)), axis=1)[:, -1].mean() for model in (plain, other)]
    assert sure[1] < sure[0]


def test_rows_without_a_label_are_named() -> None:
    with pytest.raises(UserError, match=r"7 of 8 rows have no label: row 1, 2, 3, 4, 5, …; give them one"):
        CLASS.labels_of(pa.table({"text": ["a"] * 8, "label": [None] * 7 + ["x"]}))
