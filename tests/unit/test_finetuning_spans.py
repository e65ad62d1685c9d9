"""Answers in passages: windows, the loss and the scores against their definitions, and a task that is learnt."""

import re
import string
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from sslcore.errors import UserError
from sslcore.finetuning import FineTuning, fine_tune
from sslcore.finetuning.answers import answer_scores, language_of, longest_common_run
from sslcore.finetuning.model import FineTunedModel
from sslcore.finetuning.outputs import outputs_of
from sslcore.finetuning.passages import NO_ANSWER, UNPLACED, AskedPassages, span_of
from sslcore.finetuning.shapes.spans import SpanExtraction, span_loss
from sslcore.finetuning.windows import Windows, best_spans, windows_of
from sslcore.models.encoder import Encoder
from sslcore.models.ragged import Sequences
from sslcore.objectives.masked_lm import MaskedLM
from sslcore.objectives.registry import AnyObjective
from sslcore.objectives.skip_gram import SkipGram
from sslcore.tokenization.tokenizer import fit_tokenizer
from sslcore.tokenization.word_piece import WordPiece
from tests.checkpoints import made_checkpoint

SPAN = SpanExtraction()
TINY = MaskedLM(size="tiny", maximum_tokens=64, batch_tokens=128)
ANSWERS = pa.list_(pa.struct([("text", pa.string()), ("start", pa.int32())]))


def table(rows: list[tuple[str, str, list[tuple[str, int]]]]) -> pa.Table:
    return pa.table(
        {
            "question": [question for question, _, _ in rows],
            "passage": [passage for _, passage, _ in rows],
            "answers": pa.array([[{"text": t, "start": s} for t, s in found] for _, _, found in rows], ANSWERS),
        }
    )


def asked(rows: int, seed: int, *, unanswerable: bool = False) -> pa.Table:
    """Who came is what stands behind "Mr", among other names and words; with `unanswerable` rows the only name."""
    generator = np.random.default_rng(seed)
    names = [f"{first} {last}" for first in ("Ann", "Bob", "Cid", "Dora") for last in ("Hill", "Lake", "Wood")]
    made = []
    for _ in range(rows):
        who, *others = map(str, generator.choice(names, 4, replace=False))
        known = not (unanswerable and generator.random() < 0.4)
        parts = [f"Mr {who}" if known else "nobody", *generator.choice(["then", "there", "often"], 5)]
        parts += [] if unanswerable else others
        passage = " ".join(generator.permutation(parts))
        made.append(("who came", passage, [(who, passage.index("Mr") + 3)] if known else []))
    return table(made)


def encoder_of(rows: pa.Table, objective: AnyObjective = TINY) -> Encoder:
    tokenizer = fit_tokenizer(
        WordPiece(vocabulary_size=512), rows["passage"].to_pylist() + rows["question"].to_pylist()
    )
    network = objective.network(tokenizer, torch.Generator().manual_seed(0))
    return Encoder(tokenizer, network, objective.model_dump(mode="json"), 0)


def examples_of(shape: SpanExtraction, rows: pa.Table, encoder: Encoder, most: int = 64) -> AskedPassages:
    return shape.examples(rows, encoder, (), maximum_tokens=most)


# -- scores ------------------------------------------------------------------------------------------------------------


def normalize_answer(s: str) -> str:
    def remove_articles(text: str) -> str:
        return re.sub(r"\b(a|an|the)\b", " ", text)

    def white_space_fix(text: str) -> str:
        return " ".join(text.split())

    def remove_punc(text: str) -> str:
        exclude = set(string.punctuation)
        return "".join(ch for ch in text if ch not in exclude)

    return white_space_fix(remove_articles(remove_punc(s.lower())))


def official_v1(prediction: str, golds: list[str]) -> tuple[float, float]:
    """evaluate-v1.1.py: metric_max_over_ground_truths of exact_match_score and f1_score."""

    def f1(ground_truth: str) -> float:
        prediction_tokens = normalize_answer(prediction).split()
        ground_truth_tokens = normalize_answer(ground_truth).split()
        num_same = sum((Counter(prediction_tokens) & Counter(ground_truth_tokens)).values())
        if num_same == 0:
            return 0
        precision, recall = num_same / len(prediction_tokens), num_same / len(ground_truth_tokens)
        return (2 * precision * recall) / (precision + recall)

    return max(normalize_answer(prediction) == normalize_answer(g) for g in golds), max(map(f1, golds))


