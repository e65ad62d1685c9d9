"""Questions and passages as token ids, and which tokens of its passage an answer is.

Tokens are known by the character after each, in the passage's composed form (NFC), which is what tokenizers read.

n rows, V windows (windows.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any
from unicodedata import is_normalized, normalize

import numpy as np

from sslcore.errors import UserError
from sslcore.finetuning.encoded import EncodedTexts
from sslcore.finetuning.mistakes import numbered
from sslcore.finetuning.windows import Spans, Windows, windows_of
from sslcore.models.framing import places_of

if TYPE_CHECKING:
    import pyarrow as pa

    from sslcore.models.encoder import Encoder

NO_ANSWER = -1  # in the place of a token
UNPLACED = -2  # the answer is not known, or is no span of tokens: such a row teaches nothing


@dataclass(frozen=True)
class AskedPassages:
    """n questions and passages as ids, what is right of each, and the passages to cut answers from."""

    questions: EncodedTexts
    passages: EncodedTexts
    ends: np.ndarray  # int64 [tokens of the passages]: the character after each
    first: np.ndarray  # int64 [n]: of its passage's tokens the answer's first; NO_ANSWER; UNPLACED
    last: np.ndarray  # int64 [n]
    written: np.ndarray  # object [n]: the passages, str
    answers: np.ndarray  # object [n]: the texts of all true answers, a tuple; None where they are not known
    window: int  # tokens of one sequence, those of the frame among them
    frame: int
    stride: int
    longest_answer: int

    def __len__(self) -> int:
        return len(self.first)

    @property
    def texts(self) -> tuple[EncodedTexts, EncodedTexts]:
        return (self.questions, self.passages)

    def with_texts(self, texts: tuple[EncodedTexts, ...]) -> "AskedPassages":
        return replace(self, questions=texts[0], passages=texts[1])

    def take(self, rows: np.ndarray) -> "AskedPassages":
        of_rows = {name: getattr(self, name)[rows] for name in ("first", "last", "written", "answers")}
        return replace(
            self,
            questions=self.questions.take(rows),
            passages=self.passages.take(rows),
            ends=self.ends[places_of(self.passages.offsets, rows)[0]],
            **of_rows,
        )

    @property
    def room(self) -> np.ndarray:
        """int64 [n]: tokens of the passage that a window has beside the question."""
        return self.window - self.frame - self.questions.lengths

    @cached_property
    def windows(self) -> Windows:
        return windows_of(self.passages.lengths, self.room, stride=self.stride, answer=self.longest_answer)

    @property
    def lengths(self) -> np.ndarray:
        """int64 [n]: tokens that are read, in all windows."""
        windows = self.windows
        read_V = windows.ends - windows.begins + self.frame + self.questions.lengths[windows.rows]
        return np.bincount(windows.rows, read_V, minlength=len(self)).astype(np.int64)

    def targets(self) -> tuple[np.ndarray, np.ndarray]:
        """int64 [V] each: the places of the answer's first and last token in each window."""
        return self.windows.targets(self.first, self.last, UNPLACED)

    def cut(self, spans: Spans) -> tuple[list[str], list[int | None]]:
        """The text of each row's span and where it starts in the passage, in characters; "" and None for none."""
        said: list[str] = []
        starts: list[int | None] = []
        for row, (first, last) in enumerate(zip(spans.first.tolist(), spans.last.tolist(), strict=True)):
            if first < 0:
                said.append("")
                starts.append(None)
                continue
            ends, passage = self.ends[self.passages.offsets[row] :], self.written[row]
            start, end = int(ends[first - 1]) if first else 0, int(ends[last])
            start = min(start + len(passage[start:end]) - len(passage[start:end].lstrip()), end)
            said.append(passage[start:end])
            starts.append(start)
        return said, starts


def encoded_passages(written: Sequence[str], encoder: "Encoder") -> tuple[EncodedTexts, np.ndarray]:
    """The ids of all passages, and where each token ends in its passage, in characters of NFC.

    Questions share passages: each is tokenised once.
    """
    different = {text: place for place, text in enumerate(dict.fromkeys(written))}
    normal = [normalize("NFC", text) for text in different]
    ids, offsets, ends = encoder.tokenizer.encode_with_ends(normal)
    rows = np.array([different[text] for text in written], np.int64)
    return EncodedTexts(ids, offsets).take(rows), ends[places_of(offsets, rows)[0]]


def span_of(answers: list[dict[str, Any]] | None, passage: str, ends: np.ndarray) -> tuple[int, int]:
    """The first and the last token of the first answer that stands in the passage, whose tokens end at `ends`."""
    if answers is None:
        return UNPLACED, UNPLACED
    if not answers:
        return NO_ANSWER, NO_ANSWER
    placed = next((answer for answer in answers if answer["start"] >= 0 and answer["text"]), None)
    if placed is None:
        return UNPLACED, UNPLACED
    # in characters of NFC, as the ends are
    start, end = placed["start"], placed["start"] + len(placed["text"])
    if not is_normalized("NFC", passage):
        start, end = (len(normalize("NFC", passage[:place])) for place in (start, end))
        passage = normalize("NFC", passage)
    first = int(np.searchsorted(ends, start, side="right"))
    last = int(np.searchsorted(ends, end, side="right")) - 1  # the last that does not end beyond it
    beyond = passage[int(ends[last]) if last >= 0 else 0 : end]
    if any(map(str.isalnum, beyond)):  # it ends within a token
        last += 1
    return (first, last) if first <= last < len(ends) else (UNPLACED, UNPLACED)


def check_rows(rows: "pa.Table") -> None:
    """Raise UserError naming the rows without question, passage or answers, and whose answer stands elsewhere.

    A start of -1 says that the answer, as it is given, is nowhere in the passage (some of CMRC 2018's): it is compared
    with what is said, and teaches nothing.
    """
    if not len(rows):
        raise UserError("there are no questions to train on; give rows with question, passage and answers")
    questions, passages, answers = (rows[name].to_pylist() for name in ("question", "passage", "answers"))
    for name, values in (("question", questions), ("passage", passages)):
        if empty := [row for row, value in enumerate(values) if not (value and value.strip())]:
            raise UserError(f"no {name} in {numbered(empty)} of {len(rows):,}; take them out, or mend them")
    if unknown := [row for row, value in enumerate(answers) if value is None]:
        raise UserError(f"no answers in {numbered(unknown)} of {len(rows):,}; an empty list says that there is none")
    elsewhere = [
        row
        for row, (passage, several) in enumerate(zip(passages, answers, strict=True))
        if any(one["start"] >= 0 and not passage.startswith(one["text"], one["start"]) for one in several)
    ]
    if elsewhere:
        first = elsewhere[0]
        passage = passages[first]
        one = next(a for a in answers[first] if a["start"] >= 0 and not passage.startswith(a["text"], a["start"]))
        found = passage[one["start"] : one["start"] + len(one["text"])]
        raise UserError(
            f"an answer does not stand where it is said to start in {numbered(elsewhere)} of {len(rows):,} "
            f"(row {first + 1:,}: at {one['start']:,} there is {found[:40]!r}, the answer is {one['text'][:40]!r}); "
            "start counts characters from 0, not bytes or words; -1 says that the answer is nowhere"
        )


def objects(values: Sequence[Any]) -> np.ndarray:
    """object [n]"""
    array = np.empty(len(values), object)
    array[:] = values
    return array
