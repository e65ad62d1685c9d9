"""Tags: aligned to words, counted as seqeval counts them, and learnt."""

import hashlib
import itertools
import json
import random
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from sslcore.errors import UserError
from sslcore.finetuning import FineTuning, fine_tune
from sslcore.finetuning.entities import Entity, entities, entity_scores, scheme_of
from sslcore.finetuning.model import FineTunedModel
from sslcore.finetuning.outputs import outputs_of
from sslcore.finetuning.shapes.registry import shape_kinds
from sslcore.finetuning.shapes.tagging import TaggedWords, TaggerNetwork, Tagging
from sslcore.models.encoder import Encoder
from sslcore.models.ragged import Sequences
from sslcore.objectives.masked_lm import MaskedLM
from sslcore.objectives.registry import AnyObjective
from sslcore.objectives.skip_gram import SkipGram
from sslcore.tokenization.tokenizer import fit_tokenizer
from sslcore.tokenization.unigram import Unigram
from sslcore.tokenization.words import Words
from tests.checkpoints import KINDS, made_checkpoint

TAGS = Tagging()
BIO = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
BIOES = [*BIO, "E-PER", "S-PER", "E-LOC", "S-LOC"]
TINY = MaskedLM(size="tiny", maximum_tokens=32, batch_tokens=64)


def table(rows: list[tuple[list[str], list[str]]]) -> pa.Table:
    return pa.table({"tokens": [tokens for tokens, _ in rows], "tags": [tags for _, tags in rows]})


def sentences(rows: int, seed: int) -> pa.Table:
    """ "Mr" makes the next word a person, "in" a place: the same names are both, so that context is needed."""
    generator = np.random.default_rng(seed)
    names = [f"Name{chr(97 + i)}" for i in range(12)]
    made = []
    for _ in range(rows):
        tokens, tags = [], []
        for _ in range(int(generator.integers(2, 5))):
            match generator.integers(3):
                case 0:
                    tokens += ["Mr", *generator.choice(names, 2)]
                    tags += ["O", "B-PER", "I-PER"]
                case 1:
                    tokens += ["in", generator.choice(names)]
                    tags += ["O", "B-LOC"]
                case _:
                    tokens += [generator.choice(["said", "went", "saw"])]
                    tags += ["O"]
        made.append((list(map(str, tokens)), tags))
    return table(made)


def encoder_of(rows: pa.Table, objective: AnyObjective) -> Encoder:
    tokenizer = fit_tokenizer(Words(minimum_count=1), [" ".join(tokens) for tokens in rows["tokens"].to_pylist()])
    network = objective.network(tokenizer, torch.Generator().manual_seed(0))
    return Encoder(tokenizer, network, objective.model_dump(mode="json"), 0)


def trained(shape: Tagging, encoder: Encoder, train: pa.Table, steps: int) -> FineTunedModel:
    labels = shape.labels_of(train)
    examples = shape.examples(train, encoder, labels, maximum_tokens=64)
    config = FineTuning(epochs=1, minimum_steps=steps, batch_size=32, learning_rate=2e-3)
    return fine_tune(shape, encoder, examples, examples.take(np.arange(20)), config, labels=labels, seed=0)


def f1_of(model: FineTunedModel, rows: pa.Table) -> float:
    return entity_scores(rows["tags"].to_pylist(), model.answers(rows.drop(["tags"]))["tags"].to_pylist()).f1


# -- entities ----------------------------------------------------------------------------------------------------------


# What seqeval 1.2.2 says of the rows drawn below: entities, a hash of where they are, mean precision, recall and F1.
SEQEVAL: list[tuple[list[str], int, str, list[float]]] = [
    (BIO, 5142, "1895d1ec1d9e5329", [0.720922957, 0.727229198, 0.721866427]),
    (BIOES, 6222, "a1b4d44efec72e8c", [0.76245374, 0.760150107, 0.760154506]),
    (["O", "B", "I", "E", "S"], 5105, "6a6d80b2a4c0e1fc", [0.800798355, 0.814086111, 0.805134342]),
    (["O", "I-PER", "I-LOC", "B-LOC"], 4501, "5a9b48639477ebea", [0.706609527, 0.702453335, 0.701759255]),
]


@pytest.mark.parametrize(("tags", "entities_there", "places", "means"), SEQEVAL)
def test_entities_are_seqevals(tags: list[str], entities_there: int, places: str, means: list[float]) -> None:
    draw, found, digest, scores = random.Random(0), 0, hashlib.sha256(), []
    for _ in range(300):
        rows = [draw.randint(1, 12) for _ in range(4)]
        truth = [[draw.choice(tags) for _ in range(length)] for length in rows]
        said = [[tag if draw.random() < 0.7 else draw.choice(tags) for tag in row] for row in truth]
        for row in truth:
            of_row = [[kind or "_", first, last] for kind, first, last in entities(row)]
            digest.update(json.dumps(of_row).encode())
            found += len(of_row)
        scores.append(entity_scores(truth, said))
    assert (found, digest.hexdigest()[:16]) == (entities_there, places)
    assert np.mean(scores, axis=0) == pytest.approx(means, abs=1e-8)


