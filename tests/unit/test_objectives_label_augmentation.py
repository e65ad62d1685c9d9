"""Label augmentation: the transformations by counting words, and the paper's losses typed again."""

import logging
import math
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sslcore
from sslcore.errors import UserError
from sslcore.models.encoder import Encoder
from sslcore.objectives._label_augmentation import JointLabels, aggregated_logits, divergences, joint_losses
from sslcore.objectives.label_augmentation import LabelAugmentation, TransformedTexts, transformed
from sslcore.randomness import torch_generator
from sslcore.tokenization.encoding import EncodedCorpus

SMALL: dict[str, Any] = {"size": "tiny", "maximum_tokens": 32, "batch_tokens": 2048, "epochs": 1, "dropout": 0}


def labelled(lists: list[list[str]], labels: list[int], names: tuple[str, ...] = ("even", "odd")) -> EncodedCorpus:
    corpus = EncodedCorpus.from_token_lists(lists, minimum_count=1)
    corpus.labels, corpus.label_names = np.array(labels, np.int32), names
    return corpus


def numbered(documents: int, sentences: int, seed: int = 0) -> EncodedCorpus:
    """Every token tells its document and place: d3p7. Documents of 10 to 59 tokens; labels in turns."""
    generator = np.random.default_rng(seed)
    lists = [[f"d{d}p{p}" for p in range(generator.integers(10, 60))] for d in range(documents)]
    corpus = labelled(lists, [d % 2 for d in range(documents)])
    bounds = zip(corpus.document_offsets[:-1], corpus.document_offsets[1:], strict=True)
    inner = [generator.choice(np.arange(a + 1, b), sentences - 1, replace=False) for a, b in bounds]
    corpus.sentence_offsets = np.union1d(corpus.document_offsets, np.concatenate(inner).astype(np.int64))
    return corpus


def batches(objective: LabelAugmentation, corpus: EncodedCorpus, seed: int = 3) -> list[TransformedTexts]:
    made = objective.batches(corpus, seed)
    return [made[step] for step in range(len(made))]


def forms(batch: TransformedTexts) -> list[list[list[int]]]:
    """The four forms of each text, as ids without the frame."""
    framed = [batch.ids[a:b].tolist() for a, b in zip(batch.offsets[:-1], batch.offsets[1:], strict=True)]
    assert all((ids[0], ids[-1]) == (2, 3) for ids in framed)
    return [[ids[1:-1] for ids in framed[row : row + 4]] for row in range(0, len(framed), 4)]


def loss_of(corpus: EncodedCorpus, objective: LabelAugmentation) -> JointLabels:
    network = objective.network(corpus.tokenizer, torch_generator(1))
    encoder = Encoder(corpus.tokenizer, network, objective.model_dump(mode="json"), 0)
    encoder.label_names = corpus.label_names
    loss = objective.loss(encoder, torch_generator(2))
    assert isinstance(loss, JointLabels)
    return loss


