"""The step `tokenize`: a corpus in, a folder with a tokenizer and its fit report out."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sslcore.progress import Progress, silent
from sslcore.tokenization.registry import Tokenization
from sslcore.tokenization.tokenizer import Tokenizer, fit_tokenizer, grow_tokenizer

if TYPE_CHECKING:
    from sslcore.corpus.shards import Corpus


def write_tokenizer(
    specification: Tokenization,
    corpus: "Corpus",
    folder: Path,
    *,
    growing: Tokenizer | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Fit on the train split, and on nothing else; write the tokenizer and `fit.parquet` into `folder`.

    With a `growing` tokenizer it is that one with the new words behind, and the specification is its own.
    Returns kind, vocabulary_size, and the fit by split and language. Raises UserError when no vocabulary can be made.
    """
    import pyarrow.parquet as pq

    from sslcore.tokenization.fit_report import fit_report

    def fitting(fraction: float, message: str) -> None:
        progress(0.7 * fraction, message)

    texts = _Texts(corpus, "train")
    if growing is None:
        tokenizer = fit_tokenizer(specification, texts, progress=fitting)
    else:
        tokenizer = grow_tokenizer(growing, texts, progress=fitting)
    tokenizer.save(folder)
    progress(0.7, "measuring how the vocabulary fits")
    report = fit_report(tokenizer, corpus)
    pq.write_table(report, folder / "fit.parquet", compression="zstd")
    progress(1.0, f"{tokenizer.vocabulary_size:,} tokens")
    return {
        "kind": tokenizer.specification.kind,
        "vocabulary_size": tokenizer.vocabulary_size,
        "fit": [_rounded(row) for row in report.to_pylist()],
    }


class _Texts:
    """The texts of a split, as often as they are asked for."""

    def __init__(self, corpus: "Corpus", split: str) -> None:
        self._corpus, self._split = corpus, split

    def __len__(self) -> int:
        return self._corpus.count(self._split)

    def __iter__(self) -> Iterator[str]:
        return self._corpus.texts(self._split)


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 5) if isinstance(value, float) else value for name, value in row.items()}
