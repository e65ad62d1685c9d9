"""What is the denoising autoencoder's own, beyond the table of all objectives."""

import math

import numpy as np
import pytest
import torch

from sslcore.errors import UserError
from sslcore.models.encoder import Encoder
from sslcore.models.word_weights import damping, sif_weights, word_counts
from sslcore.objectives._bag_reconstruction import BagReconstruction
from sslcore.objectives.bag_objective import Bags, gather, most_frequent
from sslcore.objectives.denoising_autoencoder import DenoisingAutoencoder
from sslcore.randomness import torch_generator
from sslcore.tokenization.encoding import EncodedCorpus
from sslcore.training.pretraining import pretrain


def corpus_of(documents: int = 60, words: int = 40, seed: int = 0) -> EncodedCorpus:
    generator = np.random.default_rng(seed)
    return EncodedCorpus.from_token_lists(
        [[f"w{w}" for w in generator.integers(0, words, 1 + d)] for d in range(documents)], minimum_count=1
    )


@pytest.mark.parametrize("reconstructed", [3, 10, 40])
def test_the_loss_is_the_multinomial_likelihood_of_the_paper(reconstructed: int) -> None:
    """Liang et al. 2018, equation 2, log p(x|z) = Σ x log softmax(f(z)), word by word; divided by the bag's sum."""
    corpus = corpus_of()
    objective = DenoisingAutoencoder(dimensions=6, batch_size=16, reconstructed_words=reconstructed)
    network = objective.network(corpus.tokenizer, torch_generator(1))
    words = most_frequent(word_counts(corpus.tokenizer), reconstructed)
    loss = BagReconstruction(network, words, corpus.tokenizer.vocabulary_size, torch_generator(2))
    batch = objective.batches(corpus, 0)[0]

    embedding = network(torch.from_numpy(batch.ids), torch.from_numpy(batch.offsets)).detach().numpy().astype(float)
    weight, bias = (p.detach().numpy().astype(float) for p in (loss.decoder.weight, loss.decoder.bias))
    per_document = []
    for d in range(len(embedding)):
        logits = [float(row @ embedding[d] + b) for row, b in zip(weight, bias, strict=True)]
        normaliser = math.log(sum(math.exp(x) for x in logits))
        of_document = [
            (list(words).index(w), x)
            for row, w, x in zip(batch.bag_documents, batch.bag_words, batch.bag_weights, strict=True)
            if row == d and w in words
        ]
        if of_document:
            likelihood = sum(x * (logits[column] - normaliser) for column, x in of_document)
            per_document.append(-likelihood / sum(x for _, x in of_document))
    assert loss(batch)["loss"].item() == pytest.approx(sum(per_document) / len(per_document), rel=1e-5)


def test_the_embedding_is_tanh_of_the_weighted_bag_of_unit_length() -> None:
    corpus = corpus_of()
    encoder = pretrain(DenoisingAutoencoder(dimensions=4, epochs=1), corpus, seed=0)
    rows, bias = (p.detach().numpy().astype(float) for p in (encoder.network.rows, encoder.network.bias))
    weights = sif_weights(word_counts(corpus.tokenizer)).astype(float)
    ids = [corpus.tokenizer.ids[w] for w in ("w3", "w7", "w3")]
    length = math.sqrt(sum(weights[i] ** 2 for i in ids))
    expected = np.tanh(sum(weights[i] * rows[i] for i in ids) / length + bias)
    np.testing.assert_allclose(encoder.encode(["w3 w7 unknown w3"])[0], expected, rtol=1e-5)


def bags(objective: DenoisingAutoencoder, corpus: EncodedCorpus) -> list[Bags]:
    batches = objective.batches(corpus, 0)
    return [batches[step] for step in range(len(batches))]


def test_deletion_hides_whole_words_at_the_rate_asked_for() -> None:
    corpus = corpus_of(400)
    different = kept = 0
    for batch in bags(DenoisingAutoencoder(epochs=1, deletion=0.3, batch_size=50), corpus):
        for d in range(len(batch.offsets) - 1):
            clean = batch.bag_words[batch.bag_documents == d]
            seen = np.unique(batch.ids[batch.offsets[d] : batch.offsets[d + 1]])
            assert set(seen) <= set(clean)
            different, kept = different + len(clean), kept + len(seen)
    assert kept / different == pytest.approx(0.7, abs=0.02)


def test_without_deletion_the_input_is_the_text_and_the_bag_its_words() -> None:
    corpus = corpus_of(20)
    importance = damping(word_counts(corpus.tokenizer), 1e-5)
    seen = []
    for batch in bags(DenoisingAutoencoder(epochs=1, deletion=0, batch_size=7), corpus):
        for d in range(len(batch.offsets) - 1):
            ids = batch.ids[batch.offsets[d] : batch.offsets[d + 1]]
            words, counts = np.unique(ids, return_counts=True)
            assert batch.bag_words[batch.bag_documents == d].tolist() == words.tolist()
            np.testing.assert_allclose(
                batch.bag_weights[batch.bag_documents == d], np.log1p(counts) * importance[words], rtol=1e-6
            )
            seen.append(tuple(ids))
    assert sorted(seen) == sorted(
        tuple(corpus.ids[a:b]) for a, b in zip(corpus.document_offsets[:-1], corpus.document_offsets[1:], strict=True)
    )


def test_every_epoch_sees_every_document_in_another_order() -> None:
    corpus = corpus_of(50)
    batches = bags(DenoisingAutoencoder(epochs=2, batch_size=50), corpus)
    assert len(batches) == 2
    assert [b.tokens for b in batches] == [corpus.tokens] * 2
    assert batches[0].bag_words.tolist() != batches[1].bag_words.tolist()
    assert (batches[0].begin, batches[1].end) == (0, 1)


def test_gather_picks_documents_of_any_length() -> None:
    ids, offsets = np.arange(10, 20, dtype=np.int32), np.array([0, 4, 4, 9, 10])
    gathered, rows = gather(ids, offsets, np.array([3, 1, 0]))
    assert gathered.tolist() == [19, 10, 11, 12, 13]
    assert rows.tolist() == [0, 2, 2, 2, 2]


def test_most_frequent_words_are_words_that_occur() -> None:
    assert most_frequent(np.array([0, 0, 5, 9, 5, 1]), 3).tolist() == [3, 2, 4]
    assert most_frequent(np.array([0, 0, 5]), 3).tolist() == [2]


def test_documents_about_one_thing_come_to_lie_together() -> None:
    generator = np.random.default_rng(0)
    lists = [[f"{'fruit' if d % 2 else 'tool'}{w}" for w in generator.integers(0, 30, 8)] for d in range(600)]
    encoder = pretrain(DenoisingAutoencoder(dimensions=16, epochs=8), lists, seed=0)
    fruit, other_fruit, tool = encoder.encode(["fruit1 fruit2 fruit3", "fruit7 fruit8 fruit9", "tool7 tool8 tool9"])

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    assert cosine(fruit, other_fruit) > cosine(fruit, tool) + 0.5


def test_it_has_no_vectors_of_words() -> None:
    encoder: Encoder = pretrain(DenoisingAutoencoder(dimensions=4, epochs=1), corpus_of(), seed=0)
    with pytest.raises(UserError, match="vectors of texts, not of words"):
        encoder.to_keyed_vectors()


def test_the_number_of_workers_does_not_change_the_deterministic_result() -> None:
    objective = DenoisingAutoencoder(dimensions=64, epochs=1)
    one, two = (pretrain(objective, corpus_of(300), seed=0, workers=n).network.state_dict() for n in (1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
