"""Masks as the papers have them, by counting; the loss as transformers computes it on the same weights."""

import copy
import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import sslcore
from sslcore.errors import UserError
from sslcore.models.encoder import Encoder
from sslcore.objectives._masked_lm import MaskedTokens
from sslcore.objectives.masked_lm import NOT_PREDICTED, MaskedLM, MaskedTexts
from sslcore.randomness import torch_generator
from sslcore.tokenization.encoding import EncodedCorpus

WORDS = 400


@pytest.fixture(scope="module")
def corpus() -> EncodedCorpus:
    """120,000 tokens in documents of 1 to 300."""
    generator = np.random.default_rng(0)
    lists = [[f"w{j}" for j in generator.integers(0, WORDS, generator.integers(1, 300))] for _ in range(800)]
    return EncodedCorpus.from_token_lists(lists)


def batches(objective: MaskedLM, corpus: EncodedCorpus) -> list[MaskedTexts]:
    made = objective.batches(corpus, 3)
    return [made[step] for step in range(len(made))]


@pytest.mark.parametrize("masks", ["tokens", "words", "spans"])
@pytest.mark.parametrize("share", [0.15, 0.4])
def test_masks_by_counting(masks: str, share: float, corpus: EncodedCorpus) -> None:
    objective = MaskedLM(size="tiny", masks=masks, masked_share=share, epochs=1)  # type: ignore[arg-type]
    made = batches(objective, corpus)
    ids, targets = (np.concatenate([getattr(b, name) for b in made]) for name in ("ids", "targets"))
    assert sum(b.tokens for b in made) == corpus.tokens > 100_000
    hidden = targets != NOT_PREDICTED
    assert hidden.sum() / corpus.tokens == pytest.approx(share, abs=0.002)
    original = np.where(hidden, targets, ids)
    assert sorted(original[original >= 5]) == sorted(corpus.ids)
    assert set(original[original < 5]) == {2, 3}  # frames are never hidden
    became = ids[hidden]
    slack = 4 / math.sqrt(hidden.sum() / (4 if masks == "spans" else 1))
    assert (became == 4).mean() == pytest.approx(0.8, abs=0.4 * slack)
    # A random token is the old one by chance once in WORDS.
    assert (became == targets[hidden]).mean() == pytest.approx(0.1 + 0.1 / WORDS, abs=0.3 * slack)
    random = became[(became != 4) & (became != targets[hidden])]
    counts = np.bincount(random, minlength=5 + WORDS)[5:]  # every word as often as another
    assert counts.std() < 1.5 * math.sqrt(counts.mean()) + (8 if masks == "spans" else 0)


def test_spans_are_as_long_as_spanberts(corpus: EncodedCorpus) -> None:
    """Geometric with 0.2, up to 10: 3.8 words on average (Joshi et al. 2020, section 3.1)."""
    lists = [[f"w{j}" for j in np.random.default_rng(d).integers(0, WORDS, 5000)] for d in range(20)]
    long = EncodedCorpus.from_token_lists(lists)
    objective = MaskedLM(size="tiny", masks="spans", masked_share=0.05, epochs=1, maximum_tokens=5002)
    lengths: list[int] = []
    for batch in batches(objective.model_copy(update={"batch_tokens": 5002}), long):
        hidden = np.concatenate([[False], batch.targets != NOT_PREDICTED, [False]])
        edges = np.flatnonzero(hidden[1:] != hidden[:-1])
        lengths += (edges[1::2] - edges[::2]).tolist()
    assert np.mean(lengths) == pytest.approx(3.8 / 0.95, rel=0.05)  # now and then two spans touch
    assert np.mean(np.array(lengths) <= 10) > 0.95


def test_masks_are_new_in_each_epoch_and_the_same_for_one_seed(corpus: EncodedCorpus) -> None:
    objective = MaskedLM(size="tiny", epochs=2, batch_tokens=200_000)
    one, two = batches(objective, corpus)
    again = objective.batches(corpus, 3)[1]
    assert np.array_equal(two.ids, again.ids)
    assert not np.array_equal(objective.batches(corpus, 4)[1].ids, two.ids)
    assert set(np.flatnonzero(one.targets >= 0)) != set(np.flatnonzero(two.targets >= 0))


