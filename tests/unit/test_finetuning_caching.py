"""What is frozen is computed once and gives what computing it at every pass gives, for every shape of rows."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sslcore.errors import UserError
from sslcore.finetuning import FineTuning, caching, fine_tune
from sslcore.finetuning.caching import FrozenOutputs, KeptRows
from sslcore.finetuning.encoded import EncodedTexts, outputs
from sslcore.finetuning.model import FineTunedModel
from sslcore.finetuning.outputs import outputs_of
from sslcore.finetuning.shapes.classification import Classification, LabelledTexts
from sslcore.finetuning.shapes.seam import DownstreamNetwork
from sslcore.models import architecture
from sslcore.models.encoder import Encoder
from sslcore.models.ragged import Sequences
from sslcore.models.transformer import TransformerEncoder
from sslcore.objectives.denoising_autoencoder import DenoisingAutoencoder
from sslcore.objectives.masked_lm import MaskedLM
from tests.checkpoints import KINDS, SENTENCES, made_checkpoint
from tests.topics import TOPICS, labelled, untrained
from tests.unit.conftest import topic_texts


@pytest.fixture(scope="module", params=[kind for kind in KINDS if architecture.KINDS[kind].layers])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return Encoder.from_huggingface(made_checkpoint(request.param, tmp_path_factory.mktemp("checkpoint")))


def sequences_of(encoder: Encoder) -> Sequences:
    ids, offsets = encoder.tokenizer.encode_batch([*SENTENCES[:5], "", "The small ship."])
    network: TransformerEncoder = encoder.network
    return network.framed(torch.from_numpy(ids.astype(np.int64)), torch.from_numpy(offsets))


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_states_run_layer_by_layer_are_those_of_the_whole_pass(checkpoint: Encoder, layers: int) -> None:
    network, sequences = checkpoint.network, sequences_of(checkpoint)
    if network.tells_apart:
        kinds = torch.from_numpy(np.arange(len(sequences.ids)) % 2)
        sequences = Sequences(sequences.ids, sequences.offsets, kinds)
    with torch.no_grad():
        whole = network.states(sequences)
        below = network.states_below(layers, sequences)
        parts = network.states_from(layers, below, sequences)
    assert layers == 2 or (below - whole).abs().max() > 1e-2
    np.testing.assert_allclose(parts, whole, atol=1e-6)


class Tokens(DownstreamNetwork):
    """A head on each token, as shapes of tags have it."""

    def __init__(self, encoder: torch.nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.device = torch.device("cpu")

    def features(self, examples: LabelledTexts) -> torch.Tensor:
        encoder: Any = self.encoder
        ids, offsets = examples.encoded.ids.astype(np.int64), examples.encoded.offsets
        return encoder.states(encoder.framed(torch.from_numpy(ids), torch.from_numpy(offsets)))


class Texts(Tokens):
    """A head on each text."""

    def features(self, examples: LabelledTexts) -> torch.Tensor:
        ids, offsets = examples.encoded.ids.astype(np.int64), examples.encoded.offsets
        return self.encoder(torch.from_numpy(ids), torch.from_numpy(offsets))


def rows_of(encoder: Encoder) -> LabelledTexts:
    texts = [*SENTENCES, "", SENTENCES[3], "The ship."]
    encoded = EncodedTexts.of(texts, encoder.tokenizer, encoder.network, maximum_tokens=512)
    return LabelledTexts(encoded, np.zeros(len(texts), np.int64))


@pytest.mark.parametrize("layers", [1, None])
@pytest.mark.parametrize("head", [Texts, Tokens])
def test_any_batch_of_kept_rows_reads_as_if_it_were_computed(
    checkpoint: Encoder, head: type[Tokens], layers: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caching, "tokens_at_once", lambda device: 64)
    rows = rows_of(checkpoint)
    network = head(checkpoint.network).eval()
    generator = np.random.default_rng(0)
    batches = [rows.take(generator.permutation(len(rows))[:size]) for size in (1, 5, 20)]
    with torch.no_grad():
        expected = [network.features(batch) for batch in batches]
    kept = FrozenOutputs(layers)
    kept.attach(network.encoder)
    try:
        assert kept.fill(network, (rows,), 1e9) == kept.bytes > 0
        different = len({tuple(rows.encoded.take(np.array([n])).ids) for n in range(len(rows))})
        if head is Texts and layers is None:
            assert kept.bytes == different * 4 * checkpoint.dimensions
        computed = []
        for layer in checkpoint.network.layers[: 1 if layers else 2]:
            layer.register_forward_pre_hook(lambda *_: computed.append(1))
        with torch.no_grad():
            found = [network.features(batch) for batch in batches]
        assert not computed, "a frozen layer ran again"
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)  # sums in another order; another row is off by 1
    finally:
        kept.detach(network.encoder)
        for layer in checkpoint.network.layers:
            layer._forward_pre_hooks.clear()
    with torch.no_grad():
        np.testing.assert_array_equal(network.features(batches[1]), expected[1])


def test_what_is_not_kept_is_computed(checkpoint: Encoder) -> None:
    rows = rows_of(checkpoint)
    network = Texts(checkpoint.network).eval()
    kept = FrozenOutputs(1)
    kept.attach(network.encoder)
    kept.fill(network, (rows.take(np.arange(4)),), 1e9)
    with torch.no_grad():
        mixed = network.features(rows)
        kept.detach(network.encoder)
        np.testing.assert_allclose(mixed, network.features(rows), atol=1e-6)


def test_pieces_are_found_by_their_keys() -> None:
    kept = KeptRows()
    assert kept.of([b"a"]) is None
    kept.add([b"a", b"b", b"a"], np.array([2, 1, 2]), torch.arange(10.0).reshape(5, 2))
    kept.add([b"c", b"a"], np.array([3, 2]), 100 + torch.arange(10.0).reshape(5, 2))
    assert kept.bytes == 6 * 2 * 4
    found = kept.of([b"c", b"a", b"b"])
    assert found is not None
    assert found[:, 0].tolist() == [100, 102, 104, 0, 2, 4]
    assert kept.of([b"a", b"d"]) is None


def tuned(encoder: Encoder, rows: LabelledTexts, freezing: str) -> FineTunedModel:
    config = FineTuning(freezing=freezing, epochs=3, minimum_steps=3, batch_size=16, patience=99)
    return fine_tune(Classification(), encoder, rows, rows, config, labels=TOPICS, seed=1)


@pytest.mark.parametrize(
    ("objective", "freezing"),
    [
        (MaskedLM(size="tiny", maximum_tokens=32), "encoder"),
        (MaskedLM(size="tiny", maximum_tokens=32), "first_1"),
        (MaskedLM(size="tiny", maximum_tokens=32), "gradual"),  # in three epochs the lowest layer never learns
        (DenoisingAutoencoder(dimensions=16), "encoder"),
    ],
)
def test_a_cached_run_learns_what_an_uncached_one_does(
    objective: Any, freezing: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    texts, labels = topic_texts(64, seed=0)
    encoder = untrained(texts, objective)
    rows = labelled(encoder, texts, labels)
    with caplog.at_level(logging.INFO, "sslcore.finetuning"):
        cached = tuned(encoder, rows, freezing)
        monkeypatch.setattr(caching, "SHARE_OF_MEMORY", 0.0)
        uncached = tuned(encoder, rows, freezing)
    said = [record.getMessage() for record in caplog.records if "frozen" in record.getMessage()]
    if freezing == "gradual":
        assert not said  # the embeddings alone never learn: nothing worth keeping
    else:
        assert "computed once and kept: 0." in said[0]
        assert "computed anew at every pass: to keep it would take" in said[1]
        assert "0 % of the memory" in said[1]
    for name, tensor in uncached.network.state_dict().items():
        torch.testing.assert_close(cached.network.state_dict()[name], tensor, atol=1e-5, rtol=1e-4)
    assert not {"forward", "states"} & set(vars(cached.network.encoder))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not architecture.KINDS[kind].layers])
def test_what_a_whole_encoder_gives_is_kept_where_layers_do_not_run_one_by_one(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = Encoder.from_huggingface(made_checkpoint(kind, tmp_path))
    rows = labelled(encoder, SENTENCES[:64], [TOPICS["ship" in text] for text in SENTENCES[:64]])
    with caplog.at_level(logging.INFO, "sslcore.finetuning"):
        cached = tuned(encoder, rows, "encoder")
    assert "computed once and kept" in caplog.text
    monkeypatch.setattr(caching, "SHARE_OF_MEMORY", 0.0)
    uncached = tuned(encoder, rows, "encoder")
    for name, tensor in uncached.network.state_dict().items():
        torch.testing.assert_close(cached.network.state_dict()[name], tensor, atol=1e-5, rtol=1e-4)


def test_validation_rows_are_kept_too_and_a_frozen_layer_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, labels = topic_texts(64, seed=0)
    held_out, held_out_labels = topic_texts(16, seed=1)
    encoder = untrained(texts, MaskedLM(size="tiny", maximum_tokens=32))
    train, validation = labelled(encoder, texts, labels), labelled(encoder, held_out, held_out_labels)
    ran: list[int] = []
    whole = TransformerEncoder.states

    def counted(self: TransformerEncoder, sequences: Sequences) -> torch.Tensor:
        ran.append(len(sequences.ids))
        return whole(self, sequences)

    monkeypatch.setattr(TransformerEncoder, "states", counted)
    config = FineTuning(freezing="encoder", epochs=4, minimum_steps=4, batch_size=16, patience=99)
    model = fine_tune(Classification(), encoder, train, validation, config, labels=TOPICS, seed=1)
    assert sum(ran) == sum(len(part.encoded.ids) + 2 * len(part) for part in (train, validation))
    logits = outputs_of(model.network, validation)
    features = outputs(encoder.network, validation.encoded)
    network: Any = model.network
    expected = network.head(torch.from_numpy(features).sub(network.feature_mean).div(network.feature_spread))
    np.testing.assert_allclose(logits, expected.detach(), atol=1e-5)


def test_a_shape_without_a_head_cannot_freeze_all() -> None:
    class Headless(Classification):
        def network(self, encoder: Encoder, labels: Any) -> DownstreamNetwork:  # type: ignore[override]
            return Texts(encoder.network)

    texts, labels = topic_texts(16, seed=0)
    encoder = untrained(texts)
    rows = labelled(encoder, texts, labels)
    with pytest.raises(UserError, match=r"freezing=encoder leaves nothing to learn: .* vectors, are all frozen"):
        fine_tune(Headless(), encoder, rows, rows, FineTuning(freezing="encoder"), labels=TOPICS, seed=0)


def test_the_share_is_of_all_memory_whatever_is_free() -> None:
    first, again = (caching.memory_of(torch.device("cpu")) for _ in range(2))
    assert first == again > 2**28
