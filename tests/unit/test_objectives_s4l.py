"""S4L: cross-entropy where there is a label, the pretext task everywhere, and nothing of another split.

Two processes are in test_objectives_combined.py.
"""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sslcore
from sslcore.corpus.shards import Corpus
from sslcore.errors import UserError
from sslcore.models.encoder import Encoder
from sslcore.objectives._combined import WeightedSum
from sslcore.objectives.registry import parse_objective
from sslcore.objectives.s4l import S4L, LabelledBatch
from sslcore.randomness import derive_seed, torch_generator
from sslcore.tokenization import encode_corpus, fit_tokenizer
from sslcore.tokenization.encoding import NO_LABEL, EncodedCorpus
from sslcore.tokenization.words import Words
from sslcore.training.learner import Metrics

TINY: dict[str, Any] = {
    "size": "tiny", "dimensions": 16, "layers": 1, "maximum_tokens": 32, "batch_tokens": 512, "dropout": 0,
}  # fmt: skip
NAMES = ("land", "sea", "sky")


@pytest.fixture(scope="module")
def corpus() -> EncodedCorpus:
    """120 documents of 6 to 63 tokens; of each six, three have a label. One has no known word, one none at all."""
    lists = [[f"w{j}" for j in np.random.default_rng(i).integers(0, 50, 6 + 3 * (i % 20))] for i in range(120)]
    lists[1], lists[2] = ["once", "only"], []
    made = EncodedCorpus.from_token_lists(lists, minimum_count=2)
    return labelled(made, np.arange(120) % 6 - 3)


def labelled(corpus: EncodedCorpus, labels: np.ndarray, names: tuple[str, ...] = NAMES) -> EncodedCorpus:
    """The same with these labels; below 0 is none."""
    arrays = corpus.ids, corpus.sentence_offsets, corpus.document_offsets
    return EncodedCorpus(*arrays, corpus.tokenizer, labels.clip(NO_LABEL).astype(np.int32), names)


def loss_of(objective: S4L, corpus: EncodedCorpus) -> Any:
    encoder = Encoder(corpus.tokenizer, objective.network(corpus.tokenizer, torch_generator(0)), {}, 0)
    encoder.label_names = corpus.label_names
    loss = objective.loss(encoder, torch_generator(1))
    assert isinstance(loss, WeightedSum)
    return loss


def test_the_loss_is_the_papers(corpus: EncodedCorpus) -> None:
    """−log softmax(W v + b) at the label, v the vector that `encode` gives, and w times the pretext's own loss."""
    objective = S4L(**TINY, pretext={"kind": "masked_lm", "weight": 0.3}, labelled_batch_size=6)
    loss, batch = loss_of(objective, corpus), objective.batches(corpus, 5)[0]
    supervised, pretext = batch.members
    said = loss(batch)
    classifier: Any = loss.losses["supervised"]
    weight, bias = (p.detach().numpy() for p in (classifier.head.weight, classifier.head.bias))
    assert weight.shape == (3, 16)
    encoder = Encoder(corpus.tokenizer, classifier.encoder, {}, 0)
    total, right = 0.0, 0
    for (start, end), label in zip(pairwise(supervised.offsets), supervised.labels, strict=True):
        ids = supervised.ids[start + 1 : end - 1]
        scores = weight @ encoder.encode_ids(ids, np.array([0, len(ids)]))[0] + bias
        total -= scores[label] - np.log(np.exp(scores).sum())
        right += scores.argmax() == label
    assert len(supervised.labels) == 6
    assert said["supervised.loss"].item() == pytest.approx(total / 6, rel=1e-5)
    assert said["supervised.accuracy"].item() == pytest.approx(right / 6)
    masked = sslcore.MaskedLM(**TINY).batches(corpus, derive_seed(5, "masked_lm"))[0]
    assert np.array_equal(pretext.ids, masked.ids)
    own = loss.losses["masked_lm"](masked)["loss"].item()
    assert said["masked_lm.loss"].item() == pytest.approx(own, rel=1e-6)
    assert said["loss"].item() == pytest.approx(total / 6 + 0.3 * own, rel=1e-5)


