"""Sequences without padding give what transformers gives with it, and no more than their own text is seen."""

import copy
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sslcore.models import ragged
from sslcore.models.framing import frame_pieces, places_of
from sslcore.models.ragged import Sequences, rows_of_one_length
from sslcore.objectives.masked_lm import MaskedLM
from sslcore.randomness import torch_generator
from sslcore.tokenization.encoding import EncodedCorpus
from sslcore.training.pieces import PieceOrder, cut_documents

LENGTHS = [[1], [5, 5, 5], [3, 128, 7, 1, 90, 8, 8], list(range(1, 40))]


def model(kind: str = "bert") -> Any:
    from transformers import AutoModel, BertConfig, GPT2Config, ModernBertConfig

    ragged.register()
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    if kind == "gpt2":
        config: Any = GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=128)
        config.resid_pdrop = config.attn_pdrop = config.embd_pdrop = 0
    elif kind == "modernbert":
        config = ModernBertConfig(
            vocab_size=50, local_attention=20, global_attn_every_n_layers=2, pad_token_id=0, **shape
        )
    else:
        config = BertConfig(vocab_size=50, max_position_embeddings=128, **shape)
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0
    return AutoModel.from_config(config, attn_implementation=ragged.NAME)


def batch(lengths: list[int]) -> tuple[torch.Tensor, np.ndarray]:
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return torch.from_numpy(np.random.default_rng(0).integers(0, 50, offsets[-1])), offsets


def states(network: Any, sequences: Sequences) -> torch.Tensor:
    said = network(input_ids=sequences.ids[None], position_ids=sequences.positions[None], sequences=sequences)
    return said.last_hidden_state[0]


@pytest.mark.parametrize("kind", ["bert", "gpt2", "modernbert"])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_states_and_gradients_are_those_of_the_padded_batch(lengths: list[int], kind: str) -> None:
    ours = model(kind)
    theirs = copy.deepcopy(ours)
    theirs.set_attn_implementation("sdpa")
    ids, offsets = batch(lengths)
    seen = states(ours, Sequences(ids, offsets, causal=kind == "gpt2"))
    padded = torch.zeros(len(lengths), max(lengths), dtype=torch.int64)
    inside = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    padded[inside] = ids
    expected = theirs(input_ids=padded, attention_mask=inside.long()).last_hidden_state[inside]
    torch.testing.assert_close(seen, expected, atol=1e-5, rtol=1e-5)
    weights = torch.randn(seen.shape, generator=torch.Generator().manual_seed(1))
    for loss in ((seen * weights).sum(), (expected * weights).sum()):
        loss.backward()
    for (name, one), (_, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, atol=2e-4, rtol=1e-3, msg=name)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("causal", [False, True])
def test_in_half_precision_it_is_the_same_but_for_rounding(
    causal: bool, precision: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = model("gpt2" if causal else "bert")
    ids, offsets = batch([3, 100, 7, 1, 90, 8, 8])
    weights = torch.randn(len(ids), 16, generator=torch.Generator().manual_seed(1))
    seen: list[tuple[torch.dtype, torch.dtype]] = []
    attention = torch.nn.functional.scaled_dot_product_attention

    def watched(query: torch.Tensor, *rest: Any, **options: Any) -> torch.Tensor:
        said = attention(query, *rest, **options)
        seen.append((query.dtype, said.dtype))
        return said

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)

    def run(*, half: bool) -> tuple[torch.Tensor, torch.Tensor]:
        network.zero_grad()
        with torch.autocast("cpu", precision, enabled=half):
            said = states(network, Sequences(ids, offsets, causal=causal))
        (said.float() * weights).sum().backward()
        return said.detach().float(), torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])

    exact, gradient = run(half=False)
    rounded, of_rounded = run(half=True)
    assert set(seen) == {
        (torch.float32, torch.float32)
    }  # torch's way back in half precision takes several times as long
    assert 0 < (rounded - exact).abs().max() < 0.05 * exact.abs().max()
    assert torch.nn.functional.cosine_similarity(of_rounded, gradient, dim=0) > 0.999
    seen.clear()
    with torch.no_grad(), torch.autocast("cpu", precision):
        answered = states(network, Sequences(ids, offsets, causal=causal)).float()
    assert set(seen) == {(precision, precision)}
    assert (answered - exact).abs().max() < 0.05 * exact.abs().max()


def test_no_sequence_sees_another_and_a_causal_one_sees_nothing_to_come() -> None:
    ids, offsets = batch([4, 6, 4])
    changed = ids.clone()
    changed[7] = (changed[7] + 1) % 50  # the fourth of the second sequence
    for causal in (False, True):
        network = model("gpt2" if causal else "bert")
        moved = (
            (states(network, Sequences(ids, offsets, causal=causal)))
            - states(network, Sequences(changed, offsets, causal=causal))
        ).abs().amax(dim=1) > 0
        assert moved.tolist() == [4 <= place < 10 and (not causal or place >= 7) for place in range(14)]


