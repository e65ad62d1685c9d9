"""Text pairs: framed as transformers frames them, cut as it cuts them, learnt, and the same after a save."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError
from scipy.stats import pearsonr, spearmanr

from sslcore.errors import UserError
from sslcore.finetuning import FineTuning, fine_tune
from sslcore.finetuning.encoded import EncodedTexts
from sslcore.finetuning.model import FineTunedModel
from sslcore.finetuning.outputs import outputs_of
from sslcore.finetuning.shapes.pair_networks import CrossEncoder, TextPairs, cut_together
from sslcore.finetuning.shapes.pairs import Pairs
from sslcore.models.encoder import Encoder
from sslcore.objectives.masked_lm import MaskedLM
from tests.checkpoints import SENTENCES, made_checkpoint
from tests.topics import untrained
from tests.unit.conftest import topic_texts

QUICK = FineTuning(epochs=2, minimum_steps=30)
FRAMES: dict[str, tuple[str, list[str]]] = {
    "bert": ("[CLS] $A [SEP] $B:1 [SEP]:1", ["[CLS]", "[SEP]"]),
    "roberta": ("<s> $A </s> </s> $B </s>", ["<s>", "</s>"]),
}


def framing_tokenizer(kind: str, folder: Path) -> Any:
    """transformers' tokenizer of the checkpoint, with the frames that the public ones of its kind have."""
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    frame, special = FRAMES[kind]
    ids = [(token, tokenizer.convert_tokens_to_ids(token)) for token in special]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(pair=frame, special_tokens=ids)
    tokenizer.model_input_names = ["input_ids", "token_type_ids"]
    return tokenizer


FIRST_SAYS = {"alpha": 0.0, "beta": 2.0}
SECOND_SAYS = {"alpha": 1.0, "beta": 5.0}
COMMON = [f"common{letter}" for letter in "abcdefgh"]


def pair_table(rows: int, seed: int, *, scores: bool = False) -> pa.Table:
    """One word among others tells: who only sees which words there are mistakes (alpha, beta) for (beta, alpha)."""
    generator = np.random.default_rng(seed)
    told = generator.choice(["alpha", "beta"], size=(rows, 2)).tolist()
    texts = [[" ".join(generator.permutation([word, *generator.choice(COMMON, 3)])) for word in pair] for pair in told]
    columns: dict[str, Any] = {"text": [a for a, _ in texts], "text_b": [b for _, b in texts]}
    if scores:
        columns["score"] = [FIRST_SAYS[a] + SECOND_SAYS[b] for a, b in told]
    else:
        columns["label"] = [f"{a} {b}" for a, b in told]
    return pa.table(columns)


def alike_table(rows: int, seed: int) -> pa.Table:
    """Scores of 5 for texts of one topic and 1 for those of two."""
    (texts, topics), generator = topic_texts(rows, seed=seed), np.random.default_rng(seed)
    alike = {topic: [j for j in range(rows) if topics[j] == topic] for topic in topics}
    seconds = [generator.choice(alike[topics[i]]) if i % 3 else int(generator.integers(rows)) for i in range(rows)]
    scores = [5.0 if topics[i] == topics[j] else 1.0 for i, j in enumerate(seconds)]
    return pa.table({"text": texts, "text_b": [texts[j] for j in seconds], "score": scores})


ALL_TEXTS = [*topic_texts(800, seed=0)[0], *pair_table(50, seed=0)["text"].to_pylist()]


def tuned_on(
    shape: Pairs, encoder: Encoder, config: FineTuning, tables: Sequence[pa.Table]
) -> tuple[FineTunedModel, pa.Table]:
    """A model of pairs, and rows that it has not seen."""
    train, validation, test = tables
    labels = shape.labels_of(train)
    learn, choose = (shape.examples(part, encoder, labels, maximum_tokens=64) for part in (train, validation))
    return fine_tune(shape, encoder, learn, choose, config, labels=labels, seed=0), test


