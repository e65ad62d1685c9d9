"""A probe on labels chooses the encoder and ends the run: the score, the choice, the end; and nothing else moves."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

import sslcore
from sslcore.errors import UserError
from sslcore.evaluation.figures import curve_figures
from sslcore.models.encoder import Encoder
from sslcore.objectives.registry import AnyObjective
from sslcore.randomness import derive_seed, torch_generator
from sslcore.tokenization.encoding import NO_LABEL, EncodedCorpus
from sslcore.training import checkpoints
from sslcore.training.checkpoints import Checkpoints
from sslcore.training.learner import Metrics
from sslcore.training.loop import Point
from sslcore.training.pretraining import pretrain, write_encoder
from sslcore.training.probing import (
    Probe,
    Probed,
    Probing,
    best,
    due,
    exhausted,
    halves,
    probes,
    rank_correlation,
    read_probes,
    said_of,
)
from tests.unit.conftest import TOPICS, topic_texts

NEVER = 1000  # patience of a probe that only looks
TRANSFORMER: dict[str, Any] = {"size": "tiny", "dimensions": 16, "layers": 1, "maximum_tokens": 32, "epochs": 2}
OBJECTIVES: dict[str, AnyObjective] = {
    o.kind: o
    for o in (
        sslcore.SkipGram(dimensions=8, epochs=20, deterministic=True, continuable=True),
        sslcore.FastText(dimensions=8, epochs=20, deterministic=True, buckets=500),
        sslcore.DenoisingAutoencoder(dimensions=8, epochs=4),
        sslcore.MaskedLM(**TRANSFORMER, batch_tokens=2048),
        sslcore.BYOL(**TRANSFORMER, batch_size=64),
    )
}


def labelled(rows: int = 600, *, shuffled: bool = False) -> EncodedCorpus:
    """Texts of four topics with their labels, or with labels that no text explains."""
    texts, topics = topic_texts(rows, seed=0)
    corpus = EncodedCorpus.from_token_lists([text.split() for text in texts], minimum_count=1)
    labels = np.array([TOPICS.index(topic) for topic in topics], np.int32)
    corpus.labels = np.random.default_rng(1).permutation(labels) if shuffled else labels
    corpus.label_names = TOPICS
    return corpus


@pytest.fixture(scope="module")
def corpus() -> EncodedCorpus:
    return labelled()


@pytest.fixture
def at_every_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)


def trained(
    objective: AnyObjective, corpus: EncodedCorpus, probe: Probing | None, **options: Any
) -> tuple[Encoder, list[Point]]:
    points: list[Point] = []
    encoder = pretrain(
        objective, corpus, seed=3, workers=2, probe=probe, on_metrics=lambda s, m: points.append((s, m)), **options
    )
    return encoder, points


def weights_after(objective: AnyObjective, corpus: EncodedCorpus, steps: int) -> Encoder:
    """The encoder after so many steps, without any of the consumers of the loop."""
    kind = objective.kind
    network = objective.network(corpus.tokenizer, torch_generator(3, kind, "network"))
    encoder = Encoder(corpus.tokenizer, network, objective.model_dump(mode="json"), 3)
    learner = objective.learner(encoder, torch_generator(3, kind, "learner"), device="cpu", workers=2)
    batches = objective.batches(corpus, derive_seed(3, kind, "batches"))
    for step in range(steps):
        learner.update(batches[step])
    return learner.finish()


def assert_equal(first: Encoder, second: Encoder) -> None:
    for name, tensor in first.network.state_dict().items():
        assert torch.equal(tensor, second.network.state_dict()[name]), name
    assert first.heads.keys() == second.heads.keys()
    for name, tensor in first.heads.items():
        assert torch.equal(tensor, second.heads[name]), name


# -- the rows and the score --------------------------------------------------------------------------------------------


def test_the_halves_are_drawn_by_the_seed_from_all_classes_and_share_no_document(corpus: EncodedCorpus) -> None:
    fitted, held_out = halves(corpus, 200, seed=0)
    assert len(np.unique(np.concatenate([fitted, held_out]))) == len(fitted) + len(held_out) == 200
    difference = np.bincount(corpus.labels[fitted]) - np.bincount(corpus.labels[held_out])
    assert set(difference.tolist()) <= {0, 1}
    again, other = halves(corpus, 200, seed=0), halves(corpus, 200, seed=1)
    assert np.array_equal(again[1], held_out)
    assert not np.array_equal(other[1], held_out)


def test_small_classes_empty_documents_and_those_without_a_label_are_left_out() -> None:
    corpus = labelled(100)
    offsets = corpus.document_offsets.copy()
    offsets[5] = offsets[4]  # document 4 is empty now
    corpus = EncodedCorpus(corpus.ids, offsets, offsets, corpus.tokenizer, corpus.labels.copy(), TOPICS)
    corpus.labels[corpus.labels == 2] = NO_LABEL
    corpus.labels[np.flatnonzero(corpus.labels == 3)[9:]] = NO_LABEL  # nine are left
    chosen = np.concatenate(halves(corpus, 1000, seed=0))
    assert set(corpus.labels[chosen].tolist()) == {0, 1}
    assert 4 not in chosen
    assert len(chosen) == 49


@pytest.mark.parametrize(("labels", "said"), [(0, "has none"), (1, "farming 25"), (9, "farming 9, music 9, sailing 9")])
def test_too_few_labels_are_said_before_any_work(labels: int, said: str) -> None:
    corpus = labelled(100)
    wanted = corpus.labels if labels == 9 else np.where(corpus.labels < labels, corpus.labels, NO_LABEL)
    place = np.array([np.sum(wanted[:row] == wanted[row]) for row in range(len(wanted))])
    corpus.labels = np.where(place < (9 if labels == 9 else 25), wanted, NO_LABEL).astype(np.int32)
    started: list[float] = []
    with pytest.raises(UserError, match=rf"two classes of 10 or more labelled documents.*{said}"):
        trained(OBJECTIVES["skip_gram"], corpus, Probing(), progress=lambda f, _: started.append(f))
    assert started == []


def test_the_score_is_that_of_a_regression_on_one_half_for_the_other(corpus: EncodedCorpus) -> None:
    encoder, _ = trained(OBJECTIVES["denoising_autoencoder"], corpus, None)
    said = Probe(Probing(rows=400), corpus, seed=3, threads=1).measure(encoder)
    fitted, held_out = halves(corpus, 400, seed=3)
    texts = [text for text, _ in zip(*topic_texts(600, seed=0), strict=True)]
    vectors = encoder.encode(texts)
    mean, spread = vectors[fitted].mean(axis=0), vectors[fitted].std(axis=0)
    model = LogisticRegression(C=0.1, tol=1e-6, max_iter=1000)
    model.fit((vectors[fitted] - mean) / spread, corpus.labels[fitted])
    prediction = model.predict((vectors[held_out] - mean) / spread)
    by_hand = f1_score(corpus.labels[held_out], prediction, average="macro")
    assert said["probe"] == pytest.approx(by_hand, abs=0.011)  # a row or two near the border
    right = np.mean(prediction == corpus.labels[held_out])
    assert said["probe_error"] == pytest.approx(np.sqrt(right * (1 - right) / len(held_out)), rel=0.25)


def test_an_encoder_of_no_numbers_scores_nothing_and_a_training_network_goes_on_training(corpus: EncodedCorpus) -> None:
    encoder, _ = trained(OBJECTIVES["denoising_autoencoder"], corpus, None)
    probe = Probe(Probing(), corpus, seed=0, threads=1)
    encoder.network.train()
    state = torch.get_rng_state()
    assert probe.measure(encoder) == probe.measure(encoder)
    assert encoder.network.training
    assert torch.equal(state, torch.get_rng_state())
    with torch.no_grad():
        next(encoder.network.parameters()).fill_(float("nan"))
    assert probe.measure(encoder) == {"probe": 0.0, "probe_error": 0.0}


def test_no_objective_sees_the_labels_that_it_is_scored_by(corpus: EncodedCorpus) -> None:
    probe = Probe(Probing(rows=400), corpus, seed=0, threads=1)
    hidden = probe.hidden(corpus)
    assert (hidden.labels[probe.held_out] == NO_LABEL).all()
    others = np.setdiff1d(np.arange(corpus.documents), probe.held_out)
    assert np.array_equal(hidden.labels[others], corpus.labels[others])
    assert hidden.label_names == corpus.label_names
    assert (corpus.labels != NO_LABEL).all()


# -- when, which, and for how long -------------------------------------------------------------------------------------


def curve(scores: list[float | None]) -> list[Point]:
    """A point for each, of which some have a probe."""
    points: list[Point] = []
    for step, score in enumerate(scores, 1):
        probed = {} if score is None else {"probe": score, "probe_error": 0.01}
        points.append((step, {"loss": 10.0 - step, "done": step / len(scores), **probed}))
    return points


@pytest.mark.parametrize(("points", "every"), [(200, 0.05), (20, 0.05), (200, 0.03), (7, 0.05), (3, 1.0), (200, 0.15)])
def test_probes_come_at_each_multiple_and_at_the_end(points: int, every: float) -> None:
    made: list[Point] = []
    for step in range(1, points + 1):
        made.append((step, {"loss": 1.0, "done": step / points}))
        if due(made, every):
            made[-1][1].update(probe=0.5, probe_error=0.1)
    shares = [probed.step / points for probed in probes(made)]
    multiples = [k * every for k in range(1, int(1 / every + 1e-9) + 1)]
    wanted = sorted({*(-(-round(m * points * 1e9) // 10**9) / points for m in multiples), 1.0})
    assert shares == pytest.approx(wanted)


def test_the_first_of_the_highest_is_the_best_and_the_run_ends_when_none_was_higher_for_long_enough() -> None:
    points = curve([0.5, None, 0.7, 0.6, None, 0.7, 0.69])
    assert best(probes(points)).step == 3
    assert best(probes(points)).loss == 7.0
    assert not exhausted(points, 4)
    assert exhausted(points, 3)
    assert not exhausted(points[:6], 3)
    assert not exhausted([], 1)
    # ranks 5, 4, 3, 2, 1 of the losses and 1, 4.5, 2, 4.5, 3 of the scores
    assert rank_correlation(probes(points)) == pytest.approx(-4 / np.sqrt(10 * 9.5))
    assert rank_correlation(probes(points)[:2]) is None
    assert "4 probes" not in said_of(probes(points))
    assert "of 5 probes that of step 3 is the best, macro-F1 0.700 ± 0.010" in said_of(probes(points))


# -- in a run ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_a_probe_changes_nothing_in_the_training_and_the_best_weights_are_what_is_returned(kind: str) -> None:
    objective, corpus = OBJECTIVES[kind], labelled(shuffled=True)  # so that the last is not the best
    _, plain = trained(objective, corpus, None)
    encoder, points = trained(objective, corpus, Probing(every=0.1, patience=NEVER))
    assert [(s, {n: v for n, v in m.items() if not n.startswith("probe")}) for s, m in points] == plain
    found = probes(points)
    assert best(found).step < found[-1].step == plain[-1][0]
    assert_equal(encoder, weights_after(objective, corpus, best(found).step))
    assert Probe(Probing(), corpus, seed=3, threads=1).measure(encoder)["probe"] == pytest.approx(best(found).score)


def test_on_labels_that_no_text_explains_training_ends_early_and_on_topics_it_improves(tmp_path: Path) -> None:
    objective = sslcore.SkipGram(dimensions=32, epochs=40, deterministic=True)
    probe = Probing(every=0.05, patience=4)
    summary: dict[str, dict[str, Any]] = {}
    for name in ("topics", "chance"):
        folder = tmp_path / name
        folder.mkdir()
        summary[name] = write_encoder(objective, labelled(shuffled=name == "chance"), folder, seed=3, probe=probe)
        found = read_probes(folder)
        said = summary[name]
        assert said["probes"] == len(found)
        assert (said["best_step"], said["probe"]) == (best(found).step, round(best(found).score, 4))
        assert said.get("stopped_at", 40) == said["steps"] == found[-1].step
        assert said["probing_seconds"] > 0
    chance, topics = summary["chance"], summary["topics"]
    assert chance["stopped_at"] == chance["best_step"] + 8  # four probes, two steps each
    assert chance["stopped_at"] < 40
    assert chance["probe"] == pytest.approx(0.25, abs=0.08)
    assert topics["probe"] > 0.85
    assert topics["best_step"] > 10
    assert read_probes(tmp_path / "topics")[0].score < topics["probe"] - 0.1


def test_what_the_probe_said_is_in_the_figures_and_none_without_one(corpus: EncodedCorpus, tmp_path: Path) -> None:
    objective = OBJECTIVES["skip_gram"]
    for name, probe in (("with", Probing(every=0.25, patience=NEVER)), ("without", None)):
        (tmp_path / name).mkdir()
        summary = write_encoder(objective, corpus, tmp_path / name, seed=0, probe=probe)
        assert ("probe" in summary) == (probe is not None)
        figures = curve_figures(tmp_path / name)
        assert set(figures) == ({"curve.svg", "pretext_and_probe.svg"} if probe else {"curve.svg"})
    assert read_probes(tmp_path / "without") == ()
    drawn = curve_figures(tmp_path / "with")["pretext_and_probe.svg"].axes
    assert drawn[0].get_title(loc="left") == f"step {best(read_probes(tmp_path / 'with')).step} is kept"
    assert any(list(line.get_ydata()) == [p.score for p in read_probes(tmp_path / "with")] for line in drawn[0].lines)


class StoppedError(Exception):
    pass


@pytest.mark.usefixtures("at_every_point")
@pytest.mark.parametrize("kind", OBJECTIVES)
def test_a_run_broken_at_any_point_chooses_and_ends_as_an_unbroken_one(
    kind: str, corpus: EncodedCorpus, tmp_path: Path
) -> None:
    objective = OBJECTIVES[kind]
    probe = Probing(every=0.1, patience=3)
    expected, unbroken = trained(objective, corpus, probe)
    for stop in (2, len(unbroken) - 2, None):
        heard: list[Point] = []

        def hear(step: int, metrics: Metrics, stop: int | None = stop, heard: list[Point] = heard) -> None:
            heard.append((step, metrics))
            if len(heard) == stop:
                raise StoppedError

        options: dict[str, Any] = {"seed": 3, "workers": 2, "probe": probe, "checkpoints": tmp_path}
        if stop is None:
            resumed = pretrain(objective, corpus, on_metrics=hear, **options)
        else:
            with pytest.raises(StoppedError):
                pretrain(objective, corpus, on_metrics=hear, **options)
    assert heard == unbroken
    assert_equal(resumed, expected)


def test_a_run_that_was_killed_after_its_last_probe_ends_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = Checkpoints.offer
    monkeypatch.setattr(Checkpoints, "offer", lambda self, *state, now: offer(self, *state, now=True))
    corpus = labelled(shuffled=True)
    objective = sslcore.SkipGram(dimensions=8, epochs=40, deterministic=True)
    expected, points = trained(objective, corpus, Probing(patience=2), checkpoints=tmp_path)
    assert points[-1][1]["done"] < 1
    found = Checkpoints(tmp_path).read()
    assert found is not None
    assert found.begin.step == points[-1][0]
    again, heard = trained(objective, corpus, Probing(patience=2), checkpoints=tmp_path)
    assert heard == points
    assert_equal(again, expected)


KILLED = """
import os, signal, sys, time
import numpy as np, sslcore
from sslcore.artifacts import ArtifactStore
from sslcore.tokenization.encoding import EncodedCorpus
from sslcore.training import checkpoints
from sslcore.training.pretraining import write_encoder
from sslcore.training.probing import Probing
checkpoints.SECONDS, checkpoints.SHARE = 0.0, 1e9
generator = np.random.default_rng(0)
lists = [[f"{'abc'[i % 3]}{j}" for j in generator.integers(0, 30, 12)] for i in range(300)]
corpus = EncodedCorpus.from_token_lists(lists)
corpus.labels, corpus.label_names = (generator.integers(0, 3, 300)).astype(np.int32), ("a", "b", "c")
heard = []
def hear(step, metrics):
    heard.append(step)
    if len(heard) == int(sys.argv[2]):
        time.sleep(0.2)  # the thread that writes is done by then
        os.kill(os.getpid(), signal.SIGKILL)
