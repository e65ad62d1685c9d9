"""Which column of a table holds the text, and what its cells say."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sslcore.errors import UserError

PLAUSIBLE_TEXT_NAMES = (
    "text", "content", "body", "document", "review", "sentence", "comment", "message", "article", "description",
    "post", "tweet", "abstract", "question", "utterance", "text_a", "sentence1",
    "正文", "内容", "文本", "评论", "句子", "content_zh",
)  # fmt: skip
PLAUSIBLE_LABEL_NAMES = (
    "label", "labels", "class", "category", "target", "intent", "sentiment", "topic", "tag", "y",
    "标签", "类别", "分类",
)  # fmt: skip
SAMPLE_ROWS = 200
LEAST_TEXT_CHARACTERS = 8  # a column whose cells are shorter on average is a code or a name
AMBIGUOUS_RATIO = 0.6


def choose_text_column(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], where: str, option: str = "--text COLUMN"
) -> str:
    """The text column of sample rows: a plausible name, else clearly the longest column of strings.

    Raises UserError that lists the columns, with a cell of each, and names the `option` to say it, when there is none
    or two are about equally long.
    """
    lengths = {column: mean_length(rows, column) for column in columns}
    by_name = {column.strip().lower(): column for column in reversed(columns)}
    plausible = [by_name[name] for name in PLAUSIBLE_TEXT_NAMES if lengths.get(by_name.get(name, ""), 0) > 0]
    if plausible:
        return max(plausible, key=lambda column: (lengths[column] >= LEAST_TEXT_CHARACTERS, -plausible.index(column)))
    longest = sorted(columns, key=lambda column: -lengths[column])
    if longest and lengths[longest[0]] >= LEAST_TEXT_CHARACTERS:
        second = lengths[longest[1]] if len(longest) > 1 else 0.0
        if second < AMBIGUOUS_RATIO * lengths[longest[0]]:
            return longest[0]
        what = f"the columns {' and '.join(repr(c) for c in columns if c in longest[:2])} both look like text"
    else:
        what = "no column looks like text"
    raise UserError(f"{where}: {what}; say which with {option}. Columns: {describe(rows, columns)}")


def require_column(
    column: str, role: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], where: str
) -> str:
    """`column` itself. Raises UserError that lists what there is when no such column was found."""
    if column in columns:
        return column
    raise UserError(
        f"{where}: no column {column!r} for the {role}; name one of these with --{role}: {describe(rows, columns)}"
    )


def describe(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Each column with its first non-empty cell, short, for error messages."""

    def example(column: str) -> str:
        value = next((row[column] for row in rows if row.get(column) not in (None, "")), "")
        text = " ".join(str(value).split())
        return f"{column!r} (e.g. {text[:30]}{'…' if len(text) > 30 else ''})" if text else repr(column)

    return ", ".join(map(example, columns)) or "none"


def mean_length(rows: Sequence[Mapping[str, Any]], column: str) -> float:
    """Average characters of the cells that are text; 0 when most cells are numbers or nothing."""
    cells = [row[column] for row in rows if row.get(column) not in (None, "")]
    texts = [cell for cell in cells if isinstance(cell, str) and not is_number(cell)]
    if not texts or len(texts) < 0.5 * len(cells):
        return 0.0
    return sum(map(len, texts)) / len(texts)


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def label_of(cell: Any, column: str, where: str) -> str | None:
    """The label a cell says, None for an empty one. Raises UserError for a list or an object."""
    if cell is None or cell == "":
        return None
    if isinstance(cell, str):
        return cell.strip() or None
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float):
        return None if math.isnan(cell) else str(int(cell)) if cell.is_integer() else str(cell)
    if isinstance(cell, list | dict):
        raise UserError(
            f"{where}: the label column {column!r} holds {type(cell).__name__}s, a label must be one word or number"
        )
    return str(cell)
