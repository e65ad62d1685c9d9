"""The losses of the family of autoencoders over bags of words: each paper's formula typed again, slowly."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from sslcore.models.word_weights import sif_weights, word_counts
from sslcore.objectives._penalised_reconstruction import bernoulli_divergence, squared_jacobian
from sslcore.objectives._variational_bound import active_units, gaussian_divergence
from sslcore.objectives.autoencoder import Autoencoder
from sslcore.objectives.bag_objective import BagObjective, Bags
from sslcore.objectives.contractive_autoencoder import ContractiveAutoencoder
from sslcore.objectives.denoising_autoencoder import DenoisingAutoencoder
from sslcore.objectives.sparse_autoencoder import SparseAutoencoder
from sslcore.objectives.stacked_autoencoder import StackedAutoencoder
from sslcore.objectives.variational_autoencoder import VariationalAutoencoder
from sslcore.randomness import torch_generator
from sslcore.tokenization.encoding import EncodedCorpus
from sslcore.training.learner import Metrics
from sslcore.training.pretraining import pretrain

SHAPES = [(1, 3), (5, 16), (8, 40)]  # dimensions, reconstructed words


def corpus_of(documents: int = 40, words: int = 40, seed: int = 0) -> EncodedCorpus:
    generator = np.random.default_rng(seed)
    return EncodedCorpus.from_token_lists(
        [[f"w{w}" for w in generator.integers(0, words, 1 + d)] for d in range(documents)], minimum_count=1
    )


def built(objective: BagObjective, corpus: EncodedCorpus) -> tuple[Any, Any]:
    """(encoder network, loss module) in float64."""
    from sslcore.models.encoder import Encoder

    network = objective.network(corpus.tokenizer, torch_generator(1))
    encoder = Encoder(corpus.tokenizer, network, objective.model_dump(mode="json"), 0)
    loss = objective._loss(encoder, torch_generator(2)).double()
    with torch.no_grad():
        for parameter in loss.parameters():  # nothing stays at 0, where an error would not show
            parameter.add_(torch.randn(parameter.shape, generator=torch_generator(3)) * 0.3)
    return network, loss


def numbers(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy().astype(float)


def dense_bags(batch: Bags, weights: np.ndarray) -> np.ndarray:
    """[B, V]: what enters the bag networks, word by word."""
    bags = np.zeros((batch.weight, len(weights)))
    for d in range(batch.weight):
        ids = batch.ids[batch.offsets[d] : batch.offsets[d + 1]]
        for i in ids:
            bags[d, i] += float(weights[i])
        length = math.sqrt(sum(float(weights[i]) ** 2 for i in ids))
        bags[d] /= length or 1
    return bags


def restored(states: np.ndarray, loss: Any, batch: Bags, *, per_word: bool = True) -> float:
    """Liang et al. 2018, equation 2: the mean over documents of −Σ b log softmax, divided by Σ b where `per_word`."""
    columns = list(numbers(loss.columns).astype(int))
    of_documents = []
    for d, state in enumerate(states):
        logits = numbers(loss.decoder.weight) @ state + numbers(loss.decoder.bias)
        normaliser = math.log(sum(math.exp(x) for x in logits))
        total = likelihood = 0.0
        for row, word, b in zip(batch.bag_documents, batch.bag_words, batch.bag_weights, strict=True):
            if row == d and columns[word] >= 0:
                total, likelihood = total + b, likelihood + b * (logits[columns[word]] - normaliser)
        if not per_word:
            of_documents.append(-likelihood)
        elif total:
            of_documents.append(-likelihood / total)
    return float(np.mean(of_documents))


def prepared(objective: BagObjective, step: int = 0) -> tuple[Any, Any, Bags, np.ndarray]:
    """(network, loss module, a batch, its dense bags)"""
    corpus = corpus_of()
    network, loss = built(objective, corpus)
    batch = objective.batches(corpus, 0)[step]
    return network, loss, batch, dense_bags(batch, sif_weights(word_counts(corpus.tokenizer)).astype(float))


@pytest.mark.parametrize(("dimensions", "words"), SHAPES)
def test_autoencoder(dimensions: int, words: int) -> None:
    network, loss, batch, bags = prepared(Autoencoder(dimensions=dimensions, reconstructed_words=words, batch_size=9))
    states = np.tanh(bags @ numbers(network.rows) + numbers(network.bias))
    assert loss(batch)["loss"].item() == pytest.approx(restored(states, loss, batch), rel=1e-5)


def test_the_autoencoder_is_the_denoising_one_without_deletion() -> None:
    plain, denoising = Autoencoder(dimensions=4), DenoisingAutoencoder(dimensions=4, deletion=0)
    batches = [o.batches(corpus_of(), 0)[0] for o in (plain, denoising)]
    assert all(np.array_equal(a, b) for a, b in zip(*batches, strict=True))
    losses = [built(o, corpus_of())[1](batch)["loss"] for o, batch in zip((plain, denoising), batches, strict=True)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("penalty", ["kl", "l1"])
@pytest.mark.parametrize(("dimensions", "words"), SHAPES)
def test_sparse(dimensions: int, words: int, penalty: Any) -> None:
    objective = SparseAutoencoder(
        dimensions=dimensions, reconstructed_words=words, penalty=penalty, penalty_weight=0.7, target_activation=0.1
    )
    network, loss, batch, bags = prepared(objective)
    states = 1 / (1 + np.exp(-(bags @ numbers(network.rows) + numbers(network.bias))))
    if penalty == "l1":
        expected = sum(abs(x) for x in states.ravel()) / len(states)
    else:
        expected = sum(
            0.1 * math.log(0.1 / mean) + 0.9 * math.log(0.9 / (1 - mean)) for mean in states.sum(0) / len(states)
        )
    found, around = loss(batch), (states - 0.1) / math.sqrt(0.1 * 0.9)
    assert found["penalty"].item() == pytest.approx(expected, rel=1e-5)
    assert found["loss"].item() == pytest.approx(restored(around, loss, batch) + 0.7 * expected, rel=1e-5)


def test_the_divergence_of_coins_is_zero_at_its_target_alone() -> None:
    means = torch.linspace(0, 1, 101, dtype=torch.float64)
    divergence = bernoulli_divergence(0.3, means)
    assert divergence.argmin() == 30
    assert divergence.min() == pytest.approx(0, abs=1e-12)
    assert divergence.isfinite().all()


@pytest.mark.parametrize(("dimensions", "words"), SHAPES)
def test_contractive(dimensions: int, words: int) -> None:
    """The penalty against autograd's Jacobian of tanh(W x + b) with regard to the bag of unit length."""
    objective = ContractiveAutoencoder(dimensions=dimensions, reconstructed_words=words, contraction=0.3)
    network, loss, batch, bags = prepared(objective)

    def encoded(x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x @ network.rows + network.bias)

    norms = []
    for bag in torch.from_numpy(bags):
        jacobian = torch.autograd.functional.jacobian(encoded, bag)
        assert jacobian.shape == (dimensions, bags.shape[1])
        norms.append(float(jacobian.square().sum()))
    embedding = network(*loss.texts(batch))
    np.testing.assert_allclose(numbers(embedding), numbers(encoded(torch.from_numpy(bags))), rtol=1e-5)
    np.testing.assert_allclose(numbers(squared_jacobian(embedding, network.rows)), norms, rtol=1e-5)
    expected = restored(numbers(embedding), loss, batch) + 0.3 * np.mean(norms)
    assert loss(batch)["loss"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("dimensions", "words"), SHAPES)
