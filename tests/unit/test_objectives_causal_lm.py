"""The loss beside transformers' GPT-2 on the same weights, what a token sees, and what the model writes."""

import copy
from typing import Any

import numpy as np
import pytest
import torch

import sslcore
from sslcore.errors import UserError
from sslcore.models.encoder import Encoder
from sslcore.models.ragged import Sequences
from sslcore.objectives._causal_lm import NextTokens
from sslcore.objectives.causal_lm import CausalLM
from sslcore.objectives.masked_lm import MaskedLM, MaskedTexts
from sslcore.randomness import torch_generator
from sslcore.serving.generation import classify_in_context, generate
from sslcore.tokenization.encoding import EncodedCorpus

WORDS = 60


@pytest.fixture(scope="module")
def corpus() -> EncodedCorpus:
    generator = np.random.default_rng(0)
    return EncodedCorpus.from_token_lists(
        [[f"w{j}" for j in generator.integers(0, WORDS, generator.integers(1, 90))] for _ in range(200)]
    )


def network(corpus: EncodedCorpus, **fields: Any) -> Any:
    objective = CausalLM(**{"size": "tiny", "maximum_tokens": 64, "dropout": 0, **fields})
    return objective.network(corpus.tokenizer, torch_generator(1)).eval()


def texts(lengths: list[int]) -> MaskedTexts:
    generator = np.random.default_rng(sum(lengths))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids, targets = generator.integers(2, 5 + WORDS, (2, offsets[-1]))
    follows = np.delete(np.arange(len(ids)), offsets[1:] - 1)
    targets[follows] = ids[follows + 1]
    return MaskedTexts(ids, targets, offsets, len(ids), 0.0, 1.0)


def gpt2(ours: Any) -> Any:
    from transformers import GPT2LMHeadModel

    theirs = GPT2LMHeadModel(copy.deepcopy(ours.model.config)).to(next(ours.parameters()).dtype).eval()
    theirs.set_attn_implementation("sdpa")
    theirs.transformer.load_state_dict(ours.model.state_dict())
    return theirs


@pytest.mark.parametrize("lengths", [[3], [5, 9, 2], [30, 1, 12, 12]])
def test_the_loss_is_that_of_transformers_on_the_same_weights(lengths: list[int], corpus: EncodedCorpus) -> None:
    ours = NextTokens(network(corpus).double())
    theirs = gpt2(ours.encoder)
    batch = texts(lengths)
    # transformers shifts by itself: each text with its last target behind it, padding not asked for.
    whole = [
        np.append(batch.ids[a:b], batch.targets[b - 1])
        for a, b in zip(batch.offsets[:-1], batch.offsets[1:], strict=True)
    ]
    labels = torch.full((len(lengths), max(lengths) + 1), -100)
    for row, ids in enumerate(whole):
        labels[row, : len(ids)] = torch.from_numpy(ids)
    inside = labels >= 0
    expected = theirs(input_ids=labels.clamp_min(0), attention_mask=inside.long(), labels=labels).loss
    said = ours(batch)["loss"]
    assert said.item() == pytest.approx(expected.item(), rel=1e-5)
    expected.backward()
    said.backward()
    torch.testing.assert_close(ours.encoder.model.wte.weight.grad, theirs.transformer.wte.weight.grad)


def test_every_token_is_asked_for_once_and_the_end_where_a_document_ends(corpus: EncodedCorpus) -> None:
    objective = CausalLM(size="tiny", maximum_tokens=32, batch_tokens=512, epochs=1)
    batches = objective.batches(corpus, 3)
    made = [batches[step] for step in range(len(batches))]
    targets = np.concatenate([b.targets for b in made])
    assert (targets == 3).sum() == corpus.documents
    pieces = sum(len(b.offsets) - 1 for b in made)
    # The first token of a piece within a document is said twice: from what is before it, and as a beginning.
    assert len(targets) == corpus.tokens + pieces == sum(b.weight for b in made)
    for batch in made:
        for a, b in zip(batch.offsets[:-1], batch.offsets[1:], strict=True):
            assert batch.ids[a] == 2
            assert b - a <= 32
            assert np.array_equal(batch.ids[a + 1 : b], batch.targets[a : b - 1])
    assert np.array_equal(objective.batches(corpus, 3)[2].ids, made[2].ids)


