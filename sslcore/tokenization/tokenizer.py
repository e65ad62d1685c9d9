"""One tokenizer object from pretraining to serving: the same text has the same ids everywhere.

A saved tokenizer is three files:

    tokenizer.json        as Hugging Face `tokenizers` and `transformers.PreTrainedTokenizerFast` read it
    vocabulary.parquet    id, token, count in the training split
    tokenization.json     the kind and its fields: how text is cut before the vocabulary is asked
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sslcore import contracts
from sslcore.errors import UserError
from sslcore.progress import Progress, silent
from sslcore.tokenization.batching import batched
from sslcore.tokenization.engine import Encoded, Engine
from sslcore.tokenization.registry import TOKENIZATION, OfWords, Tokenization
from sslcore.tokenization.special_tokens import first_word, special_ids
from sslcore.tokenization.word_family import WordTokenization

if TYPE_CHECKING:
    import tokenizers

FILES = ("tokenizer.json", "vocabulary.parquet", "tokenization.json")


class Tokenizer:
    """Text to ids and back. Made by `fit_tokenizer` or `Tokenizer.load`."""

    def __init__(self, specification: Tokenization, tokens: list[str], counts: np.ndarray, engine: Engine) -> None:
        self.specification = specification
        self.tokens = tokens
        self.counts = np.asarray(counts, np.int64)  # int64[V], in the training split; 0 for special tokens
        self._engine = engine
        assert len(tokens) == len(self.counts)
        special = special_ids(tokens)
        self.padding_id, self.unknown_id, self.classification_id, self.separator_id, self.mask_id = special
        self.first_word_id = first_word(special, len(tokens))  # no word has a smaller id

    @property
    def vocabulary_size(self) -> int:
        return len(self.tokens)

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of every token."""
        return {token: number for number, token in enumerate(self.tokens)}

    # -- text to ids -----------------------------------------------------------------------------------------------

    def encode(self, text: str) -> np.ndarray:
        """The ids of one text, int32[n]. No special token is added."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The ids of all texts, int32[N], and where each text's begin, int64[len(texts) + 1].

        Raises UserError for a single str in place of a list, and naming the position of what is not a str.
        """
        encoded = self._encode(texts, ends=False)
        return encoded.ids, encoded.offsets

    def encode_with_ends(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `encode_batch`, and where each token ends in its text, in characters, int64[N] (of a text in NFC)."""
        encoded = self._encode(texts, ends=True)
        assert encoded.ends is not None
        return encoded.ids, encoded.offsets, encoded.ends

    def _encode(self, texts: Sequence[str], *, ends: bool) -> Encoded:
        if isinstance(texts, str | bytes):
            raise UserError(f"expected a list of texts, got one {type(texts).__name__}; write [text], or encode(text)")
        parts = [self._engine.encode(batch, ends=ends) for batch in batched(texts)]
        if len(parts) == 1:
            return parts[0]
        nothing = Encoded(np.zeros(0, np.int32), np.zeros(1, np.int64), np.zeros(0, np.int64) if ends else None)
        parts.insert(0, nothing)
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        return Encoded(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            np.concatenate([part.ends for part in parts if part.ends is not None]) if ends else None,
        )

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of the ids: for words with a space between any two, for pieces as they were joined."""
        return self._engine.decode(ids)  # type: ignore[arg-type]

    def words(self, text: str) -> list[str]:
        """What the text is cut into before the vocabulary is asked: words as they will be looked up."""
        return self._engine.words(text)

    def huggingface(self) -> "tokenizers.Tokenizer":
        """The same tokenizer in Hugging Face's `tokenizers`."""
        return self._engine.huggingface()

    # -- on disk ---------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write the three files into an existing folder."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        folder = Path(folder)
        table = pa.table(
            [pa.array(np.arange(len(self.tokens), dtype=np.int32)), pa.array(self.tokens), pa.array(self.counts)],
            schema=contracts.VOCABULARY,
        )
        pq.write_table(table, folder / "vocabulary.parquet", compression="zstd")
        (folder / "tokenization.json").write_text(self.specification.model_dump_json(indent=1) + "\n", "utf-8")
        (folder / "tokenizer.json").write_text(self.huggingface().to_str(), "utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> "Tokenizer":
        """Read what `save` wrote. Raises UserError naming the file that is missing or wrong."""
        import pyarrow.parquet as pq

        folder = Path(folder)
        for name in FILES:
            if not (folder / name).is_file():
                raise UserError(
                    f"{folder} holds no tokenizer: {name} is missing. Give a folder that save() has written."
                )
        try:
            specification = TOKENIZATION.validate_json((folder / "tokenization.json").read_bytes())
        except ValueError as error:
            raise UserError(f"{folder / 'tokenization.json'} is not a tokenization: {error}") from error
        contracts.check(
            pq.read_schema(folder / "vocabulary.parquet"), contracts.VOCABULARY, where=f"{folder}/vocabulary.parquet"
        )
        table = pq.read_table(folder / "vocabulary.parquet")
        tokens = table["token"].to_pylist()
        return cls(
            specification,
            tokens,
            table["count"].to_numpy(),
            specification.restore(tokens, folder / "tokenizer.json"),
        )


def fit_tokenizer(specification: Tokenization, texts: Iterable[str], *, progress: Progress = silent) -> Tokenizer:
    """A tokenizer with the vocabulary of `texts`, read as a stream.

    Pieces of words need the texts twice: what can be iterated only once is kept in a temporary file meanwhile.
    Raises UserError for no text, a text that is not a str, or a vocabulary that would be empty.
    """
    if isinstance(texts, str | bytes):
        raise UserError(f"expected texts, got one {type(texts).__name__}; write [text]")
    tokens, counts, engine = specification.fit(texts, progress)
    return Tokenizer(specification, tokens, counts, engine)


def grow_tokenizer(tokenizer: Tokenizer, texts: Iterable[str], *, progress: Progress = silent) -> Tokenizer:
    """The tokenizer with the new words of `texts` behind those it has, for training that goes on with more text.

    Tokens and ids stay, counts go on; a new word must occur `minimum_count` times in `texts`, and `vocabulary_size`
    holds for all of them. Raises UserError for a tokenizer of pieces of words: a new text changes no piece.
    """
    specification = growing_specification(tokenizer)
    if isinstance(texts, str | bytes):
        raise UserError(f"expected texts, got one {type(texts).__name__}; write [text]")
    return Tokenizer(specification, *specification.fit(texts, progress, tokenizer))


def growing_specification(tokenizer: Tokenizer) -> OfWords:
    """How a vocabulary that may grow was made. Raises UserError for one of pieces of words."""
    if not isinstance(tokenizer.specification, WordTokenization):
        raise UserError(
            f"a vocabulary of {tokenizer.specification.kind} cannot grow: it is pieces of words, and writes every new "
            "word with those it has. Go on without growing."
        )
    return tokenizer.specification