@pytest.mark.parametrize("sentences", [1, 2, 5])
def test_a_text_is_there_in_all_four_orders_of_its_words(sentences: int) -> None:
    corpus = numbered(200, sentences)
    seen: list[int] = []
    for batch in batches(LabelAugmentation(**SMALL), corpus):
        for (plain, reordered, backwards, shuffled), label in zip(forms(batch), batch.labels, strict=True):
            document = int(corpus.tokenizer.tokens[plain[0]][1:].partition("p")[0])
            start, end = corpus.document_offsets[document : document + 2]
            assert plain == corpus.ids[start : min(end, start + 30)].tolist()  # as it is comes first
            bounds = [s for s in corpus.sentence_offsets - start if 0 < s < len(plain)] or [len(plain) // 2]
            pieces = [plain[a:b] for a, b in zip([0, *bounds], [*bounds, len(plain)], strict=True)]
            assert reordered == [token for piece in reversed(pieces) for token in piece]
            assert backwards == plain[::-1]
            assert sorted(shuffled) == sorted(plain)
            assert shuffled not in (plain, reordered, backwards)  # of 10 tokens or more
            assert label == document % 2
            seen.append(document)
    assert sorted(seen) == list(range(200))


def test_batches_follow_from_seed_and_step_and_shuffle_anew_in_each_epoch() -> None:
    corpus = numbered(60, 2)
    objective = LabelAugmentation(**{**SMALL, "epochs": 2})
    made, other = objective.batches(corpus, 3), batches(objective, corpus, seed=4)
    found = batches(objective, corpus)
    for step in reversed(range(len(made))):
        assert np.array_equal(made[step].ids, found[step].ids)
    assert not np.array_equal(found[0].ids, other[0].ids)
    shuffles = [
        {tuple(four[3]) for batch in half for four in forms(batch)}
        for half in (found[: len(found) // 2], found[len(found) // 2 :])
    ]
    assert not shuffles[0] & shuffles[1]
    alike = labelled([[f"w{i}" for i in range(20)]] * 20, [0, 1] * 10)
    firsts = [
        tuple(forms(batch)[0][3]) for batch in batches(LabelAugmentation(**{**SMALL, "batch_tokens": 320}), alike)
    ]
    assert len(set(firsts)) == len(firsts) == 5
    assert sum(batch.tokens for batch in found) == 2 * corpus.tokens
    assert [batch.end for batch in found] == pytest.approx(np.arange(1, len(found) + 1) / len(found))
    sizes = [len(batch.ids) for batch in found]
    assert max(sizes) < 2 * objective.batch_tokens  # all forms are counted, and the steps cost about the same
    assert np.mean(sizes) == pytest.approx(objective.batch_tokens, rel=0.25)


@pytest.mark.parametrize(
    ("tokens", "inner", "reordered"),
    [([1, 2], [], [2, 1]), ([1, 2, 3], [], [2, 3, 1]), ([1, 2, 3, 4, 5], [1, 3], [4, 5, 2, 3, 1])],
)
def test_of_one_sentence_the_halves_are_swapped(tokens: list[int], inner: list[int], reordered: list[int]) -> None:
    found = transformed(np.array(tokens), np.array(inner, np.int64), np.random.default_rng(0))
    assert [form.tolist() for form in found[:3]] == [tokens, reordered, tokens[::-1]]


def test_a_shuffle_may_be_any_order() -> None:
    generator = np.random.default_rng(0)
    drawn = [tuple(transformed(np.arange(4), np.zeros(0, np.int64), generator)[3].tolist()) for _ in range(2400)]
    counts = np.array([drawn.count(order) for order in set(drawn)])
    assert len(counts) == 24
    assert abs(counts - 100).max() < 50  # five standard deviations


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits)
    return powers / powers.sum()


SHAPES = [(1, 2, 1), (1, 2, 4), (3, 2, 4), (4, 5, 3), (5, 3, 2)]


@pytest.mark.parametrize(("texts", "labels", "transformations"), SHAPES)
def test_the_losses_are_the_papers(texts: int, labels: int, transformations: int) -> None:
    generator = np.random.default_rng(texts)
    joint = generator.normal(size=(texts, transformations, labels, transformations))
    single = generator.normal(size=(texts, labels))
    true = generator.integers(labels, size=texts)
    for b in range(texts):
        sla, s = 0.0, np.zeros(labels)
        for j in range(transformations):  # form j of text b; P over all pairs of label and transformation
            sla -= math.log(softmax(joint[b, j])[true[b], j]) / transformations
            for i in range(labels):
                s[i] += joint[b, j, i, j] / transformations
        aggregated, sigma = softmax(s), softmax(single[b])
        kl = sum(aggregated[i] * math.log(aggregated[i] / sigma[i]) for i in range(labels))
        given, said = torch.tensor(joint[b : b + 1]), torch.tensor(single[b : b + 1])
        assert joint_losses(given, torch.tensor(true[b : b + 1])).item() == pytest.approx(sla)
        np.testing.assert_allclose(aggregated_logits(given).softmax(dim=1)[0], aggregated)
        assert divergences(aggregated_logits(given), said).item() == pytest.approx(kl)
    # All texts together are each by itself.
    whole = joint_losses(torch.tensor(joint), torch.tensor(true))
    alone = [joint_losses(torch.tensor(joint[[b]]), torch.tensor(true[[b]])) for b in range(texts)]
    torch.testing.assert_close(whole, torch.cat(alone))
    inputs = [torch.tensor(x, requires_grad=True) for x in (joint, single)]
    assert torch.autograd.gradcheck(lambda x: joint_losses(x, torch.tensor(true)), inputs[:1])
    assert torch.autograd.gradcheck(lambda x: divergences(aggregated_logits(torch.tensor(joint)), x), inputs[1:])


@pytest.mark.parametrize(("distillation", "beta"), [(0, 1), (1, 1), (1, 0), (0.3, 0.7)])
def test_the_loss_of_a_batch_is_that_of_the_vectors_of_its_forms(distillation: float, beta: float) -> None:
    corpus = numbered(9, 3)
    objective = LabelAugmentation(**{**SMALL, "batch_tokens": 100_000}, distillation=distillation, beta=beta)
    ours = loss_of(corpus, objective).double()
    (batch,) = batches(objective, corpus)
    found = {name: value.item() for name, value in ours(batch).items()}
    weights = {name: value.detach().numpy() for name, value in ours.named_parameters() if "encoder" not in name}
    expected: dict[str, float] = dict.fromkeys(found, 0.0)
    for four, y in zip(forms(batch), batch.labels, strict=True):
        with torch.no_grad():  # one text at a time, framed by the network itself
            z = [ours.encoder.pooled(ours.encoder.states(s), s)[0].numpy() for s in framed_alone(ours, four)]
        logits = [(weights["joint.weight"] @ v + weights["joint.bias"]).reshape(2, 4) for v in z]
        aggregated = softmax(sum(logits[j][:, j] for j in range(4)) / 4)
        terms = {"joint_loss": -sum(math.log(softmax(logits[j])[y, j]) for j in range(4)) / 4}
        terms["accuracy"] = float(np.mean([logits[j].argmax() == 4 * y + j for j in range(4)]))
        terms["aggregated_accuracy"] = float(aggregated.argmax() == y)
        terms["loss"] = terms["joint_loss"]
        if distillation:
            sigma = softmax(weights["single.weight"] @ z[0] + weights["single.bias"])
            terms["distillation_loss"] = float((aggregated * np.log(aggregated / sigma)).sum())
            terms["single_accuracy"] = float(sigma.argmax() == y)
            terms["loss"] += distillation * (terms["distillation_loss"] - beta * math.log(sigma[y]))
        else:
            del terms["joint_loss"]  # it is the loss
        assert terms.keys() == found.keys()
        for name, value in terms.items():
            expected[name] += value / 9
    assert found == pytest.approx(expected, rel=1e-5)


def framed_alone(loss: JointLabels, four: list[list[int]]) -> list[Any]:
    return [loss.encoder.framed(torch.tensor(ids), torch.tensor([0, len(ids)])) for ids in four]


def test_no_gradient_flows_to_what_all_forms_say() -> None:
    corpus = numbered(8, 2)
    loss = loss_of(corpus, LabelAugmentation(**SMALL))
    assert loss.single is not None
    said = loss(batches(LabelAugmentation(**SMALL), corpus)[0])
    weights = [loss.joint.weight, loss.single.weight, *loss.encoder.parameters()]
    teacher, student, *_ = torch.autograd.grad(said["distillation_loss"], weights, allow_unused=True, retain_graph=True)
    assert teacher is None
    assert student is not None
    assert student.any()
    (joint,) = torch.autograd.grad(said["loss"], [loss.joint.weight])
    assert joint.any()


def test_parts_and_shares_together_are_the_batch() -> None:
    corpus = numbered(30, 3)
    objective = LabelAugmentation(**SMALL)
    loss = loss_of(corpus, objective)
    batch = objective.batches(corpus, 0)[0]
    whole = {name: value.item() for name, value in loss(batch).items()}
    for parts in (batch.split(3), [batch.share(rank, 2) for rank in range(2)]):
        said = [(loss(part), part.weight / batch.weight) for part in parts]
        summed = {name: sum(values[name].item() * share for values, share in said) for name in whole}
        assert summed == pytest.approx(whole, rel=1e-5, abs=1e-6)
        assert sorted(t for part in parts for t in part.ids.tolist()) == sorted(batch.ids.tolist())


def test_it_learns_label_and_order_together() -> None:
    """A document begins with words of one kind and ends with another, always in pairs a b; its topic is its label."""
    numbers = np.random.default_rng(0).integers(0, 5, (200, 8))
    words = [[f"{['first', 'last'][n >= 4]}{j}" for n, j in enumerate(row)] for row in numbers]
    lists = [[f"{word}{'xy'[d % 2]}{side}" for word in row for side in "ab"] for d, row in enumerate(words)]
    seen: list[dict[str, float]] = []
    corpus = labelled(lists, [d % 2 for d in range(200)], ("x", "y"))
    objective = LabelAugmentation(**{**SMALL, "epochs": 8})
    sslcore.pretrain(objective, corpus, seed=0, on_metrics=lambda step, m: seen.append(m))
    last = {name: np.mean([m[name] for m in seen[-5:]]) for name in seen[-1]}
    assert last["accuracy"] > 0.7, last  # one of eight by chance
    assert last["aggregated_accuracy"] > 0.95
    assert last["single_accuracy"] > 0.95
    assert last["distillation_loss"] < 0.05


def test_it_learns_the_labels_of_news() -> None:
    """100 news items that gensim ships: do they name Australia?"""
    spec = find_spec("gensim")
    assert spec is not None
    assert spec.submodule_search_locations
    file = Path(spec.submodule_search_locations[0]) / "test/test_data/lee_background.cor"
    lists = [line.lower().split()[:40] for line in file.read_text(encoding="utf-8").splitlines()[:100]]
    labels = [int(any(word.startswith("australia") for word in words)) for words in lists]
    corpus = labelled(lists, labels, ("elsewhere", "australia"))
    seen: list[dict[str, float]] = []
    objective = LabelAugmentation(**{**SMALL, "maximum_tokens": 42, "epochs": 8})
    sslcore.pretrain(objective, corpus, seed=0, on_metrics=lambda step, m: seen.append(m))
    last = {name: np.mean([m[name] for m in seen[-10:]]) for name in seen[-1]}
    most = max(np.bincount(labels)) / 100
    assert last["accuracy"] > 0.25, last  # one of eight by chance
    assert last["aggregated_accuracy"] > most + 0.1
    assert last["single_accuracy"] > most + 0.1


def test_rows_without_a_label_or_another_order_are_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    lists = [["a", "b", "c"], ["a"], ["b", "c"], ["c", "c", "c"], ["a", "c"], [], ["b", "a"]]
    corpus = labelled(lists, [0, 0, 1, 1, -1, 0, 1])
    objective = LabelAugmentation(**SMALL)
    with caplog.at_level(logging.WARNING, "sslcore.objectives"):
        objective.check(corpus, "cpu")
    assert "leaves out 4 of 7 documents: 1 have no label, 3 have fewer than 2 different tokens" in caplog.text
    (batch,) = batches(objective, corpus)
    words = [[corpus.tokenizer.tokens[i] for i in four[0]] for four in forms(batch)]
    assert sorted(zip(words, batch.labels.tolist(), strict=True)) == [(lists[0], 0), (lists[6], 1), (lists[2], 1)]
    assert batch.tokens == corpus.tokens


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([-1, -1, -1], r"no document of this corpus has one: name the column .* or choose sentence_order"),
        ([0, 0, -1], r"needs texts of 2 labels or more, .* this corpus has those of 1 \(even\)"),
        (
            [0, -1, 1],
            r"needs texts of 2 labels or more, .* this corpus has those of 1 \(even\)",
        ),  # one token
        ([-1, -1, 0], r"this corpus has those of 0: "),
    ],
)
def test_a_corpus_without_two_labels_is_refused_with_what_was_found(labels: list[int], said: str) -> None:
    corpus = labelled([["a", "b"], ["b", "c", "a"], ["c"]], labels)
    with pytest.raises(UserError, match=said):
        sslcore.pretrain(LabelAugmentation(**SMALL), corpus, seed=0)


