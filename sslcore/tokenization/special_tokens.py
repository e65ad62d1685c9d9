"""Which ids of a vocabulary are those of special tokens, whatever a public model calls them."""

from typing import NamedTuple

from sslcore.errors import UserError
from sslcore.tokenization.engine import SPECIAL_TOKENS


class SpecialIds(NamedTuple):
    padding: int
    unknown: int
    classification: int  # before a text
    separator: int  # after it
    mask: int


NAMES = tuple(zip(SPECIAL_TOKENS, ("<pad>", "<unk>", "<s>", "</s>", "<mask>"), strict=True))
CAUSAL = "<|endoftext|>"  # GPT-2's only one: between texts, and all else that is asked for


def special_ids(tokens: list[str]) -> SpecialIds:
    """By the tokens' names. Raises UserError for a vocabulary without any to frame a text with."""
    if tuple(tokens[: len(SPECIAL_TOKENS)]) == SPECIAL_TOKENS:
        return SpecialIds(*range(len(SPECIAL_TOKENS)))
    ids = {token: number for number, token in enumerate(tokens)}
    found = []
    for names in NAMES:
        number = next((ids[name] for name in names if name in ids), ids.get(CAUSAL))
        if number is None:
            raise UserError(f"the vocabulary has no special token {' or '.join(names)}: it is of no kind known here")
        found.append(number)
    return SpecialIds(*found)


def first_word(special: SpecialIds, size: int) -> int:
    """The id after the special tokens at the front; BERT's come after a hundred unused ones, GPT-2's at the end."""
    front = max(len(SPECIAL_TOKENS), size // 2)
    return max((i + 1 for i in special if i < front), default=0)
