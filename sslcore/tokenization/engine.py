"""What a kind of tokenization must do, and the five tokens every vocabulary of ours begins with."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from sslcore.progress import Progress

if TYPE_CHECKING:
    import tokenizers

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
UNKNOWN_ID = SPECIAL_TOKENS.index("[UNK]")


class Encoded(NamedTuple):
    """The tokens of T texts, N in all."""

    ids: np.ndarray  # int32[N]
    offsets: np.ndarray  # int64[T + 1]: text t has ids[offsets[t]:offsets[t + 1]]
    ends: np.ndarray | None  # int64[N], where the token ends in its text, in characters; None unless asked for


class Engine(Protocol):
    """A vocabulary at work."""

    def encode(self, texts: Sequence[str], *, ends: bool) -> Encoded: ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def words(self, text: str) -> list[str]:
        """What the text is cut into before the vocabulary is asked."""
        ...

    def huggingface(self) -> "tokenizers.Tokenizer":
        """The same tokenizer as Hugging Face's `tokenizers` runs it."""
        ...


class Fitted(NamedTuple):
    """What fitting found."""

    tokens: list[str]  # by id, special tokens first
    counts: np.ndarray  # int64[V], in the texts fitted on
    engine: Engine


class Kind(Protocol):
    """A member of the Tokenization union: a frozen configuration that can make its engine."""

    @property
    def kind(self) -> str: ...

    def fit(self, texts: Iterable[str], progress: Progress) -> Fitted: ...

    def restore(self, tokens: list[str], file: Path) -> Engine:
        """The engine again, from its tokens and its `tokenizer.json`."""
        ...