def test_groups_hold_every_row_with_a_token_once_and_little_padding() -> None:
    lengths = np.random.default_rng(0).integers(0, 200, 500)
    groups = rows_of_one_length(lengths)
    assert sorted(np.concatenate(groups)) == np.flatnonzero(lengths).tolist()
    assert all(lengths[rows].max() <= ragged.SPREAD * lengths[rows].min() for rows in groups)
    ids, offsets = batch(lengths.tolist())
    sequences = Sequences(ids, offsets)
    assert sequences.padded < 1.15 * len(ids)
    assert len(set(sequences.places.tolist())) == len(ids)


def test_framing_puts_the_two_around_each_text_and_cuts_it() -> None:
    ids, bounds = np.arange(10, 20), np.array([0, 3, 3, 10])
    framed, offsets = frame_pieces(ids, bounds, np.array([2, 1, 0]), 2, 3, longest=4)
    assert framed.tolist() == [2, 13, 14, 15, 16, 3, 2, 3, 2, 10, 11, 12, 3]
    assert offsets.tolist() == [0, 6, 8, 13]
    places, new = places_of(bounds, np.array([2, 0]))
    assert places.tolist() == [3, 4, 5, 6, 7, 8, 9, 0, 1, 2]
    assert new.tolist() == [0, 7, 10]


def corpus() -> EncodedCorpus:
    generator = np.random.default_rng(0)
    lists = [[f"w{j}" for j in generator.integers(0, 60, generator.integers(1, 90))] for _ in range(60)]
    made = EncodedCorpus.from_token_lists(lists)
    inner = np.sort(generator.choice(made.tokens, 200, replace=False))
    made.sentence_offsets = np.union1d(made.document_offsets, inner)
    return made


@pytest.mark.parametrize("longest", [1, 7, 30, 1000])
def test_pieces_are_whole_sentences_of_one_document_where_they_fit(longest: int) -> None:
    made = corpus()
    cuts = cut_documents(made, longest)
    assert (cuts[0], cuts[-1]) == (0, made.tokens)
    assert (np.diff(cuts) > 0).all()
    assert np.diff(cuts).max() <= longest
    assert set(made.document_offsets) <= set(cuts)
    sentences = set(made.sentence_offsets.tolist())
    for begin, end in itertools.pairwise(cuts):
        inside = [s for s in sentences if begin < s < end]
        assert end in sentences or not inside  # a sentence is cut only where nothing but it is in the piece


def test_every_epoch_has_every_piece_once_and_batches_of_equal_cost() -> None:
    made = corpus()
    assert len(PieceOrder(np.arange(0, 10_001, 500), 501, epochs=1, seed=0)) == 20  # none of them empty
    order = PieceOrder(cut_documents(made, 30), 200, epochs=3, seed=5)
    assert len(order) % 3 == 0
    per_epoch = len(order) // 3
    epochs = [[order(step)[0] for step in range(e * per_epoch, (e + 1) * per_epoch)] for e in range(3)]
    for batches in epochs:
        assert sorted(np.concatenate(batches)) == list(range(len(order.lengths)))
        assert all(abs(order.lengths[pieces].sum() - 200) <= 35 for pieces in batches)
    assert np.concatenate(epochs[0]).tolist() != np.concatenate(epochs[1]).tolist()
    again = PieceOrder(cut_documents(made, 30), 200, epochs=3, seed=5)
    assert np.array_equal(again(2 * per_epoch + 1)[0], epochs[2][1])  # any step, without those before it


def test_an_encoders_vector_is_the_mean_or_the_first_of_the_states(tmp_path: Path) -> None:
    made = corpus()
    for pooling in ("mean", "first"):
        objective = MaskedLM(size="tiny", maximum_tokens=16, batch_tokens=64, pooling=pooling)
        network = objective.network(made.tokenizer, torch_generator(1)).eval()
        ids, offsets = made.tokenizer.encode_batch(["w1 w2 w3", "w4 " * 40, "unknown-word", ""])
        vectors = network(torch.from_numpy(ids).long(), torch.from_numpy(offsets))
        assert not vectors[2:].any()
        for row, words in enumerate((["w1", "w2", "w3"], ["w4"] * 14)):
            framed = [2, *(made.tokenizer.ids[word] for word in words), 3]
            alone = network.states(Sequences(torch.tensor(framed), np.array([0, len(framed)])))
            expected = alone.mean(dim=0) if pooling == "mean" else alone[0]
            torch.testing.assert_close(vectors[row], expected, atol=1e-5, rtol=1e-5)
        groups = network.layer_groups()
        assert [name for name, _ in groups] == ["embeddings", "layer 1", "layer 2"]
