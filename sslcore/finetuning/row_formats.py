"""Files that only labelled rows are written in: CoNLL's columns of tokens and tags, SQuAD's questions on passages."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sslcore.corpus.compression import chunks, suffix_within
from sslcore.corpus.decoding import decode, lines
from sslcore.corpus.raw import RawFile
from sslcore.corpus.tables import Row
from sslcore.errors import UserError

NOT_A_SENTENCE = "-DOCSTART-"
UNIVERSAL = ".conllu"  # word and part of speech are its second and fourth column, and there are comments
_BLANK = re.compile(r"[ \t]+")


def conll_rows(file: RawFile, columns: Mapping[str, str]) -> Iterator[Row]:
    """Sentences with a blank line between two, a token a line: the word first, its tag last.

    `columns` may name others by their number from 1, as {"tags": "2"}. Lines of one column are tokens without tags.
    Raises UserError naming the line that has fewer columns than the one before.
    """
    universal = suffix_within(file.location) == UNIVERSAL
    word, tag = (_column(columns, name, file) for name in ("tokens", "tags"))
    if universal:
        word, tag = word or 2, tag or 4
    sentence: list[list[str]] = []
    begin, width = 1, 0
    number = 0
    for number, line in enumerate(lines(decode(chunks(file))), start=1):
        line = line.strip("\ufeff\r\n \t")
        if not line:
            if sentence:
                yield _sentence(begin, sentence, word, tag)
            sentence = []
            continue
        cells = line.split("\t") if universal else _BLANK.split(line)
        if cells[0] == NOT_A_SENTENCE or (universal and (line.startswith("#") or not cells[0].isdigit())):
            continue
        width = width or len(cells)
        if len(cells) < max(min(width, 2), word or 1, tag or 1):
            raise UserError(
                f"{file.location}, line {number}: {len(cells)} columns, the lines before have {width}: {line[:60]!r}; "
                "write a word and its tag on every line, and a blank line between two sentences"
            )
        if not sentence:
            begin = number
        sentence.append(cells)
    if sentence:
        yield _sentence(begin, sentence, word, tag)


def _sentence(begin: int, sentence: list[list[str]], word: int | None, tag: int | None) -> Row:
    cells: dict[str, Any] = {"tokens": [token[(word or 1) - 1] for token in sentence]}
    if tag or len(sentence[0]) > 1:
        cells["tags"] = [token[tag - 1 if tag else -1] for token in sentence]
    return Row(begin, cells)


def _column(columns: Mapping[str, str], name: str, file: RawFile) -> int | None:
    asked = columns.get(name)
    if asked is None:
        return None
    if not asked.isdigit() or asked == "0":
        raise UserError(f"{file.location} has no column {asked!r} for the {name}: its columns have numbers, from 1")
    return int(asked)


def squad_rows(file: RawFile) -> Iterator[Row] | None:
    """The questions of a file as SQuAD (1.1, 2.0), XQuAD and CMRC 2018 have it; None for JSON that is none of these.

    Where only the text of an answer is given, its start is where it first stands in the passage, or -1.
    Raises UserError naming what is missing.
    """
    text = "".join(decode(chunks(file))).removeprefix("\ufeff")
    try:
        whole = json.loads(text)
    except ValueError:
        return None
    articles = whole.get("data") if isinstance(whole, dict) else whole
    if not isinstance(articles, list):
        return None
    paragraphs: list[Any] = []
    for article in articles:
        if not isinstance(article, dict) or not ({"paragraphs", "qas"} & set(article)):
            return None
        paragraphs += article.get("paragraphs", [article])
    return _questions(paragraphs, file)


def _questions(paragraphs: Sequence[Any], file: RawFile) -> Iterator[Row]:
    number = 0
    for paragraph in paragraphs:
        passage = _field(paragraph, ("context", "context_text"), file, number)
        for asked in _field(paragraph, ("qas",), file, number):
            number += 1
            cells = {"question": _field(asked, ("question", "query_text"), file, number), "passage": passage}
            if asked.get("is_impossible"):
                cells["answers"] = []
            elif "answers" in asked:
                cells["answers"] = [_answer(answer, passage, file, number) for answer in asked["answers"]]
            yield Row(number, cells)


def _answer(answer: Any, passage: str, file: RawFile, number: int) -> dict[str, Any]:
    if isinstance(answer, str):
        return {"text": answer, "start": passage.find(answer)}
    text = _field(answer, ("text",), file, number)
    start = _field(answer, ("answer_start", "start"), file, number)
    near = (start + by for by in (0, -1, 1, -2, 2))  # some of SQuAD 1.1's and CMRC's starts are off by one or two
    return {"text": text, "start": next((at for at in near if at >= 0 and passage.startswith(text, at)), start)}


def _field(record: Any, names: tuple[str, ...], file: RawFile, number: int) -> Any:
    found = next((name for name in names if isinstance(record, dict) and name in record), None)
    if found is None:
        raise UserError(
            f"{file.location}: there is no {names[0]!r} near question {number:,}; a file as SQuAD's has data, a list "
            "of paragraphs with context and qas, each with question and answers (text, answer_start)"
        )
    return record[found]
