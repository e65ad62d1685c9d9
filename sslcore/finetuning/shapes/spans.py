"""Question + passage → the span of the passage that answers, or nothing (Devlin et al. 2019, §4.2 and §4.3).

A transformer reads [CLS] question [SEP] passage [SEP]; two vectors score each of its passage's tokens as the first and
the last of the answer. A long passage is read in windows that overlap. In training a window that does not hold the
whole answer answers with its first token; so does, when some questions have no answer, the row whose first token
scores higher than every span by a threshold.

n rows, V windows, T places of all windows (windows.py), D dimensions.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from unicodedata import normalize

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from sslcore.errors import UserError
from sslcore.finetuning.answers import AnswerLanguage, answer_scores, language_of
from sslcore.finetuning.encoded import EncodedTexts
from sslcore.finetuning.mistakes import numbered
from sslcore.finetuning.passages import (
    NO_ANSWER,
    UNPLACED,
    AskedPassages,
    check_rows,
    encoded_passages,
    objects,
    span_of,
)
from sslcore.finetuning.shapes.token_states import TokenNetwork
from sslcore.finetuning.windows import Spans, best_spans
from sslcore.models.transformer import TransformerEncoder

if TYPE_CHECKING:
    import pyarrow as pa

    from sslcore.models.encoder import Encoder


class SpanNetwork(TokenNetwork):
    """Scores [T, 2] of places as an answer's first and last token."""

    reads = "window"

    def __init__(self, encoder: nn.Module, dimensions: int) -> None:
        super().__init__(encoder, dimensions, 2)

    def states(self, examples: AskedPassages) -> torch.Tensor:
        """[T, D]"""
        encoder: Any = self.encoder
        windows, device = examples.windows, self.feature_mean.device
        questions, passages = examples.questions.take(windows.rows), examples.passages
        sizes = windows.ends - windows.begins
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        begins = passages.offsets[windows.rows] + windows.begins
        taken = np.arange(bounds[-1]) + np.repeat(begins - bounds[:-1], sizes)
        sequences = encoder.framed_pairs((questions.ids, questions.offsets), (passages.ids[taken], bounds), device)
        offsets = windows.offsets
        place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], sizes + 1)
        before = np.repeat(questions.lengths + encoder.separators, sizes + 1)
        places = np.repeat(sequences.offsets[:-1], sizes + 1) + np.where(place > 0, before + place, 0)
        return encoder.states(sequences)[torch.from_numpy(places).to(device)].float()

    def loss(self, scores_T2: torch.Tensor, examples: AskedPassages) -> torch.Tensor:
        return span_loss(scores_T2, examples.windows.offsets, *examples.targets())

    def named(self, outputs: torch.Tensor) -> dict[str, torch.Tensor]:
        starts, ends = outputs.unbind(dim=-1)
        return {"start_scores": starts, "end_scores": ends}


