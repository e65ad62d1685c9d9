"""Which tokens begin a word: what whole-word masks need, from the ids alone.

Between spaces and punctuation the tokens themselves say it. Chinese has no spaces: a run of its characters is cut by
jieba, and a token begins a word if it begins where one of jieba's words does, however the vocabulary cuts the run. The
ids stay exactly those of the tokenizer.
"""

import re
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from sslcore.tokenization.word_family import WordTokenization

if TYPE_CHECKING:
    from sslcore.tokenization.tokenizer import Tokenizer

HAN_RUN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]{2,}")
HAN_BYTES = re.compile(b"[\xe3-\xe9\xef\xf0]")  # UTF-8 of a Han character begins with one of these


class WordStarts:
    """starts(ids int[N]) -> bool [N] for the tokens of one text or of several, one after another."""

    def __init__(self, tokenizer: "Tokenizer") -> None:
        specification = tokenizer.specification
        self._always = isinstance(specification, WordTokenization)
        if self._always:
            return
        kind = specification.kind if specification.kind != "pretrained" else _kind_of(tokenizer.tokens)
        surfaces = [_surface(token, kind) for token in tokenizer.tokens]
        self._bytes = [written for written, _ in surfaces]
        self._marked_V = np.array([marked for _, marked in surfaces])
        special = np.arange(len(surfaces)) < tokenizer.first_word_id
        self._begins_V = np.array([_in_word(written[:4]) for written in self._bytes]) & ~special
        # A mark alone is the beginning of the word that follows it.
        ends = [_in_word(written[-4:], end=True) if written else marked for written, marked in surfaces]
        self._ends_V = np.array(ends) & ~special
        self._han_V = np.array([bool(HAN_BYTES.search(written)) for written in self._bytes]) & ~special

    def __call__(self, ids: np.ndarray) -> np.ndarray:
        if self._always:
            return np.ones(len(ids), bool)
        before = np.concatenate([[False], self._ends_V[ids[:-1]]]) if len(ids) else np.zeros(0, bool)
        starts = self._marked_V[ids] | ~self._begins_V[ids] | ~before
        if self._han_V[ids].any():
            self._cut_han(ids, starts)
        return starts

    def _cut_han(self, ids: np.ndarray, starts: np.ndarray) -> None:
        """Correct `starts` in place where the text is Chinese."""
        import rjieba

        pieces = [self._bytes[i] if self._begins_V[i] else b"\n" for i in ids.tolist()]
        begins = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])])[:-1]
        text = b"".join(pieces).decode("utf-8", "replace")
        if text.count("\ufffd"):  # a piece that is no whole character: its bytes are not those of the text
            text = b"".join(pieces).decode("latin-1")
            text = re.sub("[\x80-\xff]+", lambda run: _decoded(run[0]), text)
        places = np.concatenate([[0], np.cumsum([len(character.encode("utf-8")) for character in text])])
        for run in HAN_RUN.finditer(text):
            words = rjieba.cut(run[0])
            ends = np.cumsum([len(word) for word in words])
            bounds = places[run.start() + np.concatenate([[0], ends])]
            inside = slice(*np.searchsorted(begins, [bounds[0], bounds[-1]]))
            starts[inside] = np.isin(begins[inside], bounds)


def _decoded(run: str) -> str:
    """Bytes written as Latin-1, as the text they are; one character a byte where they are none."""
    found, raw = [], run.encode("latin-1")
    while raw:
        for width in (3, 4, 2):
            try:
                found.append(raw[:width].decode("utf-8"))
                raw = raw[width:]
                break
            except UnicodeDecodeError:
                continue
        else:
            found.append("\n")
            raw = raw[1:]
    return "".join(found)


def _kind_of(tokens: list[str]) -> str:
    """Which of ours writes its tokens as a public vocabulary does."""
    for mark, kind in (("##", "word_piece"), ("▁", "unigram")):
        if sum(token.startswith(mark) for token in tokens) > len(tokens) // 100:
            return kind
    return "bpe"


def _surface(token: str, kind: str) -> tuple[bytes, bool]:
    """(What a token stands for in the text, without a space before it; whether it is marked as beginning a word.)"""
    if kind == "word_piece":
        return token.removeprefix("##").encode(), not token.startswith("##")
    if kind == "unigram":
        return token.lstrip("▁").encode(), token.startswith("▁")
    raw = bytes(_byte_of()[character] for character in token) if set(token) <= _byte_of().keys() else token.encode()
    return raw.lstrip(b" "), raw.startswith(b" ")


def _in_word(written: bytes, *, end: bool = False) -> bool:
    """Whether the first (last) character is a letter or digit; bytes that are no whole character count as one."""
    text = written.decode("utf-8", "replace")
    character = text[-1:] if end else text[:1]
    return character == "\ufffd" or character.isalnum()


@cache
def _byte_of() -> dict[str, int]:
    """The byte that each character of a byte-level vocabulary stands for (Radford et al. 2019, encoder.py)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}
