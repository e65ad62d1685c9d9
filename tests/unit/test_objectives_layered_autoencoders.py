"""The autoencoders of several layers: whose turn it is in the stacked one, places and padding in the convolutional."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from sslcore.models.convolutional import ConvolutionalEncoder
from sslcore.models.encoder import Encoder
from sslcore.objectives.bag_objective import BagObjective
from sslcore.objectives.convolutional_autoencoder import ConvolutionalAutoencoder
from sslcore.objectives.stacked_autoencoder import StackedAutoencoder
from sslcore.randomness import torch_generator
from sslcore.tokenization.encoding import EncodedCorpus

STACKED = StackedAutoencoder(
    dimensions=3, hidden_dimensions=4, layers=3, layerwise=0.6, deletion=0.3, epochs=5, batch_size=8
)
CONVOLUTIONAL = ConvolutionalAutoencoder(
    dimensions=3, maximum_tokens=10, word_dimensions=4, channels=5, kernel=3, reconstructed_words=20, temperature=0.5
)


def corpus_of(documents: int = 40, words: int = 40, seed: int = 0) -> EncodedCorpus:
    generator = np.random.default_rng(seed)
    return EncodedCorpus.from_token_lists(
        [[f"w{w}" for w in generator.integers(0, words, 1 + d)] for d in range(documents)], minimum_count=1
    )


def built(objective: BagObjective, corpus: EncodedCorpus) -> tuple[Encoder, Any]:
    """(encoder, loss module)"""
    network = objective.network(corpus.tokenizer, torch_generator(1))
    encoder = Encoder(corpus.tokenizer, network, objective.model_dump(mode="json"), 0)
    return encoder, objective._loss(encoder, torch_generator(2))


def numbers(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy().astype(float)


class TestStacked:
    def test_the_phase_follows_from_the_share_of_the_run_and_the_last_step_is_of_all_layers(self) -> None:
        begins = [0, 0.1, 0.21, 0.3, 0.41, 0.59, 0.6, 0.9]
        assert [STACKED.phase(begin, begin + 0.01)[0] for begin in begins] == [0, 0, 1, 1, 2, 2, 3, 3]
        assert STACKED.phase(0, 1)[0] == 3
        assert STACKED.phase(0.1, 0.2)[1] == pytest.approx(0.5)
        assert STACKED.phase(0.7, 0.8)[1] == pytest.approx(0.25)

    def test_each_phase_moves_its_own_pair_of_layers_alone(self) -> None:
        corpus = corpus_of()
        encoder, _ = built(STACKED, corpus)
        learner: Any = STACKED.learner(encoder, torch_generator(2), device="cpu", workers=1)
        pairs = [
            {"encoder.words.rows", "encoder.words.bias", "decoder.weight", "decoder.bias"},
            *(
                {f"{side}.{k}.{part}" for side in ("encoder.upper", "decoders") for part in ("weight", "bias")}
                for k in range(2)
            ),
        ]
        pairs.append(set.union(*pairs))
        batches, seen = STACKED.batches(corpus, 0), set()
        for step in range(len(batches)):
            before = {name: p.detach().clone() for name, p in learner._loss.named_parameters()}
            phase = int(learner.update(batches[step])["phase"])
            moved = {name for name, p in learner._loss.named_parameters() if not torch.equal(p, before[name])}
            assert moved == pairs[phase], step
            seen.add(phase)
        assert seen == {0, 1, 2, 3}

    @pytest.mark.parametrize("layer", [1, 2])
    def test_a_layer_restores_the_states_below_it(self, layer: int) -> None:
        objective = STACKED.model_copy(update={"deletion": 0.0})
        corpus = corpus_of()
        encoder, loss = built(objective, corpus)
        batch = objective.batches(corpus, 0)[0]._replace(begin=0.2 * layer + 0.01, end=0.2 * layer + 0.02)
        states = numbers(encoder.network.words(*loss.texts(batch)))
        matrices = [(numbers(m.weight), numbers(m.bias)) for m in encoder.network.upper]
        for weight, bias in matrices[: layer - 1]:
            states = np.tanh(states @ weight.T + bias)
        above = np.tanh(states @ matrices[layer - 1][0].T + matrices[layer - 1][1])
        decoder = loss.decoders[layer - 1]
        restored = np.tanh(above @ numbers(decoder.weight).T + numbers(decoder.bias))
        errors = [(r - s) ** 2 for r, s in zip(restored.ravel(), states.ravel(), strict=True)]
        assert loss(batch)["loss"].item() == pytest.approx(sum(errors) / len(errors), rel=1e-5)

    def test_at_the_end_the_decoders_stand_on_one_another(self) -> None:
        corpus = corpus_of()
        encoder, loss = built(STACKED, corpus)
        batch = STACKED.batches(corpus, 0)[-1 + len(STACKED.batches(corpus, 0))]
        states = numbers(encoder.network(*loss.texts(batch)))
        for decoder in (loss.decoders[1], loss.decoders[0]):
            states = np.tanh(states @ numbers(decoder.weight).T + numbers(decoder.bias))
        expected = loss.restored(torch.from_numpy(states).float(), batch).item()
        assert loss(batch)["loss"].item() == pytest.approx(expected, rel=1e-5)

    def test_states_below_come_from_the_whole_text(self) -> None:
        corpus = corpus_of()
        batches = STACKED.batches(corpus, 0)
        for batch in (batches[step] for step in range(len(batches))):
            phase = STACKED.phase(batch.begin, batch.end)[0]
            different = sum(
                len(np.unique(batch.ids[a:b])) for a, b in zip(batch.offsets[:-1], batch.offsets[1:], strict=True)
            )
            assert (different == len(batch.bag_words)) == (phase in (1, 2))


def convolved(states: np.ndarray, convolution: Any) -> np.ndarray:
    """tanh of a convolution over [L, E] with zeros around, place by place."""
    weight, bias = numbers(convolution.weight), numbers(convolution.bias)
    half, length = weight.shape[2] // 2, len(states)
    out = []
    for centre in range(length):
        total = bias.copy()
        for k in range(weight.shape[2]):
            place = centre + k - half
            if 0 <= place < length:
                total += weight[:, :, k] @ states[place]
        out.append(np.tanh(total))
    return np.array(out)


def unfolded(vector: np.ndarray, loss: Any) -> np.ndarray:
    """[L, E]: each state adds what a transposed convolution gives the places around twice its own."""
    states = (numbers(loss.unfold.weight) @ vector + numbers(loss.unfold.bias)).reshape(-1, loss.first_length).T
    for convolution in loss.convolutions:
        weight, bias = numbers(convolution.weight), numbers(convolution.bias)
        half = weight.shape[2] // 2
        out = np.tile(bias, (2 * len(states), 1))
        for place, state in enumerate(np.tanh(states)):
            for k in range(weight.shape[2]):
                if 0 <= 2 * place + k - half < len(out):
                    out[2 * place + k - half] += state @ weight[:, :, k]
        states = out
    return states


class TestConvolutional:
    @pytest.mark.parametrize(("layers", "kernel"), [(1, 3), (2, 3), (3, 5)])
    def test_vector_and_loss_are_those_of_the_paper(self, layers: int, kernel: int) -> None:
        objective = CONVOLUTIONAL.model_copy(update={"layers": layers, "kernel": kernel, "batch_size": 40})
        corpus = corpus_of()
        encoder, loss = built(objective, corpus)
        network = encoder.network
        batch = objective.batches(corpus, 0)[0]
        words = numbers(loss.words).astype(int).tolist()
        rows, weights = numbers(network.rows), numbers(network.weights)
        of_texts = []
        vectors = numbers(network(torch.from_numpy(batch.ids), torch.from_numpy(batch.offsets)))
        for d in range(batch.weight):
            places = range(batch.offsets[d], batch.offsets[d + 1])
            states = np.array([weights[batch.ids[p]] * rows[batch.ids[p]] for p in places])
            for convolution in network.convolutions:
                states = convolved(states, convolution)
            vector = np.tanh(numbers(network.out.weight) @ states.mean(0) + numbers(network.out.bias))
            np.testing.assert_allclose(vectors[d], vector, atol=1e-5)
            decoded, losses = unfolded(vector, loss), []
            for t, p in enumerate(places):
                if batch.restored[p]:
                    cosines = [
                        rows[w] @ decoded[t] / np.linalg.norm(rows[w]) / np.linalg.norm(decoded[t]) for w in words
                    ]
                    normaliser = math.log(sum(math.exp(c / 0.5) for c in cosines))
                    losses.append(normaliser - cosines[words.index(batch.ids[p])] / 0.5)
            if losses:
                of_texts.append(sum(losses) / len(losses))
        assert of_texts
        assert loss(batch)["loss"].item() == pytest.approx(sum(of_texts) / len(of_texts), rel=1e-4)

    def test_texts_are_cut_and_what_is_restored_lies_within_them(self) -> None:
        corpus = corpus_of()
        batch = CONVOLUTIONAL.model_copy(update={"batch_size": 40}).batches(corpus, 0)[0]
        lengths = np.diff(corpus.document_offsets)
        assert sorted(np.diff(batch.offsets)) == sorted(np.minimum(lengths, 10))
        assert batch.restored.shape == batch.ids.shape
        assert 0 < batch.restored.sum() < len(batch.ids)
        assert batch.tokens == corpus.tokens

    def test_padding_changes_neither_a_vector_nor_the_loss(self) -> None:
        """Short texts alone, and beside one that makes all of them padded."""
        corpus = corpus_of()
        encoder, loss = built(CONVOLUTIONAL, corpus)
        batch = CONVOLUTIONAL.model_copy(update={"batch_size": 40}).batches(corpus, 0)[0]
        by_length = np.argsort(np.diff(batch.offsets), kind="stable")
        network: ConvolutionalEncoder = encoder.network
        losses = []
        for d in by_length[:6]:
            alone = batch.share(int(d), batch.weight)
            assert len(alone.offsets) == 2
            together = network(torch.from_numpy(batch.ids), torch.from_numpy(batch.offsets))[d]
            single = network(torch.from_numpy(alone.ids), torch.from_numpy(alone.offsets))[0]
            torch.testing.assert_close(single, together)
        for d in range(batch.weight):
            alone = batch.share(d, batch.weight)
            if alone.restored.any():
                losses.append(loss(alone)["loss"].item())
        assert loss(batch)["loss"].item() == pytest.approx(float(np.mean(losses)), rel=1e-5)

    def test_unknown_words_are_left_out(self) -> None:
        encoder, _ = built(CONVOLUTIONAL, corpus_of())
        with_unknown, without = encoder.encode(["w1 nowhere w2 never w3", "w1 w2 w3"])
        np.testing.assert_allclose(with_unknown, without, atol=1e-6)

    def test_the_order_of_words_matters(self) -> None:
        encoder, _ = built(CONVOLUTIONAL, corpus_of())
        one, other = encoder.encode(["w1 w2 w3 w4", "w4 w2 w1 w3"])
        assert np.abs(one - other).max() > 1e-4

    def test_gradients_are_those_of_finite_differences(self) -> None:
        corpus = corpus_of(6, 5)
        _, loss = built(CONVOLUTIONAL.model_copy(update={"layers": 1, "channels": 2}), corpus)
        loss.double()
        batch = CONVOLUTIONAL.batches(corpus, 0)[0]
        names, parameters = zip(*((n, p.detach().requires_grad_()) for n, p in loss.named_parameters()), strict=True)

        def value(*given: torch.Tensor) -> torch.Tensor:
            return torch.func.functional_call(loss, dict(zip(names, given, strict=True)), (batch,))["loss"]

        assert torch.autograd.gradcheck(value, parameters)