def test_entities_by_hand() -> None:
    assert entities(["B-PER", "I-PER", "I-LOC", "O", "S-PER", "E-PER"]) == [
        Entity("PER", 0, 1), Entity("LOC", 2, 2), Entity("PER", 4, 4), Entity("PER", 5, 5),
    ]  # fmt: skip
    assert entities(["O", "O"]) == []
    assert entity_scores([["O"]], [["O"]]) == (0, 0, 0)


def test_what_tags_are_is_told_from_the_tags() -> None:
    assert (scheme_of(BIO), scheme_of(BIOES), scheme_of(["B", "I", "O"])) == ("BIO", "BIOES", "BIO")
    assert scheme_of(["NN", "VBZ", "O"]) == scheme_of(["O"]) == scheme_of(["B-PER", "LOC"]) == "plain"


# -- alignment ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_words_vector_is_the_state_of_its_first_piece(kind: str, tmp_path: Path) -> None:
    """Against transformers on one framed row at a time; of a causal model it is the last piece."""
    encoder = Encoder.from_huggingface(made_checkpoint(kind, tmp_path))
    rows = [["The", "unbelievable", "harbour", ",", "river"], ["minister"], ["station", "quokkaship", "way"]]
    shape_rows = pa.table({"tokens": rows})
    examples = TAGS.examples(shape_rows, encoder, BIO, maximum_tokens=64)
    network = TAGS.network(encoder, BIO).eval()
    with torch.no_grad():
        found = network.states(examples)
    tokenizer = encoder.tokenizer
    first, last = encoder.network.frame
    expected = []
    for row in rows:
        pieces = [tokenizer.encode(f" {word}").tolist() for word in row]
        ids = [first, *(i for word in pieces for i in word), *([] if encoder.network.causal else [last])]
        with torch.no_grad():
            offsets = np.array([0, len(ids)])
            states = encoder.network.states(Sequences(torch.tensor(ids), offsets, causal=encoder.network.causal))
        place = 1
        for word in pieces:
            expected.append(states[place + (len(word) - 1 if encoder.network.causal else 0)])
            place += len(word)
    assert any(len(tokenizer.encode(f" {word}")) > 1 for row in rows for word in row)
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-5, rtol=1e-4)


def test_rows_are_taken_and_read_as_they_are_alone() -> None:
    rows = sentences(30, seed=0)
    encoder = encoder_of(rows, TINY)
    examples = TAGS.examples(rows, encoder, BIO, maximum_tokens=64)
    network = TAGS.network(encoder, BIO).eval()
    torch.nn.init.normal_(network.head.weight)
    scores = outputs_of(network, examples)
    assert scores.shape == (sum(map(len, rows["tokens"].to_pylist())), 5)
    chosen = np.array([7, 3, 3, 29])
    places = np.concatenate([np.arange(examples.rows[row], examples.rows[row + 1]) for row in chosen])
    np.testing.assert_allclose(outputs_of(network, examples.take(chosen)), scores[places], atol=1e-5)
    network.train()
    with torch.enable_grad():  # all at once, as in training; nothing in the tiny encoder drops out in evaluation mode
        network.eval()
        np.testing.assert_allclose(network(examples).detach().numpy(), scores, atol=1e-5)


def test_words_without_a_piece_and_beyond_the_limit_are_outside_and_counted(tmp_path: Path) -> None:
    encoder = Encoder.from_huggingface(made_checkpoint("bert", tmp_path))
    tokens = ["The", "\u200b", "", "quokka", "was", "seen", "near"]
    rows = pa.table({"tokens": [tokens, ["ship"]], "tags": [["B-PER"] * 7, ["O"]]})
    examples = TAGS.examples(rows, encoder, BIO, maximum_tokens=4)
    pieces = [len(encoder.tokenizer.encode(f" {word}")) for word in tokens]
    assert pieces[1:3] == [0, 0]
    fits = np.cumsum(pieces) <= 4
    assert examples.read.tolist() == [bool(p) and bool(f) for p, f in zip(pieces, fits, strict=True)] + [True]
    assert not all(fits)
    network = TAGS.network(encoder, BIO)
    with torch.no_grad():
        network.head.bias[1] = 5  # the head says B-PER of everything
    network.prepare(examples)
    said = TAGS.predictions(outputs_of(network, examples), examples, BIO)
    assert said["tags"] == [["B-PER" if read else "O" for read in examples.read[:-1]], ["B-PER"]]
    assert said["words_not_read"] == [int((~examples.read).sum()), 0]
    assert network.notes(BIO)[0].startswith(f"{(~examples.read).sum()} of 8 words of the training rows are not read")
    assert TAGS.metrics(outputs_of(network, examples), examples, BIO)["recall"] == pytest.approx(
        examples.read[:-1].sum() / 7
    )


