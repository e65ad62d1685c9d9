"""Corruptions by counting over 100,000 tokens, and the loss beside a padded decoder's on the same weights."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import sslcore
from sslcore.objectives._sequence_denoising import SaidAgain
from sslcore.objectives.sequence_denoising import SequenceDenoising, corrupt, drawn_spans, hidden_behind_masks, permuted
from sslcore.objectives.tsdae import DamagedTexts
from sslcore.randomness import torch_generator
from sslcore.tokenization.encoding import EncodedCorpus

MASK = 4
NOTHING: dict[str, Any] = {"infilling": 0, "permutation": 0, "rotation": 0, "masking": 0, "deletion": 0}
SMALL: dict[str, Any] = {"size": "tiny", "maximum_tokens": 64, "batch_tokens": 2048, "epochs": 1, "dropout": 0}


@pytest.fixture(scope="module")
def corpus() -> EncodedCorpus:
    """120,000 tokens in documents of 1 to 300, in sentences of ten on average."""
    generator = np.random.default_rng(0)
    lists = [[f"w{j}" for j in generator.integers(0, 200, generator.integers(1, 300))] for _ in range(800)]
    made = EncodedCorpus.from_token_lists(lists)
    made.sentence_offsets = np.union1d(made.document_offsets, generator.choice(made.tokens, made.tokens // 10))
    return made


def batches(objective: SequenceDenoising, corpus: EncodedCorpus) -> list[DamagedTexts]:
    made = objective.batches(corpus, 3)
    return [made[step] for step in range(len(made))]


def rows(batch: DamagedTexts) -> list[tuple[np.ndarray, np.ndarray]]:
    """(what the encoder reads, what the decoder says) of each text, without frames."""
    pairs = [np.split(batch.ids, batch.offsets[1:-1]), np.split(batch.whole_ids, batch.whole_offsets[1:-1])]
    found = list(zip(*pairs, strict=True))
    assert all(part[0] == 2 and part[-1] == 3 for pair in found for part in pair)
    return [(read[1:-1], said[1:-1]) for read, said in found]


@pytest.mark.parametrize("name", ["masking", "deletion"])
@pytest.mark.parametrize("share", [0.1, 0.4])
def test_masking_and_deletion_by_counting(name: str, share: float, corpus: EncodedCorpus) -> None:
    objective = SequenceDenoising(**{**SMALL, **NOTHING, name: share})
    made = [pair for batch in batches(objective, corpus) for pair in rows(batch)]
    said = sum(len(said) for _, said in made)
    assert said == corpus.tokens > 100_000
    gone = [(read == MASK).sum() if name == "masking" else len(said) - len(read) for read, said in made]
    assert sum(gone) / said == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / said))
    if name == "masking":
        assert all(np.array_equal(np.where(read == MASK, said, read), said) for read, said in made)


@pytest.mark.parametrize("share", [0.15, 0.3, 0.6])
def test_spans_by_counting(share: float) -> None:
    """On average the share; lengths of Poisson(3) but for the last of a text; zero-length ones among them."""
    generator = np.random.default_rng(1)
    lengths, hidden = [], 0
    for _ in range(50):
        spans = drawn_spans(2000, share, generator)
        ends = [start + length for start, length in spans]
        assert all(end < start for end, (start, _) in zip(ends, spans[1:], strict=False))  # something stays between
        assert ends[-1] <= 2000
        lengths += [length for _, length in spans[:-1]]
        hidden += sum(length for _, length in spans)
    assert hidden / 100_000 == pytest.approx(share, abs=0.001)
    if share < 0.5:  # beyond, so many spans of which none touch hardly fit
        order = np.array(lengths)
        assert order.mean() == pytest.approx(3, abs=4 * math.sqrt(3 / len(order)) + 0.03)
        assert (order == 0).mean() == pytest.approx(math.exp(-3), abs=0.01)
        assert (order == 3).mean() == pytest.approx(math.exp(-3) * 4.5, abs=0.02)


@pytest.mark.parametrize("count", [1, 2, 5, 13])
def test_spans_of_short_texts_hide_the_share_on_average(count: int) -> None:
    generator = np.random.default_rng(count)
    drawn = [sum(length for _, length in drawn_spans(count, 0.3, generator)) for _ in range(20_000)]
    assert np.mean(drawn) == pytest.approx(0.3 * count, abs=0.02)
    assert max(drawn) <= count


def test_sentences_are_kept_whole_in_a_permutation_and_every_order_comes() -> None:
    tokens, inner = np.arange(10, 22), np.array([3, 4, 9])
    generator = np.random.default_rng(0)
    orders = [tuple(permuted(tokens, inner, generator)) for _ in range(4000)]
    sentences = [tuple(part) for part in np.split(tokens, inner)]
    starts = {part[0]: part for part in sentences}
    for order in set(orders):
        rest = list(order)
        while rest:
            assert tuple(rest[: len(starts[rest[0]])]) == starts[rest[0]]
            rest = rest[len(starts[rest[0]]) :]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 24
    assert max(counts) - min(counts) < 8 * math.sqrt(4000 / 24)


def test_a_rotation_is_a_rotation_and_begins_anywhere(corpus: EncodedCorpus) -> None:
    generator = np.random.default_rng(0)
    shares = SequenceDenoising(**{**NOTHING, "rotation": 0.5})
    tokens = np.arange(10, 20)
    begins = []
    for _ in range(10_000):
        read, hidden = corrupt(tokens, np.array([], np.int64), shares, generator, MASK)
        assert hidden == []
        assert np.array_equal(np.roll(read, read[0] - 10), tokens)
        begins.append(read[0] - 10)
    counts = np.bincount(begins)
    assert counts[0] / 10_000 == pytest.approx(0.55, abs=0.02)
    assert counts[1:].min() > 400


def test_the_encoder_reads_sentences_in_another_order(corpus: EncodedCorpus) -> None:
    made = [pair for b in batches(SequenceDenoising(**SMALL, infilling=0), corpus) for pair in rows(b)]
    assert all(sorted(read) == sorted(said) for read, said in made)
    long = [np.array_equal(read, said) for read, said in made if len(said) > 50]
    assert np.mean(long) < 0.1


def test_what_masks_hide_is_said_in_their_order(corpus: EncodedCorpus) -> None:
    """Putting what the decoder says behind the masks gives the text back."""
    objective = SequenceDenoising(**{**SMALL, **NOTHING, "infilling": 0.3, "masking": 0.1}, style="spans")
    whole = SequenceDenoising(**{**SMALL, **NOTHING, "infilling": 0.3, "masking": 0.1})
    for batch, other in zip(batches(objective, corpus), batches(whole, corpus), strict=True):
        for (read, said), (again, text) in zip(rows(batch), rows(other), strict=True):
            assert np.array_equal(read, again)
            masks = np.flatnonzero(read == MASK)
            spans = np.split(said, np.flatnonzero(said == MASK)) if len(masks) else []
            if len(read) == 62:
                continue  # cut to what the model can take
            assert len(spans) == len(masks)
            parts = np.split(read, masks)
            filled = [parts[0]]
            for number, (span, part) in enumerate(zip(spans, parts[1:], strict=True)):
                filled += [span[1 if number else 0 :], part[1:]]
            assert np.array_equal(np.concatenate(filled), text)


def test_masks_and_deletions_by_hand() -> None:
    tokens = np.arange(10, 20)
    deleted = np.zeros(10, bool)
    deleted[[0, 8]] = True
    read, hidden = hidden_behind_masks(tokens, [(6, 1), (2, 3), (5, 0)], deleted, MASK)
    assert read.tolist() == [11, MASK, MASK, 15, MASK, 17, 19]
    assert [part.tolist() for part in hidden] == [[12, 13, 14], [], [16]]


@pytest.mark.parametrize("lengths", [[3], [5, 9, 2], [30, 2, 12, 12]])
def test_the_loss_is_that_of_each_text_alone_and_padding_is_none_of_it(lengths: list[int], corpus: Any) -> None:
    objective = SequenceDenoising(**SMALL)
    network = objective.network(corpus.tokenizer, torch_generator(1))
    loss = SaidAgain(network, torch_generator(2), layers=2).double().eval()
    assert loss.decoder.get_input_embeddings().weight is network.model.get_input_embeddings().weight
    generator = np.random.default_rng(sum(lengths))
    texts = [(generator.integers(2, 200, n), generator.integers(2, 200, max(2, n - 1))) for n in lengths]
    offsets = [np.concatenate([[0], np.cumsum([len(pair[i]) for pair in texts])]) for i in range(2)]
    read, said = (np.concatenate([pair[i] for pair in texts]) for i in range(2))
    batch = DamagedTexts(read, offsets[0], said, offsets[1], len(read), 0.0, 1.0)
    plain = copy.deepcopy(network.model)
    plain.set_attn_implementation("sdpa")
    total, table = 0.0, network.model.get_input_embeddings().weight.detach().numpy()
    with torch.no_grad():
        for read, said in texts:
            states = plain(input_ids=torch.from_numpy(read)[None])
            for end in range(1, len(said)):  # a prefix at a time: no token sees what it is to say
                decoded = loss.decoder(
                    input_ids=torch.from_numpy(said[:end])[None], encoder_hidden_states=states.last_hidden_state
                )
                logits = table @ decoded.last_hidden_state[0, -1].numpy()
                total -= logits[said[end]] - np.log(np.exp(logits).sum())
    assert batch.weight == len(batch.whole_ids) - len(lengths)
    assert loss(batch)["loss"].item() == pytest.approx(total / batch.weight, rel=1e-6)


def test_parts_and_shares_together_are_the_batch(corpus: EncodedCorpus) -> None:
    objective = SequenceDenoising(**SMALL)
    network = objective.network(corpus.tokenizer, torch_generator(1))
    loss = SaidAgain(network, torch_generator(2), layers=1).eval()
    batch = objective.batches(corpus, 0)[0]
    whole = loss(batch)["loss"].item()
    for parts in (batch.split(3), [batch.share(rank, 2) for rank in range(2)]):
        assert sum(part.weight for part in parts) == batch.weight
        assert sum(loss(p)["loss"].item() * p.weight / batch.weight for p in parts) == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("style", ["restore", "spans"])
def test_it_learns_to_say_what_is_missing(style: Any) -> None:
    """Texts that count in a circle, a token each time the next: what is hidden follows from what stands around."""
    lists = [[f"c{(start + i) % 12}" for i in range(24)] for start in range(12)] * 20
    seen: list[float] = []
    objective = SequenceDenoising(**{**SMALL, "epochs": 12, "batch_tokens": 1024}, style=style)
    sslcore.pretrain(objective, lists, seed=0, on_metrics=lambda step, m: seen.append(m["loss"]))
    assert seen[0] > 2.4
    assert np.mean(seen[-5:]) < seen[0] / 2  # how long a span is stays a guess


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"style": "spans", "infilling": 0}, "give infilling or masking more than 0"),
        ({"style": "spans", "deletion": 0.1}, "give deletion 0"),
        ({"infilling": 1}, "infilling"),
    ],
)
def test_what_does_not_fit_together_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        SequenceDenoising(**fields)