def official_v2(prediction: str, golds: list[str]) -> tuple[float, float]:
    """evaluate-v2.0.py: compute_exact and compute_f1 over the gold answers that are something."""
    golds = [g for g in golds if normalize_answer(g)] or [""]

    def f1(gold: str) -> float:
        gold_toks, pred_toks = normalize_answer(gold).split(), normalize_answer(prediction).split()
        num_same = sum((Counter(gold_toks) & Counter(pred_toks)).values())
        if len(gold_toks) == 0 or len(pred_toks) == 0:
            return int(gold_toks == pred_toks)
        if num_same == 0:
            return 0
        precision, recall = num_same / len(pred_toks), num_same / len(gold_toks)
        return (2 * precision * recall) / (precision + recall)

    return max(normalize_answer(g) == normalize_answer(prediction) for g in golds), max(map(f1, golds))


SPECIAL = [
    "-", ":", "_", "*", "^", "/", "\\", "~", "`", "+", "=", "，", "。", "：", "？", "！", "“", "”", "；", "’", "《",
    "》", "……", "·", "、", "「", "」", "（", "）", "－", "～", "『", "』",
]  # fmt: skip


def official_cmrc(prediction: str, golds: list[str]) -> tuple[float, float]:
    """cmrc2018_evaluate.py, whose nltk.word_tokenize splits words of letters and digits as str.split does."""

    def segments(text: str) -> list[str]:
        segs_out: list[str] = []
        temp_str = ""
        for char in text.lower().strip():
            if char in SPECIAL:
                continue
            if re.search("[\u4e00-\u9fa5]", char):
                if temp_str != "":
                    segs_out.extend(temp_str.split())
                    temp_str = ""
                segs_out.append(char)
            else:
                temp_str += char
        return segs_out + temp_str.split()

    def find_lcs(s1: list[str], s2: list[str]) -> int:
        m = [[0 for _ in range(len(s2) + 1)] for _ in range(len(s1) + 1)]
        mmax = 0
        for i in range(len(s1)):
            for j in range(len(s2)):
                if s1[i] == s2[j]:
                    m[i + 1][j + 1] = m[i][j] + 1
                    mmax = max(mmax, m[i + 1][j + 1])
        return mmax

    f1_scores = []
    for answer in golds:
        ans, pred = segments(answer), segments(prediction)
        lcs = find_lcs(ans, pred)
        if lcs == 0:
            f1_scores.append(0.0)
            continue
        precision, recall = lcs / len(pred), lcs / len(ans)
        f1_scores.append((2 * precision * recall) / (precision + recall))

    def remove_punctuation(text: str) -> str:
        return "".join(char for char in text.lower().strip() if char not in SPECIAL)

    return any(remove_punctuation(g) == remove_punctuation(prediction) for g in golds), max(f1_scores)


def test_english_scores_are_the_official_scripts() -> None:
    generator = np.random.default_rng(0)
    words = ["The", "a", "An", "Broncos", "broncos,", "24–10", "24-10", "U.S.", "us", "of", "theatre", "...", "  ", "é"]
    for _ in range(2000):
        said, *golds = (" ".join(generator.choice(words, generator.integers(0, 5))) for _ in range(4))
        golds = [gold for gold in golds if gold] or ["us"]
        assert answer_scores(said, golds, "english", unanswerable=False) == pytest.approx(
            np.array(official_v1(said, golds), float)
        )
        assert answer_scores(said, golds, "english", unanswerable=True) == pytest.approx(
            np.array(official_v2(said, golds), float)
        )
        assert answer_scores(said, [], "english", unanswerable=True) == pytest.approx(
            np.array(official_v2(said, []), float)
        )


def test_chinese_scores_are_cmrcs() -> None:
    generator = np.random.default_rng(0)
    units = [*"光荣和，。战国无双《》·-", "2010", " ", "ABC", "koei ", "……", "公司"]
    for _ in range(2000):
        said, *golds = ("".join(generator.choice(units, generator.integers(1, 9))) for _ in range(3))
        expected = np.array(official_cmrc(said, golds), float)
        np.testing.assert_allclose(
            answer_scores(said, golds, "chinese", unanswerable=False), expected, err_msg=f"{said} {golds}"
        )
    assert longest_common_run("战国无双三", "在战国无双里") == 4
    assert language_of(["战国无双3是由光荣和ω-force开发的"]) == "chinese"
    assert language_of(["Koei (光荣) is the developer of the game."]) == "english"