def test_no_token_sees_later_ones_nor_another_sequence(corpus: EncodedCorpus) -> None:
    ours = network(corpus)
    batch = texts([6, 9, 4])
    changed = batch.ids.copy()
    changed[10] = 5 + (changed[10] - 4) % WORDS
    with torch.no_grad():
        one, other = (
            ours.states(Sequences(torch.from_numpy(i), batch.offsets, causal=True)) for i in (batch.ids, changed)
        )
    moved = (one - other).abs().amax(dim=1) > 0
    assert moved.tolist() == [10 <= place < 15 for place in range(19)]


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_the_vector_of_a_text_is_of_its_states_behind_the_begin_token(pooling: str, corpus: EncodedCorpus) -> None:
    ours = network(corpus, pooling=pooling, maximum_tokens=16, batch_tokens=64)
    ids, offsets = corpus.tokenizer.encode_batch(["w1 w2 w3", "w4 " * 40])
    with torch.no_grad():
        vectors = ours(torch.from_numpy(ids).long(), torch.from_numpy(offsets))
        for row, words in enumerate((["w1", "w2", "w3"], ["w4"] * 15)):
            framed = torch.tensor([2, *(corpus.tokenizer.ids[word] for word in words)])
            states = gpt2(ours).transformer(input_ids=framed[None]).last_hidden_state[0]
            expected = states.mean(dim=0) if pooling == "mean" else states[-1]
            torch.testing.assert_close(vectors[row], expected, atol=1e-5, rtol=1e-5)
    assert [name for name, _ in ours.layer_groups()] == ["embeddings", "layer 1", "layer 2"]


@pytest.fixture(scope="module")
def counting() -> Encoder:
    """Documents count on from where they begin, a to f in a circle, and end after 12."""
    lists = [[f"{'abcdef'[(start + i) % 6]}" for i in range(12)] for start in range(6)] * 40
    objective = CausalLM(size="tiny", maximum_tokens=32, batch_tokens=1024, epochs=20, dropout=0)
    return sslcore.pretrain(objective, lists, seed=0)


def test_greedy_generation_is_that_of_transformers(counting: Encoder) -> None:
    prompts = ["c d e", "a", "f a b c d e"]
    said = generate(counting, prompts, tokens=20)
    assert said[0].split() == [*"fabcdefab"]
    assert said[1].split() == [*"bcdefabcdef"]
    theirs = gpt2(counting.network)
    for prompt, text in zip(prompts, said, strict=True):
        ids = torch.tensor([[2, *counting.tokenizer.encode(prompt).tolist()]])
        written = theirs.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False, suppress_tokens=[0, 1, 2, 4]
        )
        assert [i for i in written[0, ids.shape[1] :].tolist() if i != 3] == counting.tokenizer.encode(text).tolist()


def test_drawn_texts_follow_from_the_generator(counting: Encoder) -> None:
    def drawn(seed: int, **fields: Any) -> list[str]:
        return generate(counting, ["a", "d e"], tokens=40, generator=torch_generator(seed), **fields)

    assert drawn(1, temperature=3.0) == drawn(1, temperature=3.0) != drawn(2, temperature=3.0)
    assert drawn(5, temperature=3.0, top_k=1) == generate(counting, ["a", "d e"], tokens=40)
    assert generate(counting, [], tokens=3) == []
    assert generate(counting, ["b"], tokens=0) == [""]
    with pytest.raises(UserError, match="give a generator"):
        generate(counting, ["a"], tokens=2, temperature=1.0)


def test_labels_are_scored_by_their_likelihood_after_the_examples(counting: Encoder) -> None:
    scores = classify_in_context(counting, [("a", "b")], ["c", "e"], ["d", "f a"], per_token=False)
    assert scores.argmax(axis=1).tolist() == [0, 1]
    theirs = gpt2(counting.network)
    for row, text in enumerate("ce"):
        for column, label in enumerate((["d"], ["f", "a"])):
            words = ["a", "b", text, *label]
            ids = torch.tensor([[2, *(counting.tokenizer.ids.get(word, 1) for word in words)]])
            with torch.no_grad():
                log_likelihoods = theirs(input_ids=ids).logits[0].log_softmax(dim=1)
            expected = sum(float(log_likelihoods[-k - 1, ids[0, -k]]) for k in range(1, len(label) + 1))
            assert scores[row, column] == pytest.approx(expected, abs=1e-4)
    per_token = classify_in_context(counting, [("a", "b")], ["c", "e"], ["d", "f a"])
    np.testing.assert_allclose(per_token, scores / [1, 2])
    long = classify_in_context(counting, [("a", "b")] * 50, ["c"], ["d", "f a"])
    assert np.isfinite(long).all()


def test_only_a_causal_model_writes_and_labels_have_tokens(corpus: EncodedCorpus, counting: Encoder) -> None:
    fields = {"size": "tiny", "maximum_tokens": 16, "batch_tokens": 4096, "epochs": 1}
    masked = sslcore.pretrain(MaskedLM(**fields), corpus, seed=0)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="pretrain with causal_lm"):
        generate(masked, ["w1"], tokens=1)
    with pytest.raises(UserError, match="label '' has no tokens"):
        classify_in_context(counting, [], ["a"], ["b", ""])