def three(table: Callable[..., pa.Table], rows: int, **fields: Any) -> list[pa.Table]:
    return [table(n, seed, **fields) for n, seed in ((rows, 0), (rows // 4, 1), (rows // 4, 2))]


@pytest.fixture(scope="module")
def words() -> Encoder:
    return untrained(ALL_TEXTS)


@pytest.fixture(scope="module")
def transformer() -> Encoder:
    return untrained(ALL_TEXTS, MaskedLM(size="tiny", maximum_tokens=48, batch_tokens=64))


PAIRS = [
    ("The grey ship.", "A quokka was seen near the harbour."),
    ("harbour " * 40, "ship"),
    ("ship", "harbour " * 40),
    ("harbour " * 50, "police station " * 50),
    ("harbour " * 31, "harbour " * 31),
    ("", "ship"),  # transformers takes an empty second text for none
]


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_two_texts_are_framed_and_cut_as_transformers_does_it(kind: str, tmp_path: Path) -> None:
    from transformers import AutoModel

    folder = made_checkpoint(kind, tmp_path)
    encoder, tokenizer = Encoder.from_huggingface(folder), framing_tokenizer(kind, folder)
    theirs = AutoModel.from_pretrained(folder).eval()
    shape = Pairs()
    columns = {"text": [a for a, _ in PAIRS], "text_b": [b for _, b in PAIRS]}
    table = pa.table({**columns, "label": ["no", "yes"] * 3})
    examples = shape.examples(table, encoder, ("no", "yes"), maximum_tokens=512)
    first, second = ((texts.ids, texts.offsets) for texts in examples.texts)
    sequences = encoder.network.framed_pairs(first, second, torch.device("cpu"))
    network = shape.network(encoder, ("no", "yes")).eval()
    assert isinstance(network, CrossEncoder)
    with torch.no_grad():
        vectors = network.vectors(examples)
    for place, (a, b) in enumerate(PAIRS):
        expected = tokenizer(a, b, truncation="longest_first", max_length=64, return_token_type_ids=True)
        part = slice(*sequences.offsets[place : place + 2])
        assert sequences.ids[part].tolist() == expected["input_ids"], (a, b)
        kinds = torch.zeros(len(expected["input_ids"]), dtype=torch.long)
        if kind == "bert":
            assert sequences.kinds is not None
            kinds = sequences.kinds[part]
            assert kinds.tolist() == expected["token_type_ids"], (a, b)
        else:
            assert sequences.kinds is None
        with torch.no_grad():
            said = theirs(torch.tensor([expected["input_ids"]]), token_type_ids=kinds[None]).last_hidden_state[0]
        np.testing.assert_allclose(vectors[place], said.mean(dim=0), atol=1e-5)


def test_pairs_are_encoded_alike_in_parts_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder.from_huggingface(made_checkpoint("bert", tmp_path))
    shape = Pairs(says="score")
    table = pa.table({"text": SENTENCES, "text_b": SENTENCES[::-1], "score": np.arange(len(SENTENCES))})
    examples = shape.examples(table, encoder, (), maximum_tokens=64)
    network = shape.network(encoder, ()).eval()
    with torch.no_grad():
        whole = network.features(examples)
        monkeypatch.setattr("sslcore.finetuning.shapes.pair_networks.tokens_at_once", lambda device: 50)
        np.testing.assert_allclose(network.features(examples), whole, atol=1e-5)
    assert len(whole) == len(SENTENCES)


@pytest.mark.parametrize("longest", [1, 2, 5, 6, 9, 40])
def test_the_longer_text_is_cut_first(longest: int) -> None:
    """Against the rule as it is said: take a token from the longer one until both fit."""
    generator = np.random.default_rng(longest)
    lengths = generator.integers(0, 12, size=(2, 60))
    texts = [EncodedTexts(np.arange(n.sum(), dtype=np.int32), np.concatenate([[0], np.cumsum(n)])) for n in lengths]
    cut = cut_together(texts[0], texts[1], longest)
    for row, (a, b) in enumerate(lengths.T):
        expected = [int(a), int(b)]
        second_is_short = b < a
        while sum(expected) > longest:
            if expected[0] == expected[1]:  # at the end of an odd number the one that was longer keeps one more
                expected[1 if second_is_short else 0] -= 1
            else:
                expected[0 if expected[0] > expected[1] else 1] -= 1
        assert [int(part.lengths[row]) for part in cut] == expected
        for part, whole in zip(cut, texts, strict=True):
            kept = part.ids[part.offsets[row] : part.offsets[row + 1]]
            np.testing.assert_array_equal(kept, whole.ids[whole.offsets[row] :][: len(kept)])


def test_a_bi_encoders_features_are_those_of_the_papers(words: Encoder) -> None:
    shape = Pairs(architecture="bi_encoder")
    table = pair_table(20, seed=0)
    labels = shape.labels_of(table)
    examples = shape.examples(table, words, labels, maximum_tokens=64)
    network: Any = shape.network(words, labels)
    u, v = (words.encode(table[column].to_pylist()) for column in ("text", "text_b"))
    features = network.vectors(examples).detach().numpy()
    np.testing.assert_allclose(features, np.hstack([u, v, np.abs(u - v), u * v]), atol=1e-6)


def test_a_cosine_is_read_in_the_range_of_the_training_scores(words: Encoder) -> None:
    shape = Pairs(says="score", architecture="bi_encoder")
    table = alike_table(50, seed=0)
    examples = shape.examples(table, words, (), maximum_tokens=64)
    network: Any = shape.network(words, ())
    network.prepare(examples)
    u, v = (words.encode(table[column].to_pylist()) for column in ("text", "text_b"))
    cosines = (u * v).sum(axis=1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)
    scores = np.array(table["score"].to_pylist())
    expected = scores.mean() + 4 * (cosines - cosines.mean())  # from 1 to 5
    np.testing.assert_allclose(network(examples).detach().numpy(), expected, atol=1e-4)


CASES: list[tuple[str, dict[str, Any]]] = [
    ("words", {"architecture": "bi_encoder"}),
    ("words", {"architecture": "bi_encoder", "says": "score"}),
    ("transformer", {}),
    ("transformer", {"says": "score"}),
    ("transformer", {"architecture": "bi_encoder"}),
]


@pytest.mark.parametrize(("kind", "fields"), CASES)
def test_what_can_be_learnt_is_learnt_and_survives_a_save(
    kind: str, fields: dict[str, Any], words: Encoder, transformer: Encoder, tmp_path: Path
) -> None:
    shape = Pairs(**fields)
    encoder = words if kind == "words" else transformer
    config = FineTuning(epochs=4, minimum_steps=60, learning_rate=None if kind == "words" else 1e-3)
    cosine = shape.says == "score" and shape.architecture == "bi_encoder"
    tables = three(alike_table, 400) if cosine else three(pair_table, 160, scores=shape.says == "score")
    model, test = tuned_on(shape, encoder, config, tables)
    examples = shape.examples(test, encoder, model.labels, maximum_tokens=64)
    metrics = shape.metrics(outputs_of(model.network, examples), examples, model.labels)
    assert metrics["accuracy" if shape.says == "class" else "spearman"] > (0.6 if cosine else 0.9), metrics
    before = model.answers(test)
    model.save(tmp_path)
    loaded = FineTunedModel.load(tmp_path)
    after = loaded.answers(test.drop_columns([shape.target]))
    assert before.column_names == after.column_names
    for name in before.column_names:
        assert before[name].to_pylist() == after[name].to_pylist(), name
    assert loaded.description.shape == shape
    if shape.says == "score":
        truth, said = (np.array(table["score"].to_pylist()) for table in (test, before))
        assert np.mean((truth - said) ** 2) < (0.6 if cosine else 0.3) * truth.var()  # in their own unit
    else:
        assert set(before["label"].to_pylist()) == set(model.labels)


@pytest.mark.parametrize("fields", [{}, {"architecture": "bi_encoder", "says": "score"}])
def test_a_frozen_encoder_stays_and_what_is_kept_of_it_changes_nothing(
    fields: dict[str, Any], transformer: Encoder
) -> None:
    shape = Pairs(**fields)
    config = FineTuning(freezing="encoder", epochs=1, minimum_steps=4)
    tables = three(pair_table, 40, scores=shape.says == "score")
    model, test = tuned_on(shape, transformer, config, tables)
    for name, tensor in transformer.network.state_dict().items():
        assert torch.equal(model.network.encoder.state_dict()[name], tensor), name
    labels, validation = model.labels, tables[1]
    examples = shape.examples(validation, transformer, labels, maximum_tokens=64)
    served = shape.metrics(outputs_of(model.network, examples), examples, labels)  # nothing is kept any more
    for name, value in model.training.validation.items():
        assert served[name] == pytest.approx(value, abs=1e-4), name
    assert len(model.answers(test)) == len(test)


def test_scores_are_measured_in_their_own_range(words: Encoder) -> None:
    shape = Pairs(says="score", architecture="bi_encoder")
    model, test = tuned_on(shape, words, QUICK, three(alike_table, 80))
    examples = shape.examples(test, words, (), maximum_tokens=64)
    outputs = outputs_of(model.network, examples)
    truth = np.array(test["score"].to_pylist())
    metrics = shape.metrics(outputs, examples, ())
    assert metrics["spearman"] == pytest.approx(spearmanr(truth, outputs).statistic)
    assert metrics["pearson"] == pytest.approx(pearsonr(truth, outputs).statistic, abs=1e-5)
    assert metrics["loss"] == pytest.approx(np.mean((truth - outputs) ** 2), rel=1e-5)
    assert shape.metrics(np.ones(len(truth), np.float32), examples, ())["spearman"] == 0


def test_two_classes_have_an_f1_of_the_second() -> None:
    from sklearn.metrics import f1_score

    truth, logits = np.array([0, 1, 1, 0, 1]), np.array([[0, 1], [0, 1], [1, 0], [1, 0], [0, 1]], np.float32)
    nothing = EncodedTexts(np.zeros(0, np.int32), np.zeros(6, np.int64))
    metrics = Pairs().metrics(logits, TextPairs(nothing, nothing, truth), ("no", "yes"))
    assert metrics["f1"] == pytest.approx(f1_score(truth, logits.argmax(axis=1)))
    assert "f1" not in Pairs().metrics(np.eye(5, 3, dtype=np.float32), TextPairs(nothing, nothing, truth), "abc")


def test_a_mistake_is_said_with_what_to_do(words: Encoder) -> None:
    table = pair_table(10, seed=0)
    with pytest.raises(UserError, match="Choose architecture bi_encoder"):
        Pairs().examples(table, words, ("alpha alpha", "alpha beta"), maximum_tokens=64)
    with pytest.raises(UserError, match=r"2 of 3 rows have no label: row 1, 3; give"):
        Pairs().labels_of(pa.table({"text": ["a"] * 3, "text_b": ["b"] * 3, "label": [None, "x", None]}))
    scored = Pairs(says="score", architecture="bi_encoder")
    with pytest.raises(UserError, match=r"row 2 says nan"):
        scored.examples(
            pa.table({"text": ["a"] * 2, "text_b": ["b"] * 2, "score": [1, float("nan")]}), words, (), maximum_tokens=9
        )
    same = scored.examples(
        pa.table({"text": ["a"] * 2, "text_b": ["b"] * 2, "score": [1.0, 1.0]}), words, (), maximum_tokens=9
    )
    with pytest.raises(UserError, match="all 2 scored rows have the same score"):
        scored.check(same, ())
    with pytest.raises(ValidationError, match="are of classes, leave them out"):
        Pairs(says="score", label_smoothing=0.1)
    model, _ = tuned_on(
        Pairs(architecture="bi_encoder"), words, FineTuning(epochs=1, minimum_steps=1), three(pair_table, 40)
    )
    with pytest.raises(UserError, match=r"answers\(table with columns text, text_b\)"):
        model.predict(["a text"])
