"""Pairs by counting, and the loss of order typed again."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch

import sslcore
from sslcore.errors import UserError
from sslcore.models.ragged import Sequences
from sslcore.objectives._pair_objective import OrderedPairs, summed
from sslcore.objectives.next_sentence import NextSentence
from sslcore.objectives.pair_objective import PairedTexts, PairObjective
from sslcore.objectives.sentence_order import SentenceOrder
from sslcore.randomness import torch_generator
from sslcore.tokenization.encoding import EncodedCorpus

KINDS = [NextSentence, SentenceOrder]
SMALL: dict[str, Any] = {"size": "tiny", "maximum_tokens": 32, "batch_tokens": 2048, "epochs": 1, "dropout": 0}


def numbered(documents: int, sentences: int | None, seed: int = 0) -> EncodedCorpus:
    """Every token tells its document and place: d3p7. Documents of up to 60 tokens, of so many sentences or of one."""
    generator = np.random.default_rng(seed)
    lists = [[f"d{d}p{p}" for p in range(generator.integers(1, 60))] for d in range(documents)]
    made = EncodedCorpus.from_token_lists(lists, minimum_count=1)
    if sentences:
        inner = [generator.choice(np.arange(a, b), sentences) for a, b in zip(*bounds(made), strict=True)]
        made.sentence_offsets = np.union1d(made.document_offsets, np.concatenate(inner))
    return made


def bounds(corpus: EncodedCorpus) -> tuple[np.ndarray, np.ndarray]:
    return corpus.document_offsets[:-1], corpus.document_offsets[1:]


def batches(objective: PairObjective, corpus: EncodedCorpus, seed: int = 3) -> list[PairedTexts]:
    made = objective.batches(corpus, seed)
    return [made[step] for step in range(len(made))]


def segments(batch: PairedTexts, corpus: EncodedCorpus) -> list[tuple[list[str], list[str], int]]:
    """(a, b, wrong) of each sequence, in words."""
    whole = np.where(batch.targets >= 0, batch.targets, batch.ids)
    found = []
    for row, (start, end) in enumerate(zip(batch.offsets[:-1], batch.offsets[1:], strict=True)):
        ids, kinds = whole[start:end], batch.kinds[start:end]
        first, second = ids[kinds == 0], ids[kinds == 1]
        assert (first[0], first[-1], second[-1], (np.diff(kinds) < 0).any()) == (2, 3, 3, False)
        words = [[corpus.tokenizer.tokens[i] for i in part] for part in (first[1:-1], second[:-1])]
        found.append((words[0], words[1], int(batch.wrong[row])))
    return found


def place(word: str) -> tuple[int, int]:
    document, _, at = word[1:].partition("p")
    return int(document), int(at)


@pytest.mark.parametrize("sentences", [None, 6])
@pytest.mark.parametrize("kind", KINDS)
def test_half_of_the_pairs_are_wrong_as_the_papers_have_them(kind: type[PairObjective], sentences: int | None) -> None:
    corpus = numbered(2000, sentences)
    made = batches(kind(**SMALL), corpus)
    found = [triple for batch in made for triple in segments(batch, corpus)]
    labels = [wrong for *_, wrong in found]
    pairs = sum(wrong >= 0 for wrong in labels)
    assert pairs > 2500
    assert labels.count(1) / pairs == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(pairs))
    for first, second, wrong in found:
        assert len(first) + len(second) <= 29
        if wrong == -1:
            assert (len(first) < 4, second) == (True, [])
            continue
        ends = [(place(part[0]), place(part[-1])) for part in (first, second)]
        assert all(a[0] == b[0] and b[1] - a[1] == len(p) - 1 for (a, b), p in zip(ends, (first, second), strict=True))
        before, after = (ends[1], ends[0]) if wrong and kind is SentenceOrder else ends
        follows = (before[1][0], before[1][1] + 1) == after[0]
        if wrong and kind is NextSentence:
            assert before[0][0] != after[0][0]  # never of the same document
        else:
            assert follows
        if sentences is None and not wrong:
            assert abs(len(first) - len(second)) <= 1  # halves
    assert sum(batch.tokens for batch in made) == corpus.tokens


@pytest.mark.parametrize("kind", KINDS)
def test_cuts_are_at_sentences_and_new_in_each_epoch(kind: type[PairObjective]) -> None:
    corpus = numbered(300, 8)
    ends = {corpus.tokenizer.tokens[corpus.ids[s - 1]] for s in corpus.sentence_offsets[1:]}
    made = batches(kind(**{**SMALL, "epochs": 2, "masked_share": 0}), corpus)
    cuts: list[set[str]] = []
    for half in (made[: len(made) // 2], made[len(made) // 2 :]):
        right = [t for batch in half for t in segments(batch, corpus) if t[2] == 0]
        at_sentences = [first[-1] in ends for first, second, _ in right if len(first) + len(second) < 4]
        assert all(at_sentences)
        cuts.append({first[-1] for first, *_ in right})
        assert np.mean([first[-1] in ends for first, *_ in right]) > 0.9  # else the piece was one sentence
    assert len(cuts[0] - cuts[1]) > 50
    again = kind(**{**SMALL, "epochs": 2, "masked_share": 0}).batches(corpus, 3)[len(made) - 1]
    assert np.array_equal(again.ids, made[-1].ids)
    assert (again.targets == -1).all()  # order alone


def test_partners_are_of_every_other_document_alike() -> None:
    from sslcore.objectives.pair_objective import Segments

    corpus = numbered(5, None)
    found = Segments(corpus, 8)
    pieces = np.repeat(found.in_pairs[found.documents[found.in_pairs] == 3][:1], 40_000)
    drawn = found.of_another_document(pieces, np.random.default_rng(0))
    others = found.in_pairs[found.documents[found.in_pairs] != 3]
    counts = np.bincount(drawn, minlength=len(found.documents))
    assert set(np.flatnonzero(counts)) == set(others)
    assert counts[others].std() < 1.8 * math.sqrt(40_000 / len(others))


@pytest.mark.parametrize(("rows", "classes"), [(1, 2), (6, 2), (5, 9)])
def test_the_loss_is_the_formula(rows: int, classes: int) -> None:
    generator = np.random.default_rng(rows)
    logits, targets = generator.normal(size=(rows, classes)), generator.integers(-1, classes, rows)
    expected = sum(
        math.log(sum(map(math.exp, row))) - row[target]
        for row, target in zip(logits, targets, strict=True)
        if target >= 0
    )
    given = torch.tensor(logits, requires_grad=True)
    assert summed(given, torch.tensor(targets)).item() == pytest.approx(expected)
    assert torch.autograd.gradcheck(lambda x: summed(x, torch.tensor(targets)), [given])


@pytest.mark.parametrize("restores", [True, False])
def test_the_loss_of_a_batch_is_that_of_transformers_on_the_same_weights(restores: bool) -> None:
    from transformers import BertForPreTraining

    corpus = numbered(30, 4)
    objective = SentenceOrder(**SMALL, masked_share=0.2 if restores else 0)
    network = objective.network(corpus.tokenizer, torch_generator(1))
    ours = OrderedPairs(network, torch_generator(2), restores=restores).double()
    batch = objective.batches(corpus, 0)[0]
    theirs = BertForPreTraining(copy.deepcopy(network.model.config)).double()
    theirs.set_attn_implementation("sdpa")
    theirs.bert.load_state_dict(network.model.state_dict(), strict=False)
    theirs.bert.pooler.dense.load_state_dict(ours.pooler.state_dict())
    theirs.cls.seq_relationship.load_state_dict(ours.order.state_dict())
    if ours.head is not None:
        theirs.cls.predictions.transform.load_state_dict(ours.head.transform.state_dict())
    lengths = np.diff(batch.offsets)
    inside = torch.arange(int(lengths.max())) < torch.from_numpy(lengths)[:, None]
    ids, kinds, labels = (torch.zeros(inside.shape, dtype=torch.int64) for _ in range(3))
    for padded, array in ((ids, batch.ids), (kinds, batch.kinds), (labels, batch.targets)):
        padded[inside] = torch.from_numpy(array)
    said = theirs(input_ids=ids, attention_mask=inside.long(), token_type_ids=kinds)
    expected = {"order_loss": summed(said.seq_relationship_logits, torch.from_numpy(batch.wrong)).item()}
    expected["order_loss"] /= (batch.wrong >= 0).sum()
    if restores:
        masked = inside & (labels >= 0) & (torch.where(inside, labels, -1) >= 0)
        masked_loss = torch.nn.functional.cross_entropy(said.prediction_logits[masked], labels[masked])
        expected["masked_loss"] = masked_loss.item()
    found = ours(batch)
    assert found["loss"].item() == pytest.approx(sum(expected.values()), rel=1e-6)
    if restores:
        assert {name: found[name].item() for name in expected} == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_and_shares_together_are_the_batch(kind: type[PairObjective]) -> None:
    corpus = numbered(60, 4)
    objective = kind(**SMALL)
    network = objective.network(corpus.tokenizer, torch_generator(1))
    loss = OrderedPairs(network, torch_generator(2), restores=True).eval()
    batch = objective.batches(corpus, 0)[0]
    whole = loss(batch)["loss"].item()
    for parts in (batch.split(3), [batch.share(rank, 2) for rank in range(2)]):
        assert sum(loss(p)["loss"].item() * p.weight / batch.weight for p in parts) == pytest.approx(whole, rel=1e-5)


def test_token_types_matter() -> None:
    corpus = numbered(20, 4)
    network = SentenceOrder(**SMALL).network(corpus.tokenizer, torch_generator(1)).eval()
    batch = SentenceOrder(**SMALL).batches(corpus, 0)[0]
    ids, kinds = torch.from_numpy(batch.ids), torch.from_numpy(batch.kinds)
    with torch.no_grad():
        with_kinds, without = (network.states(Sequences(ids, batch.offsets, k)) for k in (kinds, None))
    assert not torch.allclose(with_kinds, without)


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_what_its_pairs_tell(kind: type[PairObjective]) -> None:
    """A document begins with words of one kind and ends with another; each has one of two topics."""
    generator = np.random.default_rng(0)
    lists = [
        [f"{part}{'xy'[d % 2]}{j}" for part in ("first", "last") for j in generator.integers(0, 5, 6)]
        for d in range(1000)
    ]
    seen: list[float] = []
    objective = kind(**{**SMALL, "epochs": 12, "masked_share": 0, "batch_tokens": 1024})
    sslcore.pretrain(objective, lists, seed=0, on_metrics=lambda step, m: seen.append(m["accuracy"]))
    # Half of the other documents are of the same topic and look as if they followed: 3 of 4 are all there is to know.
    assert np.mean(seen[-10:]) > (0.95 if kind is SentenceOrder else 0.7)


@pytest.mark.parametrize("kind", KINDS)
def test_a_corpus_without_pairs_is_refused_with_what_was_found(kind: type[PairObjective]) -> None:
    short = [["a", "b", "c"], ["b", "a"]] * 10
    with pytest.raises(UserError, match=r"this corpus has 0: give longer texts, or choose masked_lm"):
        sslcore.pretrain(kind(**SMALL), short, seed=0)
    one = [["a", "b", "c"] * 5, ["a", "b"]]
    if kind is NextSentence:
        with pytest.raises(UserError, match=r"needs 2 or more documents .* this corpus has 1"):
            sslcore.pretrain(kind(**SMALL), one, seed=0)
    else:
        sslcore.pretrain(kind(**SMALL), one, seed=0)