class SpanExtraction(BaseModel):
    """A question's answer is a span of a passage."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Question + passage → span")

    kind: Literal["span"] = "span"
    stride: int = Field(
        128, ge=1, description="Tokens from one window of a long passage to the next; maximum_tokens is its length."
    )
    maximum_question_tokens: int = Field(64, ge=1, description="Tokens of a question that are read.")
    maximum_answer_tokens: int = Field(30, ge=1, description="Tokens of the longest answer that is given.")
    null_threshold: float | None = Field(
        None,
        description="By how much no answer must score above the best span to be the answer, 0 as a start; left out: "
        "every question has one.",
    )
    language: Literal["automatic", "english", "chinese"] = Field(
        "automatic", description="How answers are compared: as SQuAD's script does, or CMRC's."
    )

    columns: ClassVar[tuple[str, ...]] = ("question", "passage")
    target: ClassVar[str] = "answers"
    chosen_by: ClassVar[tuple[str, ...]] = ("f1", "-loss")

    def labels_of(self, rows: "pa.Table") -> tuple[str, ...]:
        """None: spans are no labels."""
        check_rows(rows)
        return ()

    def examples(
        self, rows: "pa.Table", encoder: "Encoder", labels: Sequence[str], *, maximum_tokens: int
    ) -> AskedPassages:
        """Raises UserError for an encoder that reads no tokens, windows without room, and as `check_rows` does."""
        network = reader_of(encoder)
        known = "answers" in rows.column_names
        if known:
            check_rows(rows)
        most = np.full(len(rows), self.maximum_question_tokens)
        asked = [question or "" for question in rows["question"].to_pylist()]
        questions = EncodedTexts(*encoder.tokenizer.encode_batch(asked)).take(np.arange(len(rows)), maximum_tokens=most)
        written = [passage or "" for passage in rows["passage"].to_pylist()]
        answers: list[Any] = rows["answers"].to_pylist() if known else [None] * len(rows)
        passages, ends = encoded_passages(written, encoder)
        spans = [
            span_of(answer, text, ends[a:b])
            for answer, text, a, b in zip(answers, written, passages.offsets[:-1], passages.offsets[1:], strict=True)
        ]
        examples = AskedPassages(
            questions,
            passages,
            ends,
            first=np.array([first for first, _ in spans], np.int64),
            last=np.array([last for _, last in spans], np.int64),
            written=objects([normalize("NFC", text) for text in written]),
            answers=objects([None if each is None else tuple(one["text"] for one in each) for each in answers]),
            window=min(maximum_tokens, network.maximum_tokens),
            frame=network.pair_frame,
            stride=self.stride,
            longest_answer=self.maximum_answer_tokens,
        )
        if len(crowded := np.flatnonzero(examples.room < 1)):
            raise UserError(
                f"windows of {examples.window} tokens leave no room beside the question of {numbered(crowded)}; give "
                "more maximum_tokens, or less maximum_question_tokens"
            )
        return examples

    def check(self, train: AskedPassages, labels: Sequence[str]) -> None:
        """Raise UserError when no answer stands in its passage, or some questions have none and none is to be said."""
        if not (train.first >= 0).any():
            raise UserError(
                f"none of the {len(train):,} questions to train on has an answer within its passage; check the column "
                "of answers, and that start counts characters"
            )
        without = np.flatnonzero(train.first == NO_ANSWER)
        if len(without) and self.null_threshold is None:
            raise UserError(
                f"{len(without):,} of {len(train):,} questions have no answer ({numbered(without)}); set "
                "null_threshold to 0 so that none can be said, or leave those rows out"
            )

    def network(self, encoder: "Encoder", labels: Sequence[str]) -> SpanNetwork:
        reader_of(encoder)
        return SpanNetwork(encoder.network, encoder.dimensions)

    def metrics(self, scores_T2: np.ndarray, examples: AskedPassages, labels: Sequence[str]) -> dict[str, float]:
        """Means over the rows whose answers are known; where some have none, of those with and without one too."""
        said, _ = self._said(scores_T2, examples)
        known = [row for row, true in enumerate(examples.answers) if true is not None]
        language: AnswerLanguage = language_of(examples.written) if self.language == "automatic" else self.language
        answered = np.array([bool(examples.answers[row]) for row in known], bool)
        scores = np.array(
            [
                answer_scores(said[row], examples.answers[row], language, unanswerable=not answered.all())
                for row in known
            ]
        ).reshape(-1, 2)
        metrics = {"exact_match": _mean(scores[:, 0]), "f1": _mean(scores[:, 1])}
        if not answered.all():
            metrics["exact_match_with_answer"] = _mean(scores[answered, 0])
            metrics["f1_with_answer"] = _mean(scores[answered, 1])
            metrics["right_without_answer"] = _mean(scores[~answered, 0])
        with torch.no_grad():
            scores_of_all = torch.from_numpy(scores_T2)
            loss = span_loss(scores_of_all, examples.windows.offsets, *examples.targets())
        return {**metrics, "loss": float(loss)}

    def predictions(
        self, scores_T2: np.ndarray, examples: AskedPassages, labels: Sequence[str]
    ) -> dict[str, list[Any]]:
        """The answer of each row, where it starts in the passage, and by how much it scores above no answer.

        `start` is in characters, of the passage in NFC; None beside the answer "", which is none.
        """
        spans = self._spans(scores_T2, examples)
        said, starts = self._said(scores_T2, examples)
        margin = (spans.score - spans.null_score).tolist()
        return {"answer": said, "start": starts, "margin": [m if np.isfinite(m) else None for m in margin]}

    def _spans(self, scores_T2: np.ndarray, examples: AskedPassages) -> Spans:
        return best_spans(scores_T2, examples.windows, len(examples), longest=self.maximum_answer_tokens)

    def _said(self, scores_T2: np.ndarray, examples: AskedPassages) -> tuple[list[str], list[int | None]]:
        spans = self._spans(scores_T2, examples)
        if self.null_threshold is not None:
            nothing = spans.null_score - spans.score > self.null_threshold
            spans = spans._replace(first=np.where(nothing, NO_ANSWER, spans.first))
        return examples.cut(spans)


def span_loss(scores_T2: torch.Tensor, offsets: np.ndarray, starts_V: np.ndarray, stops_V: np.ndarray) -> torch.Tensor:
    """½ (mean_v −ln p_v(start) + mean_v −ln p_v(stop)), nats: each a softmax over the places of its window v.

    The means are over the windows that are not UNPLACED; 0 without any.
    """
    if not (starts_V != UNPLACED).any():
        return scores_T2.sum() * 0
    device, sizes = scores_T2.device, np.diff(offsets)
    window = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)).to(device)
    place = torch.from_numpy(np.arange(offsets[-1]) - np.repeat(offsets[:-1], sizes)).to(device)
    padded_VL2 = scores_T2.new_full((len(sizes), int(sizes.max()), 2), -torch.inf)
    padded_VL2 = padded_VL2.index_put((window, place), scores_T2)
    losses = [
        nn.functional.cross_entropy(padded_VL2[..., side], torch.from_numpy(target).to(device), ignore_index=UNPLACED)
        for side, target in enumerate((starts_V, stops_V))
    ]
    return (losses[0] + losses[1]) / 2


def reader_of(encoder: "Encoder") -> TransformerEncoder:
    """The encoder's network. Raises UserError unless each token's state knows the question and the whole passage."""
    network = encoder.network
    if isinstance(network, TransformerEncoder) and not network.causal:
        return network
    what = "sees only what is before a token" if isinstance(network, TransformerEncoder) else "reads no tokens together"
    raise UserError(
        f"an encoder of kind {encoder.objective['kind']!r} {what}, so it cannot find answers in passages; take a "
        "transformer such as masked_lm's, or a BERT checkpoint"
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0