def test_chinese_characters_have_a_piece_each_and_no_space_between_them() -> None:
    texts = ["我们变而以书会友，以书结缘", "国际最新食品工艺、流行趋势"] * 30
    tokenizer = fit_tokenizer(Unigram(vocabulary_size=600), texts)
    encoder = Encoder(tokenizer, TINY.network(tokenizer, torch.Generator().manual_seed(0)), TINY.model_dump(), 0)
    examples = TAGS.examples(pa.table({"tokens": [list(texts[0])]}), encoder, BIO, maximum_tokens=64)
    of_letters = [
        char for char, size in zip(texts[0], examples.pieces.lengths, strict=True) if char != "，" and size == 1
    ]
    assert of_letters == list(texts[0].replace("，", ""))
    assert [tokenizer.tokens[i] for i in examples.pieces.ids[:3]] == list("我们变")


# -- learning ----------------------------------------------------------------------------------------------------------


def test_a_transformer_learns_tags_that_context_decides(tmp_path: Path) -> None:
    train, test = sentences(150, seed=0), sentences(40, seed=1)
    encoder = encoder_of(train, TINY)
    model = trained(TAGS, encoder, train, 120)
    assert f1_of(model, test) > 0.95
    assert f1_of(trained(TAGS, encoder_of(train, SkipGram(dimensions=16)), train, 120), test) < 0.75  # knows no context
    model.save(tmp_path)
    loaded = FineTunedModel.load(tmp_path)
    assert loaded.answers(test).equals(model.answers(test))
    assert loaded.description.shape == shape_kinds()["tags"]()


def test_word_vectors_learn_what_the_word_decides_and_plain_tags_are_scored_by_class() -> None:
    rows = sentences(150, seed=0)
    kinds = {"Mr": "TITLE", "in": "ADP", "said": "VERB", "went": "VERB", "saw": "VERB"}
    plain = [[kinds.get(token, "NOUN") for token in tokens] for tokens in rows["tokens"].to_pylist()]
    model = trained(TAGS, encoder_of(rows, SkipGram(dimensions=16)), rows.set_column(1, "tags", [plain]), 150)
    assert model.training.validation["f1"] > 0.95
    assert set(model.training.validation) == {"f1", "accuracy", "loss"}


@pytest.mark.parametrize("objective", [TINY, SkipGram(dimensions=16)])
def test_a_frozen_encoder_stays_and_gives_every_pass_what_it_gives_alone(objective: AnyObjective) -> None:
    rows = sentences(40, seed=0)
    encoder = encoder_of(rows, objective)
    labels = TAGS.labels_of(rows)
    examples = TAGS.examples(rows, encoder, labels, maximum_tokens=64)
    config = FineTuning(freezing="encoder", epochs=1, minimum_steps=30)
    model = fine_tune(TAGS, encoder, examples, examples, config, labels=labels, seed=0)
    for name, tensor in encoder.network.state_dict().items():
        assert torch.equal(model.network.encoder.state_dict()[name], tensor), name
    metrics = TAGS.metrics(outputs_of(model.network, examples), examples, labels)
    assert metrics["loss"] == pytest.approx(model.training.validation["loss"], rel=1e-4)
    commonest = np.bincount(examples.tags).max() / len(examples.tags)
    assert metrics["accuracy"] > commonest + 0.05


def test_a_crf_is_its_paths_and_learns() -> None:
    pytest.importorskip("torchcrf")
    train, test = sentences(100, seed=0), sentences(30, seed=1)
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    model = trained(Tagging(crf=True), encoder_of(train, TINY), train, 80)
    assert torch.equal(torch.rand(2), expected)
    assert f1_of(model, test) > 0.95
    transitions = model.network.crf.transitions.detach()  # type: ignore[union-attr]
    person, inside, place = (model.labels.index(tag) for tag in ("B-PER", "I-PER", "B-LOC"))
    assert transitions[person, inside] > transitions[place, inside]