@pytest.mark.parametrize("lengths", [[3], [5, 9, 2], [30, 1, 12, 12]])
def test_the_loss_is_that_of_transformers_on_the_same_weights(lengths: list[int], corpus: EncodedCorpus) -> None:
    from transformers import BertForMaskedLM

    objective = MaskedLM(size="tiny", maximum_tokens=64, dropout=0)
    network = objective.network(corpus.tokenizer, torch_generator(1))
    ours = MaskedTokens(network, torch_generator(2)).double()
    generator = np.random.default_rng(1)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = generator.integers(2, 5 + WORDS, offsets[-1])
    targets = np.where(generator.random(len(ids)) < 0.4, generator.integers(5, 5 + WORDS, len(ids)), NOT_PREDICTED)
    targets[0] = 9
    theirs = BertForMaskedLM(copy.deepcopy(network.model.config)).double()
    theirs.set_attn_implementation("sdpa")
    theirs.bert.load_state_dict(network.model.state_dict())
    theirs.cls.predictions.transform.load_state_dict(ours.head.transform.state_dict())
    padded = torch.zeros(len(lengths), max(lengths), dtype=torch.int64)
    labels = torch.full_like(padded, -100)
    inside = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    padded[inside] = torch.from_numpy(ids)
    labels[inside] = torch.from_numpy(np.where(targets >= 0, targets, -100))
    expected = theirs(input_ids=padded, attention_mask=inside.long(), labels=labels).loss
    said = ours(MaskedTexts(ids, targets, offsets, len(ids), 0.0, 1.0))
    assert said["loss"].item() == pytest.approx(expected.item(), rel=1e-6)
    expected.backward()
    said["loss"].backward()
    table = network.model.embeddings.word_embeddings.weight.grad
    torch.testing.assert_close(table, theirs.bert.embeddings.word_embeddings.weight.grad)


def test_the_loss_is_the_papers_formula_and_its_gradient_is_right(corpus: EncodedCorpus) -> None:
    network = MaskedLM(size="tiny", maximum_tokens=64, dropout=0).network(corpus.tokenizer, torch_generator(1))
    loss = MaskedTokens(network, torch_generator(2)).double()
    batch = MaskedTexts(np.array([2, 4, 9, 3]), np.array([-1, 7, 9, -1]), np.array([0, 4]), 2, 0.0, 1.0)
    with torch.no_grad():
        from sslcore.models.ragged import Sequences

        states = network.states(Sequences(torch.from_numpy(batch.ids), batch.offsets))[1:3]
        hidden = loss.head.transform(states).numpy()
        table, bias = network.model.embeddings.word_embeddings.weight.numpy(), loss.head.bias.numpy()
    total = 0.0
    for vector, target in zip(hidden, (7, 9), strict=True):
        logits = [float(row @ vector + b) for row, b in zip(table, bias, strict=True)]
        total -= logits[target] - math.log(sum(math.exp(x) for x in logits))
    assert loss(batch)["loss"].item() == pytest.approx(total / 2, rel=1e-9)
    positions = network.model.embeddings.position_embeddings.weight

    def of_positions(first: torch.Tensor) -> torch.Tensor:
        rows = torch.cat([first, positions[2:].detach()])
        named = {"encoder.model.embeddings.position_embeddings.weight": rows}
        return torch.func.functional_call(loss, named, (batch,))["loss"]

    assert torch.autograd.gradcheck(of_positions, positions[:2].detach().clone().requires_grad_())


def test_matrices_decay_and_norms_and_biases_do_not(corpus: EncodedCorpus) -> None:
    """A rate without a gradient to follow: only what decays moves."""
    objective = MaskedLM(size="tiny", maximum_tokens=32, batch_tokens=512, weight_decay=0.5, learning_rate=0.1)
    network = objective.network(corpus.tokenizer, torch_generator(1))
    for parameter in network.parameters():
        torch.nn.init.ones_(parameter)

    class Nothing(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, batch: MaskedTexts) -> dict[str, torch.Tensor]:
            return {"loss": sum(p.sum() * 0 for p in self.network.parameters())}  # type: ignore[dict-item]

    class NoGradient(MaskedLM):
        def loss(self, *_: object) -> torch.nn.Module:
            return Nothing()

    encoder = Encoder(corpus.tokenizer, network, {}, 0)
    learner = NoGradient.model_validate(objective.model_dump()).learner(
        encoder, torch_generator(0), device="cpu", workers=1
    )
    learner.update_at(objective.batches(corpus, 0)[0], 0.1)
    moved = {name for name, parameter in network.named_parameters() if (parameter != 1).any()}
    assert moved == {name for name, parameter in network.named_parameters() if parameter.ndim > 1}
    assert any("LayerNorm.weight" in name for name, _ in network.named_parameters())


