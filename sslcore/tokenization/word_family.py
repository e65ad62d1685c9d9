"""Tokenization by whole words: count them, keep the frequent ones, look them up."""

from collections.abc import Iterable, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from sslcore.errors import UserError
from sslcore.progress import Progress
from sslcore.tokenization.batching import batched
from sslcore.tokenization.engine import SPECIAL_TOKENS, UNKNOWN_ID, Encoded, Engine, Fitted

if TYPE_CHECKING:
    import tokenizers

    from sslcore.tokenization.lexicon import Lexicon
    from sslcore.tokenization.segments import Segments
    from sslcore.tokenization.tokenizer import Tokenizer


class WordTokenization(BaseModel):
    """What the kinds that make words have in common. A word outside the vocabulary becomes [UNK]."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str  # each kind's own literal; named here so that it leads in forms and files
    vocabulary_size: int = Field(
        default=100_000,
        ge=len(SPECIAL_TOKENS) + 1,
        le=50_000_000,
        description="At most this many tokens, the five special ones included; the most frequent words stay.",
    )
    minimum_count: int = Field(
        default=5, ge=1, le=1_000_000, description="Words seen fewer times in the training split become [UNK]."
    )

    def segment(self, texts: Sequence[str]) -> "Segments":
        """The words of each text."""
        raise NotImplementedError

    def huggingface_parts(self) -> "tuple[tokenizers.normalizers.Normalizer, tokenizers.pre_tokenizers.PreTokenizer]":
        """The Hugging Face normalizer and pre-tokenizer that find the same words."""
        raise NotImplementedError

    def fit(self, texts: Iterable[str], progress: Progress, growing: "Tokenizer | None" = None) -> Fitted:
        """The vocabulary of `texts`, or the `growing` one with the frequent new words of `texts` behind it."""
        from sslcore.tokenization.lexicon import Lexicon

        lexicon = Lexicon()
        total = len(texts) if isinstance(texts, Sized) else 0
        done = 0
        for batch in batched(texts):
            lexicon.add(self.segment(batch))
            done += len(batch)
            progress(done / total if total else 0.0, f"counted {lexicon.size:,} different words")
        tokens, counts, _ = choose_vocabulary(lexicon, self, growing)
        return Fitted(tokens, counts, WordEngine(self, tokens))

    def restore(self, tokens: list[str], file: Path) -> Engine:
        return WordEngine(self, tokens)


class WordEngine:
    """Words through a `Lexicon`."""

    def __init__(self, specification: WordTokenization, tokens: list[str]) -> None:
        from sslcore.tokenization.lexicon import Lexicon

        self._specification = specification
        self._tokens = np.array(tokens, dtype=object)
        self._lexicon = Lexicon.of(tokens)

    def encode(self, texts: Sequence[str], *, ends: bool) -> Encoded:
        segments = self._specification.segment(texts)
        ids = self._lexicon.look_up(segments, UNKNOWN_ID)
        return Encoded(ids, segments.offsets, segments.ends if ends else None)

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(self._tokens[np.asarray(ids, dtype=np.int64)])

    def words(self, text: str) -> list[str]:
        return self._specification.segment([text]).to_arrow().to_pylist()

    def huggingface(self) -> "tokenizers.Tokenizer":
        from tokenizers import AddedToken, Tokenizer, models

        vocabulary = {token: number for number, token in enumerate(self._tokens)}
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL_TOKENS[UNKNOWN_ID]))
        tokenizer.normalizer, tokenizer.pre_tokenizer = self._specification.huggingface_parts()
        tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL_TOKENS])
        return tokenizer


def choose_vocabulary(
    lexicon: "Lexicon", limits: WordTokenization, growing: "Tokenizer | None" = None
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The tokens by id, their counts, and the id of every word of the lexicon ([UNK] for those left out), int32[size].

    Order: special tokens, then words by count, descending, then by code points, so that equal texts in any order give
    equal ids. A `growing` vocabulary keeps its tokens and ids, however rare they are here, and counts on; the new ones
    come after. Raises UserError when no word is frequent enough.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    words, counts = lexicon.words(), lexicon.counts()
    if len(words) == 0:
        raise UserError(
            "there is no word to make a vocabulary of: the training texts are empty, or hold only spaces and "
            "punctuation. Check the text column and the filters (dropped.parquet says what was left out and why)."
        )
    earlier = growing.tokens if growing is not None else list(SPECIAL_TOKENS)
    table = pa.table({"word": words, "count": counts, "number": np.arange(len(words))})
    known = pc.index_in(words, pa.array(earlier, pa.large_string()))
    kept = table.filter(pc.and_(pc.greater_equal(table["count"], limits.minimum_count), known.is_null()))
    kept = kept.sort_by([("count", "descending"), ("word", "ascending")])
    kept = kept.slice(0, max(0, limits.vocabulary_size - len(earlier)))
    if len(kept) == 0 and growing is None:
        most = table.sort_by([("count", "descending"), ("word", "ascending")])
        word, count = most["word"][0].as_py(), most["count"][0].as_py()
        raise UserError(
            f"no word occurs {limits.minimum_count} times (minimum_count): the most frequent of {len(words)}, "
            f"{word[:40]!r}, occurs {count} {'time' if count == 1 else 'times'}. Lower minimum_count or give more text."
        )
    ids = pc.fill_null(known, UNKNOWN_ID).to_numpy().astype(np.int32)
    ids[kept["number"].to_numpy()] = np.arange(len(kept), dtype=np.int32) + len(earlier)
    counted = np.zeros(len(earlier), np.int64)
    if growing is not None:
        met = np.flatnonzero(known.is_valid())
        counted[ids[met]] = counts[met]
        counted[: len(SPECIAL_TOKENS)] = 0
        counted += growing.counts
    return [*earlier, *kept["word"].to_pylist()], np.concatenate([counted, kept["count"].to_numpy()]), ids
