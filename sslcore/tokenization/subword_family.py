"""Tokenization by pieces of words, trained and run by Hugging Face `tokenizers`; nothing of theirs is written again."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence, Sized
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from sslcore.errors import UserError
from sslcore.progress import Progress
from sslcore.tokenization.batching import batched
from sslcore.tokenization.engine import SPECIAL_TOKENS, Encoded, Engine, Fitted
from sslcore.tokenization.segments import utf8

if TYPE_CHECKING:
    import tokenizers


NO_TEXT = (
    "there is nothing to make a vocabulary of: the training texts are empty. Check the text column and the filters "
    "(dropped.parquet says what was left out and why)."
)


class SubwordTokenization(BaseModel):
    """What the kinds that make pieces of words have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str  # each kind's own literal; named here so that it leads in forms and files
    vocabulary_size: int = Field(
        default=16_000,
        ge=512,
        le=1_000_000,
        description="At most this many tokens, the five special ones included.",
    )
    training_characters: int = Field(
        default=5_000_000,
        ge=1_000,
        le=10_000_000_000,
        description="Pieces are learnt from at most this many characters, of documents taken evenly.",
    )
    lowercase: bool = Field(default=False, description="Write everything in lower case first.")

    def untrained(self) -> "tokenizers.Tokenizer":
        """Normalizer, pre-tokenizer, an empty model, decoder."""
        raise NotImplementedError

    def trained(self, texts: list[str]) -> "tokenizers.Tokenizer":
        """The same with a vocabulary learnt from `texts`, special tokens first."""
        raise NotImplementedError

    def fit(self, texts: Iterable[str], progress: Progress) -> Fitted:
        """Learn the pieces from a sample, then read all texts once more to count every token."""
        with tempfile.TemporaryDirectory(prefix="sslcore-") as folder:
            total = len(texts) if isinstance(texts, Sized) else 0
            repeatable = texts if iter(texts) is not texts else _KeptOnDisk(texts, Path(folder) / "texts.arrow")
            progress(0.0, "sampling texts to learn pieces from")
            sample = even_sample(repeatable, self.training_characters)
            if not any(sample):
                raise UserError(NO_TEXT)
            utf8(sample)  # says which text is not one
            progress(0.1, "learning pieces")
            engine = SubwordEngine(self.trained(sample))
            counts = counts_of(engine, repeatable, total, progress, begin=0.5)
        assert tuple(engine.tokens()[: len(SPECIAL_TOKENS)]) == SPECIAL_TOKENS
        counts[: len(SPECIAL_TOKENS)] = 0
        return Fitted(engine.tokens(), counts, engine)

    def restore(self, tokens: list[str], file: Path) -> Engine:
        from tokenizers import Tokenizer

        return SubwordEngine(Tokenizer.from_file(str(file)))


class SubwordEngine:
    """Pieces of words through a `tokenizers.Tokenizer`."""

    def __init__(self, tokenizer: "tokenizers.Tokenizer") -> None:
        self._tokenizer = tokenizer
        # "[MASK]" typed by somebody into a text is six characters, not a mask.
        self._tokenizer.encode_special_tokens = True

    def tokens(self) -> list[str]:
        """Every token by id."""
        vocabulary = self._tokenizer.get_vocab()
        return sorted(vocabulary, key=vocabulary.__getitem__)

    def encode(self, texts: Sequence[str], *, ends: bool) -> Encoded:
        utf8(texts)  # says which text is not one
        # encode_batch_fast, which forgets where tokens stand, measured no faster.
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        offsets = np.zeros(len(texts) + 1, np.int64)
        np.cumsum([len(encoding) for encoding in encodings], out=offsets[1:])
        count = int(offsets[-1])
        ids = np.fromiter(chain.from_iterable(e.ids for e in encodings), np.int32, count)
        if not ends:
            return Encoded(ids, offsets, None)
        spans = chain.from_iterable(chain.from_iterable(e.offsets) for e in encodings)
        return Encoded(ids, offsets, np.fromiter(spans, np.int64, 2 * count)[1::2])

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode([int(i) for i in ids], skip_special_tokens=False)

    def words(self, text: str) -> list[str]:
        normalizer, splitter = self._tokenizer.normalizer, self._tokenizer.pre_tokenizer
        written = normalizer.normalize_str(text) if normalizer else text
        if splitter is None:
            return [written]
        return [written[start:end] for _, (start, end) in splitter.pre_tokenize_str(written)]

    def huggingface(self) -> "tokenizers.Tokenizer":
        return self._tokenizer


def counts_of(
    engine: SubwordEngine, texts: Iterable[str], total: int, progress: Progress, begin: float = 0.0
) -> np.ndarray:
    """int64 [V]: how often each token occurs in the texts, `total` of them or an unknown number if 0."""
    counts = np.zeros(len(engine.tokens()), np.int64)
    done = 0
    for batch in batched(texts):
        counts += np.bincount(engine.encode(batch, ends=False).ids, minlength=len(counts))
        done += len(batch)
        progress(begin + (1 - begin) * done / total if total else begin, f"counted {int(counts.sum()):,} tokens")
    return counts


def even_sample(texts: Iterable[str], characters: int) -> list[str]:
    """Every k-th text, k the smallest power of two that keeps the sum of their lengths within `characters`."""
    kept: list[str] = []
    size, stride = 0, 1
    for number, text in enumerate(texts):
        if number % stride or not text:
            continue
        kept.append(text[:characters])
        size += len(kept[-1])
        while size > characters:
            kept, stride = kept[::2], 2 * stride
            size = sum(map(len, kept))
    return kept


class _KeptOnDisk:
    """Texts that can be had once, written to a temporary file so that they can be had again."""

    def __init__(self, texts: Iterable[str], file: Path) -> None:
        import pyarrow as pa

        self._file = file
        schema = pa.schema([("text", pa.large_string())])
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            for batch in batched(texts):
                utf8(batch)
                writer.write(pa.record_batch([pa.array(batch, pa.large_string())], schema=schema))

    def __iter__(self) -> Iterator[str]:
        import pyarrow as pa

        with pa.OSFile(str(self._file)) as source, pa.ipc.open_stream(source) as reader:
            for batch in reader:
                yield from batch.column(0).to_pylist()