# -- windows -----------------------------------------------------------------------------------------------------------


def test_windows_cover_the_passage_and_hold_every_answer_whole() -> None:
    for length in (0, 1, 9, 10, 11, 57):
        for room, stride, answer in ((10, 3, 4), (10, 50, 4), (3, 2, 8), (10, 10, 1)):
            windows = windows_of(np.array([length]), np.array([room]), stride=stride, answer=answer)
            assert windows.begins[0] == 0
            assert windows.ends[-1] == length
            assert (windows.ends - windows.begins <= room).all()
            assert (np.diff(windows.begins) <= stride).all()
            assert (windows.ends[:-1] < length).all()  # none more than needed
            for first in range(length - min(answer, room) + 1 if answer < room else 0):
                assert ((windows.begins <= first) & (windows.ends >= first + answer)).any()


def test_the_best_span_is_that_of_a_search_through_all() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        lengths = generator.integers(0, 20, 5)
        windows = windows_of(lengths, np.full(5, 6), stride=3, answer=3)
        scores = generator.normal(size=(windows.offsets[-1], 2)).astype(np.float32)
        found = best_spans(scores, windows, 5, longest=4)
        for row in range(5):
            best, null = (-np.inf, -1, -1), np.inf
            for window in np.flatnonzero(windows.rows == row):
                start_scores, end_scores = scores[windows.offsets[window] : windows.offsets[window + 1]].T
                null = min(null, start_scores[0] + end_scores[0])
                for i in range(1, len(start_scores)):
                    for j in range(i, min(i + 4, len(start_scores))):
                        shift = windows.begins[window] - 1
                        best = max(best, (float(start_scores[i] + end_scores[j]), i + shift, j + shift))
            assert found.score[row] == pytest.approx(best[0], rel=1e-5)
            assert (found.first[row], found.last[row]) == best[1:] if lengths[row] else found.first[row] == -1
            assert found.null_score[row] == pytest.approx(null, rel=1e-5)


def test_the_loss_and_its_gradient_are_those_of_the_definition() -> None:
    generator = np.random.default_rng(0)
    windows = Windows(np.array([0, 0, 1, 2]), np.array([0, 3, 0, 0]), np.array([5, 7, 4, 6]))
    first, last = np.array([4, NO_ANSWER, UNPLACED]), np.array([5, NO_ANSWER, UNPLACED])
    starts, stops = windows.targets(first, last, UNPLACED)
    assert starts.tolist() == [0, 2, 0, UNPLACED]  # 4:6 is not wholly in 0:5; in 3:7 it is the second token
    assert stops.tolist() == [0, 3, 0, UNPLACED]
    scores = generator.normal(size=(windows.offsets[-1], 2))
    expected, gradient = 0.0, np.zeros_like(scores)
    for side, targets in enumerate((starts, stops)):
        for window in range(3):
            part = slice(windows.offsets[window], windows.offsets[window + 1])
            p = np.exp(scores[part, side]) / np.exp(scores[part, side]).sum()
            expected -= np.log(p[targets[window]]) / 6
            gradient[part, side] = (p - (np.arange(len(p)) == targets[window])) / 6
    tensor = torch.tensor(scores, requires_grad=True)
    loss = span_loss(tensor, windows.offsets, starts, stops)
    loss.backward()
    assert loss.item() == pytest.approx(expected)
    np.testing.assert_allclose(tensor.grad, gradient, atol=1e-12)
    assert span_loss(tensor, windows.offsets, np.full(4, UNPLACED), np.full(4, UNPLACED)).item() == 0


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_scores_are_of_the_states_in_framed_windows(kind: str, tmp_path: Path) -> None:
    encoder = Encoder.from_huggingface(made_checkpoint(kind, tmp_path))
    passage = "The small ship was seen near the river on the way home. The minister was seen near the harbour."
    rows = table([("Who was seen?", passage, [("The minister", 56)]), ("Where?", "near the river", [("river", 9)])])
    shape = SpanExtraction(stride=5, maximum_answer_tokens=4)
    examples = examples_of(shape, rows, encoder, most=24)
    assert (np.bincount(examples.windows.rows) > [1, 0]).all()
    network = shape.network(encoder, ()).eval()
    with torch.no_grad():
        found = network.states(examples)
    first, last = encoder.network.frame
    between = [last] * (2 if kind == "roberta" else 1)
    expected = []
    for row, begin, end in zip(*examples.windows, strict=True):
        question = encoder.tokenizer.encode(rows["question"][row].as_py()).tolist()
        piece = encoder.tokenizer.encode(rows["passage"][row].as_py())[begin:end].tolist()
        ids = [first, *question, *between, *piece, last]
        assert len(ids) <= 24
        kinds = torch.tensor([0] * (1 + len(question) + 1) + [1] * (len(piece) + 1)) if kind == "bert" else None
        with torch.no_grad():
            states = encoder.network.states(Sequences(torch.tensor(ids), np.array([0, len(ids)]), kinds))
        skipped = 1 + len(question) + len(between)
        expected += [states[:1], states[skipped : skipped + len(piece)]]
    torch.testing.assert_close(found, torch.cat(expected), atol=1e-5, rtol=1e-4)
    taken = np.array([1, 0])
    with torch.no_grad():
        swapped = network.states(examples.take(taken))
    own = examples.windows.offsets[np.searchsorted(examples.windows.rows, 1)]
    torch.testing.assert_close(swapped, torch.cat([found[own:], found[:own]]), atol=1e-5, rtol=1e-4)