def test_variational(dimensions: int, words: int) -> None:
    """Kingma, Welling 2014, equation 10 with one z; in nats a word, with warm-up and free bits."""
    objective = VariationalAutoencoder(
        dimensions=dimensions, hidden_dimensions=6, reconstructed_words=words, batch_size=9, beta=0.6, warmup=0.5,
        free_nats=0.1, epochs=2,
    )  # fmt: skip
    network, loss, batch, bags = prepared(objective, step=2)
    hidden = np.tanh(bags @ numbers(network.words.rows) + numbers(network.words.bias))
    mean = hidden @ numbers(network.upper[0].weight).T + numbers(network.upper[0].bias)
    log_variance = hidden @ numbers(loss.log_variance.weight).T + numbers(loss.log_variance.bias)
    seen = np.diff(batch.offsets) > 0
    mean[~seen] = log_variance[~seen] = 0  # of nothing seen: the prior
    torch.manual_seed(5)
    found = loss(batch)
    torch.manual_seed(5)
    z = mean + np.exp(0.5 * log_variance) * torch.randn(mean.shape, dtype=torch.float64).numpy()
    reconstruction = restored(z, loss, batch, per_word=False)
    of_entries = [
        [0.5 * (m * m + math.exp(v) - 1 - v) for m, v in zip(mean[:, j], log_variance[:, j], strict=True)]
        for j in range(dimensions)
    ]
    divergences = [sum(entries) / len(entries) for entries in of_entries]
    assert 0 < batch.begin < 0.5
    beta = 0.6 * batch.begin / 0.5
    there = numbers(loss.columns)[batch.bag_words] >= 0
    words_a_text = batch.bag_weights[there].sum() / batch.weight
    assert found["reconstruction"].item() == pytest.approx(reconstruction, rel=1e-4)
    assert found["kl"].item() == pytest.approx(sum(divergences), rel=1e-4)
    expected = (reconstruction + beta * sum(max(0.1, d) for d in divergences)) / words_a_text
    assert found["loss"].item() == pytest.approx(expected, rel=1e-4)


