"""Losses that compare a batch's vectors: each against its paper's formula in numpy, and what must and must not flow."""

import json
import logging
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sslcore
from sslcore.errors import UserError
from sslcore.evaluation.geometry import geometry
from sslcore.models.encoder import Encoder
from sslcore.objectives import _cpc
from sslcore.objectives._byol import byol_loss, momentum_at
from sslcore.objectives._cpc import ComingSentences, cpc_loss
from sslcore.objectives._info_nce import info_nce_loss
from sslcore.objectives._moco import MomentumContrast, moco_loss
from sslcore.objectives._sim_cse import SameSentence, sim_cse_loss
from sslcore.objectives._sim_siam import sim_siam_loss
from sslcore.objectives._vectors import update_towards, vectors_of
from sslcore.objectives.registry import parse_objective
from sslcore.randomness import torch_generator
from sslcore.tokenization.encoding import EncodedCorpus
from sslcore.training.collapse import collapse, dead_units

SHAPES = [(2, 3), (5, 8), (16, 4), (33, 20)]
TEMPERATURES = [0.05, 1.0]
LISTS = [[f"w{j}" for j in np.random.default_rng(i).integers(0, 50, 6 + 3 * (i % 20))] for i in range(60)]
TINY: dict[str, Any] = {"size": "tiny", "dimensions": 16, "layers": 1, "maximum_tokens": 32, "batch_size": 12}


@pytest.fixture(scope="module")
def corpus() -> EncodedCorpus:
    return EncodedCorpus.from_token_lists(LISTS, minimum_count=1)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch_generator(seed), dtype=torch.float64)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def sim_cse_by_hand(first: np.ndarray, second: np.ndarray, temperature: float) -> float:
    losses = []
    for i in range(len(first)):
        similar = [np.exp(unit(first[i]) @ unit(second[j]) / temperature) for j in range(len(second))]
        losses.append(-np.log(similar[i] / sum(similar)))
    return float(np.mean(losses))


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("shape", SHAPES)
def test_in_batch_losses_are_the_papers(shape: tuple[int, int], temperature: float) -> None:
    first, second = drawn(*shape), drawn(*shape, seed=1)
    there = sim_cse_by_hand(first.numpy(), second.numpy(), temperature)
    back = sim_cse_by_hand(second.numpy(), first.numpy(), temperature)
    assert sim_cse_loss(first, second, temperature)["loss"].item() == pytest.approx(there, rel=1e-9)
    assert info_nce_loss(first, second, temperature)["loss"].item() == pytest.approx((there + back) / 2, rel=1e-9)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("filled", [40, 64])