def test_the_gradient_is_that_of_both(corpus: EncodedCorpus) -> None:
    objective = S4L(**TINY, pretext={"kind": "sentence_order", "weight": 0.3})
    loss, batch = loss_of(objective, corpus), objective.batches(corpus, 5)[0]

    def gradient(*terms: tuple[float, str, int]) -> torch.Tensor:
        loss.zero_grad()
        sum(w * loss.losses[name](batch.members[place])["loss"] for w, name, place in terms).backward()
        return torch.cat([p.grad.flatten() for p in loss.losses["supervised"].encoder.parameters()])

    expected = gradient((1.0, "supervised", 0)) + 0.3 * gradient((1.0, "sentence_order", 1))
    loss.zero_grad()
    loss(batch)["loss"].backward()
    ours = torch.cat([p.grad.flatten() for p in loss.losses["supervised"].encoder.parameters()])
    torch.testing.assert_close(ours, expected)


def test_labels_are_those_of_their_texts_and_the_pretext_task_has_every_text(corpus: EncodedCorpus) -> None:
    objective = S4L(**TINY, epochs=3, labelled_batch_size=10)
    batches = objective.batches(corpus, 5)
    made = [batches[step] for step in range(len(batches))]
    assert sum(batch.tokens for batch in made) == 3 * corpus.tokens
    beginnings = {
        tuple(corpus.ids[start : min(end, start + 30)]): label
        for (start, end), label in zip(pairwise(corpus.document_offsets), corpus.labels, strict=True)
    }
    seen: list[tuple[int, ...]] = []
    for batch in made:
        supervised = batch.members[0]
        assert isinstance(supervised, LabelledBatch)
        for (start, end), label in zip(pairwise(supervised.offsets), supervised.labels, strict=True):
            text = supervised.ids[start:end]
            assert (text[0], text[-1]) == (corpus.tokenizer.classification_id, corpus.tokenizer.separator_id)
            seen.append(tuple(text[1:-1]))
            assert beginnings[seen[-1]] == label != NO_LABEL
    assert len(set(seen)) == 60  # documents 1 and 2 have no label that counts, nor a word to learn it from
    assert len(seen) > 3 * 60  # and come round again
    first = np.concatenate([np.where(b.targets < 0, b.ids, b.targets) for b in (m.members[1] for m in made[:9])])
    every = corpus.ids[corpus.ids >= corpus.tokenizer.first_word_id]
    assert sorted(first[first >= corpus.tokenizer.first_word_id]) == sorted(every)


def test_texts_without_a_known_word_teach_no_label(corpus: EncodedCorpus) -> None:
    everywhere = labelled(corpus, np.arange(120) % 3)
    objective = S4L(**TINY, labelled_batch_size=1000)
    supervised = objective.batches(everywhere, 5)[0].members[0]
    assert supervised.weight == 118
    known = supervised.ids >= corpus.tokenizer.first_word_id
    assert np.logical_or.reduceat(known, supervised.offsets[:-1]).all()


def test_parts_and_shares_together_are_the_batch(corpus: EncodedCorpus) -> None:
    objective = S4L(**TINY, labelled_batch_size=7)
    loss, batch = loss_of(objective, corpus), objective.batches(corpus, 5)[0]
    whole = loss(batch)
    for parts in (batch.split(3), [batch.share(rank, 2) for rank in range(2)], batch.share(0, 1).split(40)):
        said = [loss(part) for part in parts]
        for name, value in whole.items():
            assert sum(part[name].item() for part in said if name in part) == pytest.approx(value.item(), rel=1e-5)


def test_a_process_without_a_labelled_text_takes_part_with_a_gradient_of_zero(corpus: EncodedCorpus) -> None:
    loss = loss_of(S4L(**TINY), corpus)
    classifier: Any = loss.losses["supervised"]
    none = S4L(**TINY, labelled_batch_size=1).batches(corpus, 5)[0].members[0].share(1, 2)
    said = classifier(none)
    said["loss"].backward()
    assert said["loss"].item() == 0
    assert all(p.grad is not None and not p.grad.any() for p in classifier.parameters())