def test_the_divergence_is_that_of_torch_and_makes_the_bound_of_a_linear_model_tight() -> None:
    """x = W z + noise with orthogonal columns of W: with the true posterior, E log p(x|z) − KL = log p(x)."""
    generator = np.random.default_rng(0)
    W, variance = np.linalg.qr(generator.normal(size=(7, 3)))[0] * [0.5, 1, 2], 0.3
    x = generator.normal(size=7)
    precision = 1 + (W**2).sum(0) / variance
    mean, log_variance = (W.T @ x / variance) / precision, -np.log(precision)
    squared_error = ((x - W @ mean) ** 2).sum() + ((W**2).sum(0) / precision).sum()
    likelihood = -0.5 * (7 * math.log(2 * math.pi * variance) + squared_error / variance)
    divergence = gaussian_divergence(torch.from_numpy(mean), torch.from_numpy(log_variance))
    evidence = torch.distributions.MultivariateNormal(
        torch.zeros(7, dtype=torch.float64), torch.from_numpy(W @ W.T + variance * np.eye(7))
    ).log_prob(torch.from_numpy(x))
    assert likelihood - divergence.sum().item() == pytest.approx(evidence.item(), rel=1e-9)
    posterior = torch.distributions.Normal(torch.from_numpy(mean), torch.from_numpy(np.exp(0.5 * log_variance)))
    prior = torch.distributions.Normal(torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(divergence, torch.distributions.kl_divergence(posterior, prior))


def test_where_the_vector_does_not_matter_the_bound_is_the_likelihood_less_the_divergence() -> None:
    objective = VariationalAutoencoder(dimensions=3, hidden_dimensions=4, deletion=0, beta=1, warmup=0)
    _, loss, batch, _ = prepared(objective)
    with torch.no_grad():
        loss.decoder.weight.zero_()
    found, again = loss(batch), loss(batch)  # other noise
    expected = restored(np.zeros((batch.weight, 3)), loss, batch, per_word=False)
    assert found["reconstruction"].item() == again["reconstruction"].item() == pytest.approx(expected, rel=1e-5)


def test_warm_up_rises_in_a_line_and_stays() -> None:
    objective = VariationalAutoencoder(beta=0.4, warmup=0.5)
    assert [objective.beta_at(x) for x in (0, 0.125, 0.25, 0.5, 1)] == pytest.approx([0, 0.1, 0.2, 0.4, 0.4])
    assert VariationalAutoencoder(beta=0.4, warmup=0).beta_at(0) == 0.4


def test_a_unit_is_active_if_its_mean_varies_by_more_than_a_hundredth() -> None:
    means = torch.tensor([[0.0, 5.0, 0.09], [0.21, 5.0, -0.09]])  # variances 0.011, 0, 0.0081
    assert active_units(means).item() == pytest.approx(1 / 3)


def test_a_heavy_divergence_collapses_the_posterior_and_free_nats_keep_it_alive() -> None:
    def last(**fields: Any) -> Metrics:
        heard: list[Metrics] = []
        objective = VariationalAutoencoder(
            dimensions=4, hidden_dimensions=8, epochs=40, beta=10, warmup=0, deletion=0, batch_size=10, **fields
        )
        generator = np.random.default_rng(0)
        lists = [[f"{'fruit' if d % 2 else 'tool'}{w}" for w in generator.integers(0, 9, 8)] for d in range(60)]
        pretrain(objective, lists, seed=0, on_metrics=lambda s, m: heard.append(m))
        return heard[-1]

    collapsed, alive = last(), last(free_nats=0.5)
    assert collapsed["active_units"] == 0
    assert collapsed["kl"] < 0.1
    assert alive["active_units"] > 0.4
    assert alive["kl"] > 0.5


OF_EACH = [
    Autoencoder(dimensions=3),
    SparseAutoencoder(dimensions=3),
    SparseAutoencoder(dimensions=3, penalty="l1"),
    ContractiveAutoencoder(dimensions=3),
    VariationalAutoencoder(dimensions=3, hidden_dimensions=2, warmup=0, free_nats=0.01),
    StackedAutoencoder(dimensions=3, hidden_dimensions=2, layerwise=0),
]


@pytest.mark.parametrize("objective", OF_EACH, ids=lambda o: o.kind)
def test_gradients_are_those_of_finite_differences(objective: BagObjective) -> None:
    corpus = corpus_of(6, 5)
    _, loss = built(objective, corpus)
    batch = objective.batches(corpus, 0)[0]
    names, parameters = zip(*((n, p.detach().requires_grad_()) for n, p in loss.named_parameters()), strict=True)

    def value(*given: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(0)
        return torch.func.functional_call(loss, dict(zip(names, given, strict=True)), (batch,))["loss"]

    assert torch.autograd.gradcheck(value, parameters)