# -- tokens and characters ---------------------------------------------------------------------------------------------


def test_answers_come_back_as_they_stand_in_the_passage(tmp_path: Path) -> None:
    encoder = Encoder.from_huggingface(made_checkpoint("bert", tmp_path))
    passages = ["The small  ship, (the grey river) was here.", "Café au lait, cafe\u0301 home", "a b"]
    wanted = ["the grey river", "cafe\u0301 home", "b"]
    rows = table([("Who?", p, [(a, p.index(a))]) for p, a in zip(passages, wanted, strict=True)])
    examples = examples_of(SPAN, rows, encoder)
    scores = np.full((examples.windows.offsets[-1], 2), -1.0, np.float32)
    starts, stops = examples.targets()
    scores[examples.windows.offsets[:-1] + starts, 0] = 5
    scores[examples.windows.offsets[:-1] + stops, 1] = 5
    said = SPAN.predictions(scores, examples, ())
    assert said["answer"] == ["the grey river", "café home", "b"]
    assert said["start"] == [18, 14, 2]
    assert said["margin"] == [12, 12, 12]
    assert SPAN.metrics(scores, examples, ())["exact_match"] == pytest.approx(2 / 3)  # the true one is not composed


def test_an_answer_within_a_token_is_that_token_and_one_that_is_nowhere_teaches_nothing() -> None:
    ends = np.array([2, 8, 9])  # in|1990s|.
    assert span_of([{"text": "1990", "start": 3}], "in 1990s.", ends) == (1, 1)
    assert span_of([{"text": "in 1990", "start": 0}], "in 1990s.", ends) == (0, 1)
    assert span_of([{"text": "1990s", "start": 3}], "in 1990s.", ends) == (1, 1)
    assert span_of([{"text": "1990s.", "start": 3}], "in 1990s.", ends) == (1, 2)
    assert span_of([{"text": "in", "start": 0}], "in 1990s.", ends) == (0, 0)
    assert span_of([{"text": "x", "start": -1}], "in 1990s.", ends) == (UNPLACED, UNPLACED)
    assert span_of([{"text": "x", "start": -1}, {"text": "in", "start": 0}], "in 1990s.", ends) == (0, 0)
    assert span_of([], "in 1990s.", ends) == (NO_ANSWER, NO_ANSWER)
    assert span_of(None, "in 1990s.", ends) == (UNPLACED, UNPLACED)


# -- learning ----------------------------------------------------------------------------------------------------------


def trained(shape: SpanExtraction, rows: pa.Table, steps: int, most: int) -> FineTunedModel:
    encoder = encoder_of(rows)
    examples = examples_of(shape, rows, encoder, most)
    config = FineTuning(
        epochs=1, minimum_steps=steps, batch_size=32, learning_rate=2e-3, maximum_tokens=most, dropout=0.0, patience=12
    )
    return fine_tune(shape, encoder, examples, examples.take(np.arange(40)), config, labels=(), seed=0)