def test_the_crfs_loss_and_path_are_those_of_all_paths() -> None:
    """−ln of the share that the true path has in the sum of exp(score) over all paths, by listing them."""
    pytest.importorskip("torchcrf")
    rows = table([(["Mr", "x", "y"], ["O", "B-PER", "I-PER"]), (["in"], ["O"])])
    encoder = encoder_of(rows, SkipGram(dimensions=4))
    labels = TAGS.labels_of(rows)
    examples = TAGS.examples(rows, encoder, labels, maximum_tokens=9)
    network: TaggerNetwork = Tagging(crf=True).network(encoder, labels)
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(4, 3, generator=generator)
    with torch.no_grad():
        for parameter in network.crf.parameters():  # type: ignore[union-attr]
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    crf = network.crf
    start, end, step = (p.detach().numpy() for p in (crf.start_transitions, crf.end_transitions, crf.transitions))  # type: ignore[union-attr]

    def score(path: tuple[int, ...], emitted: np.ndarray) -> float:
        moves = sum(step[a, b] for a, b in itertools.pairwise(path))
        return float(start[path[0]] + end[path[-1]] + moves + sum(emitted[i, tag] for i, tag in enumerate(path)))

    total, best = 0.0, []
    for a, b in ((0, 3), (3, 4)):
        paths = list(itertools.product(range(3), repeat=b - a))
        values = np.array([score(path, scores[a:b].numpy()) for path in paths])
        total += np.log(np.exp(values).sum()) - score(tuple(examples.tags[a:b]), scores[a:b].numpy())
        best += list(paths[int(values.argmax())])
    assert network.train().loss(scores, examples).item() == pytest.approx(total / 4, rel=1e-5)
    with torch.no_grad():
        network.head.weight.zero_()
        said = network.eval()
        said.head = torch.nn.Identity()  # type: ignore[assignment]
        decided = said.decided(scores, examples)
    assert decided.argmax(dim=1).tolist() == best
    assert torch.equal(decided.sort(dim=1).values, scores.sort(dim=1).values)


def test_without_the_crfs_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchcrf", None)
    rows = sentences(3, seed=0)
    with pytest.raises(UserError, match="pip install pytorch-crf"):
        Tagging(crf=True).network(encoder_of(rows, TINY), BIO)


def test_a_tag_that_training_never_saw_is_a_miss_and_no_crash() -> None:
    rows = table([(["a", "b"], ["B-NEW", "O"]), (["a"], ["B-PER"])])
    encoder = encoder_of(rows, SkipGram(dimensions=4))
    examples = TAGS.examples(rows, encoder, ["B-PER", "O"], maximum_tokens=9)
    assert examples.tags.tolist() == [-1, 1, 0]
    scores = np.array([[2.0, 0], [0, 2], [2, 0]])
    metrics = TAGS.metrics(scores, examples, ["B-PER", "O"])
    assert (metrics["precision"], metrics["recall"], metrics["accuracy"]) == (0.5, 0.5, pytest.approx(2 / 3))


# -- mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(["a"], ["O"]), (["a", "b"], ["O"]), (["a"], ["O", "O"])], r"rows 2, 3 of 3 .*row 2: 2 tokens, 1 tags"),
        ([(["a"], ["O"]), ([], [])], "no token in row 2 of 2"),
        ([(["a"], [None])], "a token without a tag in row 1 of 1"),
        ([], "no rows with tags"),
        ([(["a", "b"], ["O"])] * 40, r"rows 1, 2, 3, 4, 5 and 35 more of 40"),
    ],
)
def test_rows_that_cannot_be_are_named(rows: list[tuple[list[str], list[str]]], message: str) -> None:
    wrong = pa.table(
        {"tokens": [t for t, _ in rows], "tags": [t for _, t in rows]},
        schema=pa.schema([("tokens", pa.list_(pa.string())), ("tags", pa.list_(pa.string()))]),
    )
    with pytest.raises(UserError, match=message):
        TAGS.labels_of(wrong)


def test_one_tag_is_nothing_to_learn() -> None:
    rows = table([(["a", "b"], ["O", "O"])])
    encoder = encoder_of(rows, SkipGram(dimensions=4))
    with pytest.raises(UserError, match=r"every token has the tag 'O' \(1 rows\)"):
        TAGS.check(TAGS.examples(rows, encoder, ["O"], maximum_tokens=9), ["O"])


def test_rows_to_tag_need_no_tags() -> None:
    encoder = encoder_of(sentences(3, seed=0), TINY)
    examples = TAGS.examples(pa.table({"tokens": [["Mr"], []]}), encoder, BIO, maximum_tokens=9)
    assert isinstance(examples, TaggedWords)
    said = TAGS.predictions(outputs_of(TAGS.network(encoder, BIO), examples), examples, BIO)
    assert [len(tags) for tags in said["tags"]] == [1, 0]
