"""How well a vocabulary fits a language: tokens per character, unknown rate, words split.

Measured on the training split and on the validation split. The second is the honest one: a word vocabulary always knows
the words it was made of. A word here is a word of UAX #29 (`segmentation.py`) whatever the tokenizer, so that kinds can
be compared; it is split when a token ends inside it.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sslcore import contracts
from sslcore.tokenization.tokenizer import Tokenizer

if TYPE_CHECKING:
    import pyarrow as pa

    from sslcore.corpus.shards import Corpus

SPLITS = ("train", "validation")


class Tally(NamedTuple):
    """Counts that add up over texts."""

    documents: int = 0
    characters: int = 0
    tokens: int = 0
    unknown: int = 0
    words: int = 0
    split_words: int = 0

    def plus(self, other: Sequence[int]) -> "Tally":
        return Tally(*(a + int(b) for a, b in zip(self, other, strict=True)))

    def row(self, split: str, language: str) -> dict[str, str | int | float]:
        """One row of the contract FIT."""
        return {
            "split": split,
            "language": language,
            "documents": self.documents,
            "characters": self.characters,
            "tokens": self.tokens,
            "tokens_per_character": self.tokens / max(self.characters, 1),
            "unknown_rate": self.unknown / max(self.tokens, 1),
            "split_word_rate": self.split_words / max(self.words, 1),
        }


def fit_report(tokenizer: Tokenizer, corpus: "Corpus") -> "pa.Table":
    """A row by split and language (contract FIT), the languages with the most characters first."""
    import pyarrow as pa

    rows = []
    for split in SPLITS:
        tallies = tally_by_language(tokenizer, corpus.batches(split, ["text", "language"]))
        ordered = sorted(tallies.items(), key=lambda item: (-item[1].characters, item[0]))
        rows += [tally.row(split, language) for language, tally in ordered]
    return pa.Table.from_pylist(rows, schema=contracts.FIT)


def tally_by_language(tokenizer: Tokenizer, batches: "Iterable[pa.RecordBatch]") -> dict[str, Tally]:
    """The counts of each language over batches with the columns text and language."""
    tallies: dict[str, Tally] = {}
    for batch in batches:
        languages, of_document = np.unique(batch.column("language").to_pylist(), return_inverse=True)
        measured = tally(tokenizer, batch.column("text").to_pylist())
        for number, language in enumerate(languages.tolist()):
            sums = measured[:, of_document == number].sum(axis=1)
            tallies[language] = tallies.get(language, Tally()).plus(sums)
    return tallies


def tally(tokenizer: Tokenizer, texts: Sequence[str]) -> np.ndarray:
    """The six counts of `Tally` for each text, int64[6, T]."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from sslcore.tokenization.segmentation import normalised, segment_words

    texts = normalised(texts)
    ids, offsets, ends = tokenizer.encode_with_ends(texts)
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    words = segment_words(texts, lowercase=False)
    # All texts on one axis of characters, so that two searches answer for every word at once.
    base = np.cumsum(lengths) - lengths
    token_ends = ends + np.repeat(base, np.diff(offsets))
    word_ends = words.ends + np.repeat(base, np.diff(words.offsets))
    word_starts = word_ends - pc.utf8_length(words.to_arrow()).cast(pa.int64()).to_numpy()
    split = np.searchsorted(token_ends, word_starts, "right") < np.searchsorted(token_ends, word_ends, "left")
    return np.stack(
        [
            np.ones(len(texts), np.int64),
            lengths,
            np.diff(offsets),
            _sums(ids == tokenizer.unknown_id, offsets),
            np.diff(words.offsets),
            _sums(split, words.offsets),
        ]
    )


def _sums(flags: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """How many flags are set between each two offsets, int64[T]."""
    return np.diff(np.concatenate([[0], np.cumsum(flags)])[offsets])
