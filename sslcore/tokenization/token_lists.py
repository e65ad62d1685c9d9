"""Documents that come as lists of tokens: counted and numbered in one pass, so that a generator serves."""

from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from sslcore.errors import UserError
from sslcore.tokenization.engine import UNKNOWN_ID, Fitted
from sslcore.tokenization.segments import Segments, utf8
from sslcore.tokenization.word_family import WordEngine, WordTokenization, choose_vocabulary

if TYPE_CHECKING:
    from sslcore.tokenization.tokenizer import Tokenizer

BATCH_TOKENS = 1_000_000


def encode_token_lists(
    lists: Iterable[list[str]], limits: WordTokenization, growing: "Tokenizer | None" = None
) -> tuple[np.ndarray, np.ndarray, Fitted]:
    """The ids of all tokens, int32[N], where each list's begin, int64[L + 1], and the vocabulary they make."""
    from sslcore.tokenization.lexicon import Lexicon

    if isinstance(lists, str | bytes):
        raise UserError(f"expected an iterable of token lists, got one {type(lists).__name__}; write [text.split()]")
    lexicon = Lexicon()
    numbers: list[np.ndarray] = []  # of each token, in the order of first sight
    lengths: list[int] = []
    waiting: list[list[str]] = []
    size = 0

    def flush() -> None:
        segments = _segments(waiting, len(lengths) - len(waiting))
        lexicon.add(segments)
        numbers.append(lexicon.look_up(segments, UNKNOWN_ID))

    for position, tokens in enumerate(lists):
        if isinstance(tokens, str | bytes):
            raise UserError(
                f"list {position} is the {type(tokens).__name__} {tokens[:40]!r}; expected a list of tokens "
                "(a str would be taken letter by letter). Split it first: text.split(), or use a tokenizer."
            )
        if not isinstance(tokens, Iterable):
            raise UserError(f"list {position} is {tokens!r} ({type(tokens).__name__}); expected a list of tokens")
        waiting.append(list(tokens))
        lengths.append(len(waiting[-1]))
        size += lengths[-1]
        if size >= BATCH_TOKENS:
            flush()
            waiting, size = [], 0
    flush()
    if not lengths:
        raise UserError("there are no token lists: the iterable is empty (a generator that was used up already?)")
    if not any(lengths):
        raise UserError(f"all {len(lengths)} token lists are empty; there is nothing to learn from")
    tokens, counts, ids = choose_vocabulary(lexicon, limits, growing)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return ids[np.concatenate(numbers)], offsets, Fitted(tokens, counts, WordEngine(limits, tokens))


def _segments(lists: list[list[str]], first: int) -> Segments:
    """The tokens of `lists`, of which the first has the number `first`. Raises UserError naming list and token."""
    tokens = list(chain.from_iterable(lists))
    try:
        data, bounds = utf8(tokens, "token")
    except UserError:
        for number, of_list in enumerate(lists, first):
            utf8(of_list, f"list {number}, token")
        raise
    empty = np.flatnonzero(np.diff(bounds) == 0)
    if empty.size:
        number = int(np.searchsorted(np.cumsum([len(of_list) for of_list in lists]), empty[0], side="right"))
        raise UserError(
            f"list {first + number} holds an empty token; leave it out. text.split() makes none, text.split(' ') does."
        )
    return Segments(data, bounds, np.array([0, len(tokens)]), np.zeros(0, np.int64))