def test_two_processes_descend_as_one_does(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(DESCEND)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*command, "train.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    one: dict[str, Any] = {}
    exec(DESCEND, one)
    two, other = (np.load(tmp_path / f"{rank}.npy") for rank in "01")
    np.testing.assert_array_equal(two, other)
    np.testing.assert_allclose(two, one["weights"], atol=1e-6)
    assert np.abs(two - one["before"]).max() > 1e-4


DESCEND = """
import os
import numpy as np, sslcore
from sslcore.randomness import torch_generator
generator = np.random.default_rng(0)
lists = [[f"w{j}" for j in generator.integers(0, 30, 5 + d % 9)] for d in range(100)]  # odd numbers of texts in a step
corpus = sslcore.EncodedCorpus.from_token_lists(lists)
corpus.labels, corpus.label_names = np.arange(100, dtype=np.int32) % 3, ("a", "b", "c")
objective = sslcore.LabelAugmentation(
    size="tiny", maximum_tokens=16, batch_tokens=300, epochs=1, dropout=0, learning_rate=1e-4, parts=2
)
encoder = sslcore.pretrain(objective, corpus, seed=0, workers=1)
weights = next(encoder.network.parameters()).detach().numpy()
before = next(encoder.fresh(torch_generator(0, "label_augmentation", "network")).network.parameters()).detach().numpy()
if "RANK" in os.environ:
    np.save(os.environ["RANK"], weights)
"""
