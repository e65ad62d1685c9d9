"""What the cells of labelled rows, and of rows to be answered, say: text, words, labels, scores, answers.

In a table a list of words is a list, or a text with a space between two. Text is repaired as ingestion repairs it; that
of passages and words is left as it is, since places in it are counted.
"""

import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sslcore import contracts
from sslcore.corpus.columns import label_of
from sslcore.corpus.decoding import undecodable
from sslcore.corpus.mojibake import repair
from sslcore.errors import UserError

if TYPE_CHECKING:
    from sslcore.finetuning.shapes.registry import AnyShape

_SPACE = re.compile(r"[ \t]+")


class UnusableError(Exception):
    """A cell that makes its row one to leave out; its argument is the reason."""


class WrongError(Exception):
    """A cell that cannot be what its column is; its argument says what is expected."""


def several_of(shape: "AnyShape") -> bool:
    """Whether a row may have several labels."""
    return bool(getattr(shape, "multi_label", False))


def reader_of(name: str, shape: "AnyShape") -> Callable[[Any], Any]:
    """What makes the value of a column of a cell, or raises one of the two errors."""
    match name:
        case "tokens" | "tags":
            return _words
        case "answers":
            return _answers
        case "score":
            return _score
        case "label":
            return _labels if several_of(shape) else _label
        case _:
            return _passage if shape.kind == "span" else _text


def _text(cell: Any) -> str:
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        raise UnusableError("no text")
    if not isinstance(cell, str):
        raise UnusableError(f"the text is a {type(cell).__name__}")
    if cell.isascii():
        return cell
    if why := undecodable(cell):
        raise UnusableError(f"undecodable: {why}")
    return repair(cell)


def _passage(cell: Any) -> str:
    """Left out by nobody: the shape names the rows without one."""
    if cell is not None and not isinstance(cell, str):
        raise WrongError("text")
    return cell or ""


def _label(cell: Any) -> str:
    try:
        label = label_of(cell, "label", "")
    except UserError:
        raise WrongError("one word or number, not a list or an object (several labels a row are multi_label)") from None
    if label is None:
        raise UnusableError("no label")
    return label


def _labels(cell: Any) -> list[str]:
    """An empty list is a row to which no label applies; only nothing at all is no label."""
    if cell is None:
        raise UnusableError("no label")
    if isinstance(cell, str):
        cell = [part.strip() for part in cell.split("|") if part.strip()]
    if not isinstance(cell, list):
        raise WrongError("a list of labels, or a text with | between them")
    return [label for one in cell if (label := label_of(one, "label", "")) is not None]


def _score(cell: Any) -> float:
    if cell is None or cell == "":
        raise UnusableError("no score")
    try:
        score = float(cell)
    except (TypeError, ValueError):
        raise WrongError("a number") from None
    if not math.isfinite(score):
        raise UnusableError("no score")
    return score


def _words(cell: Any) -> list[str] | None:
    if cell is None:
        return None
    if isinstance(cell, str):
        return [word for word in _SPACE.split(cell) if word]
    if not isinstance(cell, list) or any(isinstance(one, list | dict) for one in cell):
        raise WrongError("a list of words, or a text with a space between two")
    return ["" if one is None else str(one) for one in cell]


def _answers(cell: Any) -> list[dict[str, Any]] | None:
    if cell is None:
        return None
    if isinstance(cell, dict) and isinstance(cell.get("text"), list):  # as Hugging Face's datasets have them
        starts = cell.get("answer_start", cell.get("start"))
        cell = [{"text": t, "start": s} for t, s in zip(cell["text"], starts or [], strict=len(cell["text"]) > 0)]
    expected = "a list of answers, each with text and start (or answer_start), in characters; empty for none"
    if not isinstance(cell, list):
        raise WrongError(expected)
    answers = []
    for one in cell:
        start = one.get("start", one.get("answer_start")) if isinstance(one, dict) else None
        if not isinstance(start, int) or not isinstance(one.get("text"), str):
            raise WrongError(expected)
        answers.append({"text": one["text"], "start": start})
    return answers


def type_of(name: str, shape: "AnyShape") -> pa.DataType:
    """Arrow's, of a column of the shape."""
    if name in ("tokens", "tags"):
        return pa.list_(pa.string())
    if name == "answers":
        return pa.list_(contracts.ANSWER)
    if name == "score":
        return pa.float64()
    return pa.list_(pa.string()) if name == "label" and several_of(shape) else pa.string()