@pytest.mark.parametrize("pretext", ["masked_lm", "byol"])
def test_it_learns_the_labels_and_the_pretext_task_beside_them(pretext: str) -> None:
    """What a text is of shows in the order of its words alone: 40 labels, and 200 other texts to tell by them."""
    generator = np.random.default_rng(0)
    lists = [[f"{'ab'[(d + i // 8) % 2]}{j}" for i, j in enumerate(generator.integers(0, 4, 16))] for d in range(440)]
    labels = np.where(np.arange(440) < 240, np.arange(440) % 2, NO_LABEL)
    corpus = labelled(EncodedCorpus.from_token_lists(lists), labels, ("a first", "b first"))
    said: list[Metrics] = []
    objective = S4L(
        **{**TINY, "dropout": 0.1, "dimensions": 32, "batch_tokens": 1024}, pretext={"kind": pretext}, epochs=15
    )
    encoder = sslcore.pretrain(objective, corpus, seed=0, workers=1, on_metrics=lambda step, m: said.append(m))
    assert said[0]["supervised.accuracy"] < 0.8
    assert np.mean([m["supervised.accuracy"] for m in said[-5:]]) > 0.95
    assert said[-1][f"{pretext}.loss"] < said[0][f"{pretext}.loss"]
    vectors = encoder.encode([" ".join(words) for words in lists])
    centres = np.stack([vectors[:240][labels[:240] == label].mean(axis=0) for label in (0, 1)])
    nearest = np.linalg.norm(vectors[240:, None] - centres, axis=2).argmin(axis=1)
    assert np.mean(nearest == np.arange(240, 440) % 2) > 0.9  # texts whose labels it never saw


def test_only_labels_of_the_training_split_are_there(corpus_of: Callable[..., Corpus], tmp_path: Path) -> None:
    texts = [f"{word} and more of it" for word in ("wheat", "cargo", "cloud") * 8]
    read = corpus_of(train=(texts, ["land", None, "sky"] * 8), test=(["storm", "harbour"] * 4, ["sky", "sea"] * 4))
    encode_corpus(read, fit_tokenizer(Words(minimum_count=1), read.texts("train")), tmp_path)
    encoded = EncodedCorpus.open(tmp_path)
    assert encoded.label_names == ("land", "sky")
    assert set(encoded.labels.tolist()) == {NO_LABEL, 0, 1}
    said: list[Metrics] = []
    sslcore.pretrain(S4L(**TINY, epochs=1), encoded, seed=0, on_metrics=lambda step, m: said.append(m))
    assert "supervised.accuracy" in said[-1]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.full(120, NO_LABEL), "this corpus has none: name the label's column .* or choose masked_lm"),
        (np.where(np.arange(120) < 3, 1, NO_LABEL), "all 1 of this corpus have 'sea'"),  # two of the three say nothing
        (np.where(np.arange(120) % 2, 2, NO_LABEL), "all 59 of this corpus have 'sky'"),
    ],
)
def test_too_few_labels_are_refused(labels: np.ndarray, said: str, corpus: EncodedCorpus) -> None:
    with pytest.raises(UserError, match=f"s4l needs texts with a label.*{said}"):
        sslcore.pretrain(S4L(**TINY), labelled(corpus, labels), seed=0)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"pretext": {"kind": "causal_lm"}}, "pretext: .*no token of its model sees those after it"),
        ({"pretext": {"kind": "masked_lm", "epochs": 3}}, "epochs is of the one encoder.* beside masked_lm"),
        ({"pretext": {"kind": "s4l"}}, "'s4l' .*expected tags: 'masked_lm'"),
        ({"pretext": {"kind": "masked_lm", "weight": -1}}, "pretext.masked_lm.weight"),
        ({"pretext": {"kind": "sim_cse"}, "dropout": 0}, "sim_cse: dropout: Input should be greater than 0"),
        ({"labelled_batch_size": 0}, "labelled_batch_size"),
    ],
)
def test_what_does_not_fit_together_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_objective({"kind": "s4l", **fields})
