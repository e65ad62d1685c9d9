"""TSDAE: words deleted as the paper says, and the loss of transformers' own decoder on the same weights."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sslcore.objectives._tsdae import RestoredSentences
from sslcore.objectives.tsdae import TSDAE, DamagedTexts, kept_after_deletion
from sslcore.randomness import torch_generator
from sslcore.tokenization.encoding import EncodedCorpus

LISTS = [[f"w{j}" for j in np.random.default_rng(i).integers(0, 50, 1 + i % 25)] for i in range(200)]
TINY: dict[str, Any] = {"size": "tiny", "dimensions": 16, "layers": 2, "maximum_tokens": 20, "batch_size": 16}


@pytest.fixture(scope="module")
def corpus() -> EncodedCorpus:
    return EncodedCorpus.from_token_lists(LISTS, minimum_count=1)


def loss_and_batch(corpus: EncodedCorpus, **fields: Any) -> tuple[RestoredSentences, DamagedTexts]:
    objective = TSDAE(**TINY, **fields)
    network = objective.network(corpus.tokenizer, torch_generator(0))
    loss = RestoredSentences(network, torch_generator(1), tied=objective.decoder == "tied")
    return loss, objective.batches(corpus, 0)[0]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95])
def test_words_go_as_a_whole_and_one_stays(share: float) -> None:
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 400, 1000)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    starts = generator.random(offsets[-1]) < 0.6
    kept = kept_after_deletion(starts, offsets, share, generator)
    begins = starts.copy()
    begins[offsets[:-1]] = True
    inside = np.flatnonzero(~begins)
    assert (kept[inside] == kept[inside - 1]).all()
    assert np.add.reduceat(kept, offsets[:-1]).min() > 0
    long = np.repeat(lengths >= 200, lengths) & begins
    assert kept[long].mean() == pytest.approx(1 - share, abs=0.02)


def test_a_word_of_a_text_that_would_be_empty_is_any_of_its_words() -> None:
    offsets = 4 * np.arange(4001)
    kept = kept_after_deletion(np.ones(16_000, bool), offsets, 0.9999, np.random.default_rng(0)).reshape(-1, 4)
    np.testing.assert_allclose(kept[kept.sum(axis=1) == 1].mean(axis=0), 0.25, atol=0.03)


def test_batches_hold_damaged_and_whole_texts(corpus: EncodedCorpus) -> None:
    batches = TSDAE(**TINY, epochs=2).batches(corpus, 3)
    per_epoch = len(batches) // 2
    assert sum(batches[step].tokens for step in range(per_epoch)) == corpus.tokens
    seen = []
    for step in range(per_epoch):
        batch = batches[step]
        for b in range(len(batch.offsets) - 1):
            damaged = batch.ids[batch.offsets[b] : batch.offsets[b + 1]].tolist()
            whole = batch.whole_ids[batch.whole_offsets[b] : batch.whole_offsets[b + 1]].tolist()
            assert damaged[0] == whole[0] == 2
            assert damaged[-1] == whole[-1] == 3
            rest = iter(whole[1:-1])
            assert all(token in rest for token in damaged[1:-1])  # in the order of the text
            seen.append(tuple(whole[1:-1]))
    ids = [corpus.ids[a:b][:18] for a, b in pairwise(corpus.sentence_offsets)]
    assert sorted(seen) == sorted(tuple(text.tolist()) for text in ids if len(text) >= 3)
    assert not np.array_equal(batches[0].ids, batches[per_epoch].ids)
    assert np.array_equal(batches[0].ids, batches[0].ids)


def test_parts_of_a_batch_have_its_loss_by_weight(corpus: EncodedCorpus) -> None:
    loss, batch = loss_and_batch(corpus)
    loss.eval()
    whole = loss(batch)["loss"].item()
    for parts in (batch.split(3), [batch.share(rank, 2) for rank in range(2)]):
        mean = sum(loss(part)["loss"].item() * part.weight for part in parts) / batch.weight
        assert mean == pytest.approx(whole, rel=1e-5)


def causal_by_hand(loss: RestoredSentences, batch: DamagedTexts) -> float:
    """Text by text, token by token: −log p(next | tokens before, vector), with a decoder run on each prefix."""
    encoder: Any = loss.encoder
    total = 0.0
    for b in range(len(batch.offsets) - 1):
        one = batch.rows(np.array([b]))
        ids, offsets = torch.from_numpy(one.ids)[1:-1], torch.tensor([0, len(one.ids) - 2])
        vector = encoder(ids, offsets)
        for end in range(1, len(one.whole_ids)):
            prefix = torch.from_numpy(one.whole_ids[:end])
            state = loss.decoded(sequence(prefix), vector)[-1:]
            table = encoder.model.get_input_embeddings().weight
            logits = torch.nn.functional.linear(loss.head.transform(state), table, loss.head.bias)
            total -= logits.log_softmax(dim=1)[0, one.whole_ids[end]].item()
    return total / batch.weight


def sequence(ids: torch.Tensor) -> Any:
    from sslcore.models.ragged import Sequences

    return Sequences(ids, np.array([0, len(ids)]), causal=True)


@pytest.mark.parametrize("decoder", ["tied", "own"])
def test_the_loss_is_equation_3_and_no_token_sees_what_follows(decoder: str, corpus: EncodedCorpus) -> None:
    loss, batch = loss_and_batch(corpus, decoder=decoder)
    loss.eval()
    batch = batch.rows(np.arange(4))
    assert loss(batch)["loss"].item() == pytest.approx(causal_by_hand(loss, batch), rel=1e-5)


def test_an_own_decoder_shares_the_token_vectors_alone(corpus: EncodedCorpus) -> None:
    tied, own = (loss_and_batch(corpus, decoder=decoder)[0] for decoder in ("tied", "own"))
    table = own.encoder.model.get_input_embeddings().weight
    assert own.own.get_input_embeddings().weight is table
    added = sum(p.numel() for p in own.parameters()) - sum(p.numel() for p in tied.parameters())
    assert added == sum(p.numel() for p in own.encoder.parameters()) - table.numel()


def test_the_loss_and_its_gradient_are_sentence_transformers(corpus: EncodedCorpus, tmp_path: Path) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from sentence_transformers.sentence_transformer.losses import DenoisingAutoEncoderLoss
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    loss, batch = loss_and_batch(corpus)
    loss.eval()
    ours = loss.encoder.model
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *corpus.tokenizer.tokens[5:]]
    (tmp_path / "vocab.txt").write_text("\n".join(tokens))
    BertTokenizerFast(vocab=str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    copy = BertModel(BertConfig(**ours.config.to_dict()), add_pooling_layer=False)
    copy.load_state_dict(ours.state_dict())
    copy.save_pretrained(tmp_path)
    model = sentence_transformers.SentenceTransformer(
        modules=[Transformer(str(tmp_path)), Pooling(ours.config.hidden_size)], device="cpu"
    )
    theirs = DenoisingAutoEncoderLoss(model).eval()
    decoder: Any = theirs.decoder
    with torch.no_grad():
        for layer, cross in zip(decoder.bert.encoder.layer, loss.cross, strict=True):
            layer.crossattention.self.value.load_state_dict(cross.value.state_dict())
            layer.crossattention.output.load_state_dict(cross.output.state_dict())
        decoder.cls.predictions.transform.load_state_dict(loss.head.transform.state_dict())
        decoder.cls.predictions.bias.zero_()

    def padded(ids: np.ndarray, offsets: np.ndarray) -> dict[str, torch.Tensor]:
        texts = [torch.from_numpy(ids[a:b]) for a, b in pairwise(offsets)]
        block = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
        return {"input_ids": block, "attention_mask": (block != 0).long()}

    their_loss = theirs([padded(batch.ids, batch.offsets), padded(batch.whole_ids, batch.whole_offsets)], None)
    our_loss = loss(batch)["loss"]
    assert our_loss.item() == pytest.approx(their_loss.item(), rel=1e-5)
    our_loss.backward()
    their_loss.backward()
    for name, parameter in decoder.bert.named_parameters():
        if "crossattention" in name or "pooler" in name:
            continue
        torch.testing.assert_close(dict(ours.named_parameters())[name].grad, parameter.grad, rtol=1e-3, atol=1e-6)