def build(folder):
    objective = sslcore.DenoisingAutoencoder(dimensions=8, epochs=20)
    return write_encoder(objective, corpus, folder, seed=3, on_metrics=hear, probe=Probing(patience=3))
store = ArtifactStore(sys.argv[1])
ref, _ = store.ensure("encoder", 1, {"seed": 3}, {}, build)
summary = store.manifest(ref).summary
print(ref.digest, {name: summary[name] for name in ("best_step", "stopped_at", "probe")})
"""


def test_a_killed_run_ends_in_the_same_bytes_with_the_same_best_and_the_same_end(tmp_path: Path) -> None:
    def run(store: str, kill_at: int) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", KILLED, str(tmp_path / store), str(kill_at)]
        return subprocess.run(command, capture_output=True, text=True, env={**os.environ})

    unbroken = run("one", 0)
    assert unbroken.returncode == 0, unbroken.stderr
    assert run("two", 11).returncode == -signal.SIGKILL
    assert list((tmp_path / "two" / "encoder").glob(f".building-*/*/{checkpoints.PATTERN}"))
    assert run("two", 0).stdout == unbroken.stdout


# -- several processes -------------------------------------------------------------------------------------------------

TOGETHER = """
import hashlib, json, os, sys
import numpy as np, sslcore
from sslcore.objectives import word_objective
from sslcore.tokenization.encoding import EncodedCorpus
from sslcore.training.probing import Probing, best, probes
word_objective.STRETCH, word_objective.STRETCHES = 256, 8
generator = np.random.default_rng(0)
lists = [[f"{'abc'[i % 3]}{j}" for j in generator.integers(0, 30, 12)] for i in range(600)]
corpus = EncodedCorpus.from_token_lists(lists)
corpus.labels, corpus.label_names = (np.arange(600) % 3).astype(np.int32), ("a", "b", "c")
said = []
for objective in (
    sslcore.SkipGram(dimensions=8, epochs=10, subsampling=0),
    sslcore.DenoisingAutoencoder(dimensions=8, epochs=20, learning_rate=1e-3),
):
    points = []
    encoder = sslcore.pretrain(
        objective, corpus, seed=0, workers=1, probe=Probing(every=0.1, patience=2),
        on_metrics=lambda s, m: points.append((s, m)),
    )
    weights = next(encoder.network.parameters()).detach().numpy()
    found = [p.model_dump() for p in probes(points)]
    said.append({"digest": hashlib.sha256(weights.tobytes()).hexdigest(), "probes": found, "end": points[-1][0]})
with open(f"{sys.argv[1]}-{os.environ.get('RANK', 0)}.json", "w") as file:
    json.dump(said, file)
"""


def test_two_processes_choose_and_end_alike(tmp_path: Path) -> None:
    (tmp_path / "together.py").write_text(TOGETHER)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for start in ([*torchrun, "together.py", "two"], [sys.executable, "together.py", "one"]):
        done = subprocess.run(start, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    one, two, other = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one-0", "two-0", "two-1"))
    assert two == other
    for said in (*one, *two):
        found = [Probed(**probed) for probed in said["probes"]]
        assert best(found).score > 0.5
        assert found[-1].step == said["end"]
    # Gradients are averaged: one process would have measured the same, and ended at the same step.
    assert two[1]["end"] == one[1]["end"]
    assert [p["score"] for p in two[1]["probes"]] == pytest.approx([p["score"] for p in one[1]["probes"]], abs=0.02)