def test_mocos_loss_is_the_papers_and_of_a_full_queue_while_it_fills(
    shape: tuple[int, int], temperature: float, filled: int
) -> None:
    queries, queue = unit(drawn(*shape).numpy()), unit(drawn(64, shape[1], seed=1).numpy())
    places = np.random.default_rng(0).integers(0, filled, shape[0])
    losses = []
    for query, place in zip(queries, places, strict=True):
        wrong = sum(np.exp(query @ queue[j] / temperature) for j in range(filled) if j != place)
        right = np.exp(query @ queue[place] / temperature)
        losses.append(-np.log(right / (right + 63 / (filled - 1) * wrong)))
    said = moco_loss(*map(torch.from_numpy, (queries, queue, places)), temperature, filled)
    assert said["loss"].item() == pytest.approx(np.mean(losses), rel=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_losses_without_negatives_are_the_papers(shape: tuple[int, int]) -> None:
    p1, p2, z1, z2 = (drawn(*shape, seed=n) for n in range(4))
    apart = ((unit(p1.numpy()) - unit(z2.numpy())) ** 2).sum(axis=1).mean()
    assert byol_loss(p1, z2).item() == pytest.approx(apart, rel=1e-9)
    there, back = ((unit(p.numpy()) * unit(z.numpy())).sum(axis=1).mean() for p, z in ((p1, z2), (p2, z1)))
    assert sim_siam_loss((p1, p2), (z1, z2)).item() == pytest.approx(1 - there / 2 - back / 2, rel=1e-9)


@pytest.mark.parametrize("runs", [[0, 2], [0, 3, 5, 9], [0, 6, 8]])
@pytest.mark.parametrize("ahead", [1, 3])
def test_cpcs_loss_is_the_papers(runs: list[int], ahead: int) -> None:
    z, c, w = drawn(runs[-1], 5), drawn(runs[-1], 5, seed=1), drawn(ahead, 5, 5, seed=2)
    losses = []
    for first, last in pairwise(runs):
        for k in range(1, ahead + 1):
            for t in range(first, last - k):
                scores = np.exp([z[j].numpy() @ w[k - 1].numpy() @ c[t].numpy() for j in range(runs[-1])])
                losses.append(-np.log(scores[t + k] / scores.sum()))
    assert cpc_loss(z, c, w, np.array(runs))["loss"].item() == pytest.approx(np.mean(losses), rel=1e-9)


def test_gradients_are_those_of_finite_differences() -> None:
    first, second, queue = (drawn(5, 4, seed=n).requires_grad_() for n in range(3))
    predictors = drawn(2, 4, 4).requires_grad_()
    check = torch.autograd.gradcheck
    assert check(lambda a, b: sim_cse_loss(a, b, 0.3)["loss"], (first, second))
    assert check(lambda a, b: info_nce_loss(a, b, 0.3)["loss"], (first, second))
    assert check(lambda a: moco_loss(a, queue.detach(), torch.arange(5), 0.3, 5)["loss"], (first,))
    assert check(lambda a: byol_loss(a, second), (first,))
    assert check(lambda a, b: sim_siam_loss((a, b), (queue, queue)), (first, second))
    assert check(lambda z, c, w: cpc_loss(z, c, w, np.array([0, 3, 5]))["loss"], (first, second, predictors))


def test_gradients_stop_where_the_papers_stop_them() -> None:
    p1, p2, z1, z2 = (drawn(5, 4, seed=n).requires_grad_() for n in range(4))
    byol_loss(p1, z2).backward()
    sim_siam_loss((p1, p2), (z1, z2)).backward()
    assert all(p.grad is not None and p.grad.any() for p in (p1, p2))
    assert z1.grad is z2.grad is None


def loss_and_batch(kind: str, corpus: EncodedCorpus, **fields: Any) -> tuple[Any, Any]:
    objective: Any = parse_objective({"kind": kind, **TINY, **fields})
    encoder = Encoder(corpus.tokenizer, objective.network(corpus.tokenizer, torch_generator(0)), {"kind": kind}, 0)
    return objective.loss(encoder, torch_generator(1)), objective.batches(corpus, 0)[0]


@pytest.mark.parametrize("kind", ["moco", "byol"])
def test_no_gradient_reaches_the_slow_encoder_which_follows(kind: str, corpus: EncodedCorpus) -> None:
    loss, batch = loss_and_batch(kind, corpus, momentum=0.75)
    before = {name: p.clone() for name, p in loss.slow.named_parameters()}
    with torch.no_grad():
        for p in loss.encoder.parameters():
            p.add_(1)
    loss(batch)["loss"].backward()
    assert all(p.grad is None for p in loss.slow.parameters())
    assert all(p.grad is not None for p in loss.encoder.parameters())
    for name, p in loss.slow.named_parameters():
        torch.testing.assert_close(p, before[name] + 0.25)


def test_momentum_is_the_papers() -> None:
    slow, fast = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    expected = [0.9 * s + 0.1 * f for s, f in zip(slow.parameters(), fast.parameters(), strict=True)]
    update_towards(slow, fast, 0.9)
    for p, e in zip(slow.parameters(), expected, strict=True):
        torch.testing.assert_close(p, e)
    assert [momentum_at(done, 0.996) for done in (0.0, 0.5, 1.0)] == pytest.approx([0.996, 0.998, 1.0])


def test_the_queue_lets_go_of_the_oldest_first(corpus: EncodedCorpus) -> None:
    loss, _ = loss_and_batch("moco", corpus, queue=12)
    assert isinstance(loss, MomentumContrast)
    said = [loss.enqueue(torch.full((5, 16), float(n))) for n in range(1, 5)]
    assert [filled for _, filled in said] == [5, 10, 12, 12]
    assert [places.tolist() for places, _ in said][2:] == [[10, 11, 0, 1, 2], [3, 4, 5, 6, 7]]
    assert loss.queue[:, 0].tolist() == [3, 3, 3, 4, 4, 4, 4, 4, 2, 2, 3, 3]
    assert {"queue", "enqueued"} < set(loss.state_dict())


def test_cpcs_contexts_are_what_a_gru_has_read_of_its_run(corpus: EncodedCorpus) -> None:
    loss, batch = loss_and_batch("cpc", corpus, span_tokens=8)
    assert isinstance(loss, ComingSentences)
    vectors = torch.randn(batch.whole, 16, generator=torch_generator(0))
    contexts = loss.contexts(vectors, batch.runs)
    for first, last in pairwise(batch.runs):
        torch.testing.assert_close(contexts[first:last], loss.gru(vectors[None, first:last])[0][0])


def test_what_all_vectors_have_in_common_does_not_reach_cpcs_loss(
    corpus: EncodedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, batch = loss_and_batch("cpc", corpus, span_tokens=8)
    vectors = torch.randn(batch.whole, 16, generator=torch_generator(0))

    def of(vectors_SD: torch.Tensor) -> torch.Tensor:
        monkeypatch.setattr(_cpc, "vectors_of", lambda *_: vectors_SD)
        return loss(batch)["loss"]

    torch.testing.assert_close(of(100 + 0.1 * vectors), of(vectors), rtol=1e-3, atol=0)
    assert abs(of(vectors.flip(0)) - of(vectors)) > 0.01  # other vectors are another loss


@pytest.mark.parametrize("chunk", [1, 5, 7])
@pytest.mark.parametrize("dropout", [1e-9, 0.3])
def test_gradients_of_chunks_are_those_of_one_go(chunk: int, dropout: float, corpus: EncodedCorpus) -> None:
    """With dropout: those of the same chunks kept in memory, so it is drawn again as it was."""
    loss, batch = loss_and_batch("sim_cse", corpus, dropout=dropout)
    loss.double()

    def gradients(vectors: Any) -> list[torch.Tensor]:
        loss.zero_grad()
        torch.manual_seed(0)
        first, second = vectors().double().chunk(2)
        sim_cse_loss(first, second, 0.05)["loss"].backward()
        return [p.grad.clone() for p in loss.encoder.parameters()]

    def kept() -> torch.Tensor:
        pieces = [np.arange(a, min(a + chunk, batch.whole)) for a in range(0, batch.whole, chunk)]
        return torch.cat([vectors_of(loss.encoder, batch.take(piece), 0) for piece in pieces])

    cached = gradients(lambda: vectors_of(loss.encoder, batch, chunk))
    whole = gradients(kept if dropout > 0.1 else lambda: vectors_of(loss.encoder, batch, 0))
    for a, b in zip(cached, whole, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_adjacent_spans_meet_and_lie_in_one_document(corpus: EncodedCorpus) -> None:
    batches: Any = sslcore.InfoNCE(**TINY).batches(corpus, 3)
    documents = [tuple(corpus.ids[a:b]) for a, b in pairwise(corpus.document_offsets)]
    text = {d: " ".join(map(str, d)) for d in documents}
    assert sum(batches[step].tokens for step in range(len(batches) // 10)) == corpus.tokens
    batch = batches[0]
    spans = [batch.ids[a + 1 : b - 1] for a, b in pairwise(batch.offsets)]
    half = batch.whole // 2
    for left, right in zip(spans[:half], spans[half:], strict=True):
        assert any(" ".join(map(str, [*left, *right])) in t for t in text.values())
    again = batches[0]
    assert np.array_equal(again.ids, batch.ids)


def test_collapse_is_seen() -> None:
    vectors = np.random.default_rng(0).normal(size=(100, 8)).astype(np.float32)
    vectors[:, 5] = 0
    measured = geometry(vectors)
    assert measured is not None
    said = collapse(torch.from_numpy(vectors), torch.from_numpy(-vectors))
    assert said["effective_rank"].item() == pytest.approx(measured.effective_rank, rel=1e-4)
    assert said["uniformity"].item() == pytest.approx(measured.uniformity, rel=1e-4)
    assert said["alignment"].item() == pytest.approx(4)
    assert said["dead_units"].item() == pytest.approx(1 / 8)
    point = torch.ones(50, 8)
    assert dead_units(point) == 1
    assert collapse(point)["effective_rank"] < 1.5
    assert collapse(point)["uniformity"].item() == pytest.approx(0, abs=1e-5)


def test_too_little_is_refused_and_little_is_warned_of(corpus: EncodedCorpus, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UserError, match="needs 2 texts or more"):
        sslcore.SimCSE(minimum_tokens=70).check(corpus, "cpu")
    with caplog.at_level(logging.WARNING):
        sslcore.SimCSE().check(corpus, "cpu")
    assert "pretrain with masked_lm first" in caplog.text
    with pytest.raises(UserError, match="2 texts or more"):
        sslcore.CPC(span_tokens=100).check(corpus, "cpu")


def test_the_loss_is_sentence_transformers(corpus: EncodedCorpus) -> None:
    losses = pytest.importorskip("sentence_transformers.sentence_transformer.losses")
    loss, batch = loss_and_batch("sim_cse", corpus)
    assert isinstance(loss, SameSentence)
    loss.eval()
    said = loss(batch)["loss"].item()
    first, second = vectors_of(loss.encoder, batch, 0).chunk(2)
    theirs = losses.MultipleNegativesRankingLoss(None, scale=20.0)
    assert said == pytest.approx(theirs.compute_loss_from_embeddings([first, second], None).item(), rel=1e-5)


DESCEND = """
import json, os, sys
import numpy as np, sslcore, torch
from sslcore.objectives.registry import objective_kinds, parse_objective
lists = [[f"w{j}" for j in np.random.default_rng(i).integers(0, 30, 6 + i % 30)] for i in range(75)]
for kind in sys.argv[2:]:
    fields = {"dropout": 1e-9, "span_tokens": 8, "run": 3, "queue": 20, "minimum_tokens": 3}
    fields = {"kind": kind, "size": "tiny", "dimensions": 16, "layers": 1, "batch_size": 13, "epochs": 1, **fields}
    known = objective_kinds()[kind].model_fields
    objective = parse_objective({name: value for name, value in fields.items() if name in known})
    losses = []
    encoder = sslcore.pretrain(objective, lists, seed=0, workers=1, on_metrics=lambda s, m: losses.append(m["loss"]))
    if os.environ.get("RANK", "0") == "0":
        rows = torch.cat([p.flatten() for p in encoder.network.parameters()]).detach().tolist()
        json.dump([losses, rows], open(f"{sys.argv[1]}-{kind}.json", "w"))
"""
KINDS = ["sim_cse", "info_nce", "moco", "byol", "sim_siam", "cpc", "tsdae"]


def test_two_processes_descend_as_one_does(tmp_path: Path) -> None:
    """Negatives come from both, batch normalisation is over both; shares of 7 and 6 texts."""
    (tmp_path / "train.py").write_text(DESCEND)
    several = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for start in ([*several, "train.py", "two", *KINDS], [sys.executable, "train.py", "one", *KINDS]):
        done = subprocess.run(start, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    for kind in KINDS:
        (one, weights), (two, their) = (json.loads((tmp_path / f"{n}-{kind}.json").read_text()) for n in ("one", "two"))
        np.testing.assert_allclose(two, one, rtol=2e-4, err_msg=kind)
        assert np.mean(np.abs(np.array(weights) - their)) < 2e-4, kind