def test_answers_are_learnt_over_windows(tmp_path: Path) -> None:
    """Windows of 14 tokens hold about two thirds of a passage."""
    shape = SpanExtraction(stride=4, maximum_answer_tokens=2)
    model = trained(shape, asked(150, seed=0), 100, 14)
    test = asked(60, seed=1)
    model.save(tmp_path)
    said = FineTunedModel.load(tmp_path).answers(test.drop(["answers"])).to_pylist()
    true = [answers[0] for answers in test["answers"].to_pylist()]
    right = np.mean([answer["answer"] == one["text"] for answer, one in zip(said, true, strict=True)])
    assert right > 0.9
    at = [answer["start"] == one["start"] for answer, one in zip(said, true, strict=True)]
    assert np.mean(at) == right
    assert model.training.validation["exact_match"] > 0.9


def test_no_answer_is_learnt_and_the_threshold_moves_it() -> None:
    shape = SpanExtraction(null_threshold=0.0, maximum_answer_tokens=2)
    model = trained(shape, asked(150, seed=0, unanswerable=True), 100, 64)
    test = asked(80, seed=1, unanswerable=True)
    examples = examples_of(shape, test, model.encoder)
    outputs = outputs_of(model.network, examples)
    metrics = shape.metrics(outputs, examples, ())
    assert metrics["f1"] > 0.85
    assert metrics["right_without_answer"] > 0.8
    assert metrics["f1_with_answer"] > 0.8
    without = sum(not answers for answers in test["answers"].to_pylist())
    assert metrics["f1"] == pytest.approx(
        (metrics["right_without_answer"] * without + metrics["f1_with_answer"] * (80 - without)) / 80
    )
    never = shape.model_copy(update={"null_threshold": 1e9}).predictions(outputs, examples, ())
    assert all(never["answer"])
    always = shape.model_copy(update={"null_threshold": -1e9}).predictions(outputs, examples, ())
    assert not any(always["answer"])
    assert set(always["start"]) == {None}


def test_a_frozen_encoder_gives_windows_what_it_gives_them_alone() -> None:
    rows = asked(20, seed=0)
    encoder = encoder_of(rows)
    examples = examples_of(SPAN, rows, encoder, 24)
    config = FineTuning(freezing="encoder", epochs=1, minimum_steps=10, maximum_tokens=24)
    model = fine_tune(SPAN, encoder, examples, examples, config, labels=(), seed=0)
    metrics = SPAN.metrics(outputs_of(model.network, examples), examples, ())
    assert metrics["loss"] == pytest.approx(model.training.validation["loss"], rel=1e-4)
    for name, tensor in encoder.network.state_dict().items():
        assert torch.equal(model.network.encoder.state_dict()[name], tensor), name


# -- mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("Who?", "Ann came.", [("Ann", 0)]), ("Who?", "Ann came.", [("Ann", 4)])],
         r"row 2 of 2 .*row 2: at 4 there is 'cam', the answer is 'Ann'"),
        ([("Who?", "Ann came.", [("Bob", 0)])] * 8, r"does not stand .* in rows 1, 2, 3, 4, 5 and 3 more of 8"),
        ([("", "Ann came.", [("Ann", 0)])], "no question in row 1 of 1"),
        ([("Who?", "  ", [])], "no passage in row 1 of 1"),
        ([], "no questions to train on"),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_are_named(rows: list[Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SPAN.labels_of(table(rows))


def test_what_cannot_be_learnt_is_said_before_the_run() -> None:
    rows = asked(20, seed=0, unanswerable=True)
    encoder = encoder_of(rows)
    with pytest.raises(UserError, match=r"of 20 questions have no answer .*null_threshold"):
        SPAN.check(examples_of(SPAN, rows, encoder), ())
    nowhere = table([("Who?", "Ann came.", [("Bob", -1)])])
    with pytest.raises(UserError, match="none of the 1 questions"):
        SPAN.check(examples_of(SPAN, nowhere, encoder), ())
    with pytest.raises(UserError, match="windows of 4 tokens leave no room beside the question"):
        examples_of(SPAN, rows, encoder, most=4)
    for objective in (SkipGram(dimensions=8),):
        with pytest.raises(UserError, match=r"kind 'skip_gram' reads no tokens together.*take a transformer"):
            examples_of(SPAN, rows, encoder_of(rows, objective))
