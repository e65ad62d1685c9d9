"""ELECTRA's two losses typed again, and what is shared, drawn and judged."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import sslcore
from sslcore.models.ragged import Sequences
from sslcore.objectives._replaced_tokens import ReplacedTokenDetection, detection_sum
from sslcore.objectives.masked_lm import NOT_PREDICTED, MaskedTexts
from sslcore.objectives.replaced_tokens import ReplacedTexts, ReplacedTokens
from sslcore.randomness import drawn_from, torch_generator
from sslcore.tokenization.encoding import EncodedCorpus

WORDS = 60
SMALL: dict[str, Any] = {"size": "tiny", "dropout": 0, "maximum_tokens": 32, "batch_tokens": 512}


@pytest.fixture(scope="module")
def corpus() -> EncodedCorpus:
    generator = np.random.default_rng(0)
    return EncodedCorpus.from_token_lists(
        [[f"w{j}" for j in generator.integers(0, WORDS, generator.integers(1, 90))] for _ in range(200)]
    )


def detection(corpus: EncodedCorpus, **fields: Any) -> ReplacedTokenDetection:
    network = ReplacedTokens(**SMALL).network(corpus.tokenizer, torch_generator(1))
    given = {"width": 0.25, "detection_weight": 50.0, "mask_id": 4, **fields}
    return ReplacedTokenDetection(network, torch_generator(2), **given)


def batch(lengths: list[int]) -> ReplacedTexts:
    generator = np.random.default_rng(sum(lengths))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = generator.integers(5, 5 + WORDS, offsets[-1])
    targets = np.where(generator.random(len(ids)) < 0.4, ids, NOT_PREDICTED)
    targets[0] = ids[0]
    ids[targets >= 0] = generator.choice([4, 9], int((targets >= 0).sum()))  # as BERT: a mask, or something else
    return ReplacedTexts(MaskedTexts(ids, targets, offsets, len(ids), 0.0, 1.0), (targets >= 0).sum() / len(ids))


@pytest.mark.parametrize("tokens", [1, 10, 40])
def test_the_detection_loss_is_the_formula(tokens: int) -> None:
    generator = np.random.default_rng(tokens)
    judged, replaced = generator.normal(size=tokens), generator.integers(0, 2, tokens)
    expected = 0.0
    for x, was_replaced in zip(judged, replaced, strict=True):
        original = 1 / (1 + math.exp(x))  # D(x, t), section 2: whether it "comes from the data"
        expected -= math.log(1 - original) if was_replaced else math.log(original)
    judged = torch.tensor(judged, requires_grad=True)
    assert detection_sum(judged, torch.tensor(replaced)).item() == pytest.approx(expected)
    assert torch.autograd.gradcheck(lambda x: detection_sum(x, torch.tensor(replaced)), judged)


@pytest.mark.parametrize("lengths", [[3], [5, 9, 2], [30, 1, 12, 12]])
@pytest.mark.parametrize("weight", [1.0, 50.0])
def test_the_loss_of_a_batch_is_that_of_the_same_draws(
    lengths: list[int], weight: float, corpus: EncodedCorpus
) -> None:
    loss = detection(corpus, detection_weight=weight).double().eval()
    given = batch(lengths)
    texts = given.texts
    asked = texts.targets >= 0
    original = np.where(asked, texts.targets, texts.ids)
    with drawn_from(7):
        said = loss(given)
    table = loss.encoder.model.get_input_embeddings().weight
    masked = torch.from_numpy(np.where(asked, 4, original))
    with torch.no_grad(), drawn_from(7):
        states = loss._generator_states(Sequences(masked, texts.offsets), torch.from_numpy(np.flatnonzero(asked)))
        logits = torch.nn.functional.linear(states, table, loss.bias)
        drawn = torch.multinomial(logits.softmax(dim=1), 1)[:, 0].numpy()
        corrupted = original.copy()
        corrupted[asked] = drawn
        states = loss.encoder.states(Sequences(torch.from_numpy(corrupted), texts.offsets))
        judged = loss.detection_head(states).numpy()
    log_p = logits.log_softmax(dim=1).numpy()
    generator_loss = -log_p[np.arange(len(drawn)), texts.targets[asked]].mean()
    sign = np.where(corrupted != original, -1.0, 1.0)  # drawn as it was: original
    detection_loss = np.log1p(np.exp(sign * judged)).mean()
    assert said["generator_loss"].item() == pytest.approx(generator_loss)
    assert said["detection_loss"].item() == pytest.approx(detection_loss)
    assert said["loss"].item() == pytest.approx(generator_loss + weight * detection_loss)
    assert said["replaced_share"].item() == pytest.approx((sign < 0).mean())


def test_detection_teaches_the_generator_nothing_but_the_shared_table(corpus: EncodedCorpus) -> None:
    loss = detection(corpus)
    assert loss.generator.embeddings.word_embeddings.weight is loss.encoder.model.get_input_embeddings().weight
    loss(batch([20, 9]))["detection_loss"].backward()
    moved = {name for name, p in loss.named_parameters() if p.grad is not None and p.grad.any()}
    assert "encoder.model.embeddings.word_embeddings.weight" in moved
    assert all(name.startswith(("encoder.", "detection_head.")) for name in moved)


@pytest.mark.parametrize(("size", "width", "expected"), [("tiny", 0.25, (32, 1)), ("mini", 0.5, (128, 2))])
def test_the_generator_is_a_part_as_wide(size: str, width: float, expected: tuple[int, int], corpus: Any) -> None:
    network = ReplacedTokens(size=size).network(corpus.tokenizer, torch_generator(1))  # type: ignore[arg-type]
    loss = ReplacedTokenDetection(network, torch_generator(2), width=width, detection_weight=50, mask_id=4)
    config = loss.generator.config
    assert (config.hidden_size, config.num_attention_heads) == expected
    assert config.num_hidden_layers == network.model.config.num_hidden_layers


def test_parts_and_shares_together_are_the_batch(corpus: EncodedCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    loss = detection(corpus).eval()
    # Draws that do not depend on what else is in the part: the likeliest.
    monkeypatch.setattr(torch, "multinomial", lambda p, n: p.argmax(dim=1, keepdim=True))
    given = ReplacedTokens(**SMALL).batches(corpus, 0)[0]
    whole = loss(given)["loss"].item()
    for parts in (given.split(3), [given.share(rank, 2) for rank in range(2)]):
        assert sum(part.weight for part in parts) == given.weight
        assert sum(loss(p)["loss"].item() * p.weight / given.weight for p in parts) == pytest.approx(whole, rel=1e-5)


def test_it_finds_words_of_another_topic() -> None:
    """Two topics: the generator learns them, and a drawn word of the topic is found about as often as chance."""
    generator = np.random.default_rng(0)
    lists = [[f"{'ab'[d % 2]}{j}" for j in generator.integers(0, 20, 30)] for d in range(400)]
    seen: list[dict[str, float]] = []
    objective = ReplacedTokens(**{**SMALL, "batch_tokens": 1024}, epochs=20, learning_rate=2e-3)
    sslcore.pretrain(objective, lists, seed=0, on_metrics=lambda step, m: seen.append(m))
    assert max(m["learning_rate"] for m in seen) == pytest.approx(2e-3, rel=0.05)
    assert seen[-1]["generator_loss"] < 0.85 * seen[0]["generator_loss"]
    assert seen[-1]["detection_loss"] < 0.45 < seen[0]["detection_loss"]
    assert 0.10 < seen[-1]["replaced_share"] < 0.15  # of those with the frames; a few are drawn as they were


@pytest.mark.parametrize("fields", [{"masked_share": 0}, {"generator_width": 0}, {"detection_weight": 0}])
def test_what_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(fields))):
        ReplacedTokens(**fields)


def test_its_own_rate_is_what_it_trains_at() -> None:
    objective = ReplacedTokens(**{**SMALL, "batch_tokens": 64}, epochs=1)
    seen: list[float] = []
    lists = [[f"w{place}" for place in range(30)] for _ in range(100)]
    sslcore.pretrain(objective, lists, seed=0, on_metrics=lambda step, m: seen.append(m["learning_rate"]))
    assert objective.peak_rate < 0.2 * sslcore.MaskedLM(**SMALL).peak_rate
    assert max(seen) == pytest.approx(objective.peak_rate, rel=0.05)