def test_parts_and_shares_together_are_the_batch(corpus: EncodedCorpus) -> None:
    objective = MaskedLM(size="tiny", dropout=0, maximum_tokens=32, batch_tokens=512)
    loss = MaskedTokens(objective.network(corpus.tokenizer, torch_generator(1)), torch_generator(2)).eval()
    batch = objective.batches(corpus, 0)[0]
    whole = loss(batch)["loss"].item()
    for parts in (batch.split(3), [batch.share(rank, 2) for rank in range(2)]):
        assert sum(part.weight for part in parts) == batch.weight
        assert sum(loss(p)["loss"].item() * p.weight / batch.weight for p in parts) == pytest.approx(whole, rel=1e-5)


def test_training_in_parts_is_training_at_once(corpus: EncodedCorpus) -> None:
    def trained(parts: int) -> np.ndarray:
        objective = MaskedLM(
            size="tiny", dropout=0, epochs=1, maximum_tokens=32, batch_tokens=20_000, parts=parts, learning_rate=1e-4
        )
        return sslcore.pretrain(objective, corpus, seed=0).encode(["w1 w2 w3", "w9"])

    np.testing.assert_allclose(trained(3), trained(1), atol=2e-3)


def test_it_learns_which_words_go_together() -> None:
    """Two topics of 20 words: what is best to say of a hidden word is its topic.

    17 of 20 chosen are masked, or a word of the other topic, and cost ln 20; of the rest .1025 / .15 are unchanged.
    """
    same = 0.1025 / 0.15
    best = 0.85 * math.log(20) - 0.15 * (same * math.log(same) + (1 - same) * math.log((1 - same) / 19))
    generator = np.random.default_rng(0)
    lists = [[f"{'ab'[d % 2]}{j}" for j in generator.integers(0, 20, 30)] for d in range(400)]
    losses: list[float] = []
    objective = MaskedLM(size="tiny", maximum_tokens=32, batch_tokens=1024, epochs=18, dropout=0)
    sslcore.pretrain(objective, lists, seed=0, on_metrics=lambda step, m: losses.append(m["loss"]))
    assert losses[0] > math.log(35)
    assert losses[-1] == pytest.approx(best, abs=0.08)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"dimensions": 100, "heads": 3}, "100 dimensions cannot be divided among 3 heads"),
        ({"batch_tokens": 64}, "batch_tokens is 64, less than one sequence of maximum_tokens 128"),
        ({"masked_share": 0}, "masked_share"),
        ({"masks": "letters"}, "masks"),
        ({"size": "huge"}, "size"),
    ],
)
def test_what_does_not_fit_together_is_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        MaskedLM(**fields)  # type: ignore[arg-type]


def test_it_goes_on_from_another_transformer(corpus: EncodedCorpus) -> None:
    small = {"size": "tiny", "epochs": 1, "maximum_tokens": 32, "batch_tokens": 4096}
    losses: dict[str, list[float]] = {"first": [], "second": []}
    first = sslcore.pretrain(
        MaskedLM(**small), corpus, seed=0, on_metrics=lambda s, m: losses["first"].append(m["loss"])
    )
    sslcore.pretrain(
        MaskedLM(**small, masks="spans"),
        corpus,
        seed=1,
        continuing=first,
        on_metrics=lambda s, m: losses["second"].append(m["loss"]),
    )
    assert losses["second"][0] < losses["first"][0]
    with pytest.raises(UserError, match="maximum_tokens is 64, the architecture takes sequences of at most 32"):
        sslcore.pretrain(MaskedLM(**{**small, "maximum_tokens": 64}), corpus, seed=0, continuing=first)
