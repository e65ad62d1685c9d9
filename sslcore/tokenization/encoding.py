"""A corpus as token ids on disk: flat files that are memory-mapped, so that any number of readers share one copy.

    ids.bin                int32, little-endian, every token of every document in order
    sentence_offsets.bin   int64: sentence s is ids[offsets[s]:offsets[s + 1]]
    document_offsets.bin   int64: document d is ids[offsets[d]:offsets[d + 1]]; every document begins a sentence
    labels.bin             int32, of a labelled corpus: the number of each document's label, -1 without one
    encoded.json           the counts, the split and the names of the labels
    tokenizer files        as `Tokenizer.save` writes them, so that the folder stands alone

Reading costs nothing at the start and 4 bytes a token of page cache; writing holds one batch in memory.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sslcore.errors import UserError
from sslcore.progress import Progress, silent
from sslcore.tokenization.engine import Fitted
from sslcore.tokenization.registry import OfWords
from sslcore.tokenization.space_separated import SpaceSeparated
from sslcore.tokenization.text_file import encode_text_file
from sslcore.tokenization.token_lists import encode_token_lists
from sslcore.tokenization.tokenizer import Tokenizer, growing_specification

if TYPE_CHECKING:
    import pyarrow as pa

    from sslcore.corpus.shards import Corpus

ID = np.dtype("<i4")
OFFSET = np.dtype("<i8")
NO_LABEL = -1


class EncodedCorpus:
    """Token ids with sentence and document bounds, in memory or mapped from a folder."""

    def __init__(
        self,
        ids: np.ndarray,
        sentence_offsets: np.ndarray,
        document_offsets: np.ndarray,
        tokenizer: Tokenizer,
        labels: np.ndarray | None = None,
        label_names: Sequence[str] = (),
    ) -> None:
        self.ids = ids  # int32[tokens]
        self.sentence_offsets = sentence_offsets  # int64[sentences + 1]
        self.document_offsets = document_offsets  # int64[documents + 1]
        self.tokenizer = tokenizer
        self.labels = labels if labels is not None else np.full(self.documents, NO_LABEL, np.int32)  # int32[documents]
        self.label_names = tuple(label_names)  # by number; none of an unlabelled corpus

    @property
    def tokens(self) -> int:
        """How many tokens there are."""
        return len(self.ids)

    @property
    def sentences(self) -> int:
        """How many sentences there are."""
        return len(self.sentence_offsets) - 1

    @property
    def documents(self) -> int:
        """How many documents there are."""
        return len(self.document_offsets) - 1

    @property
    def labelled(self) -> np.ndarray:
        """bool [documents]: which have a label."""
        return np.asarray(self.labels) != NO_LABEL

    @classmethod
    def open(cls, folder: str | Path) -> "EncodedCorpus":
        """Map what `encode_corpus` wrote. Raises UserError naming the file that is missing or cut short."""
        folder = Path(folder)
        if not (folder / "encoded.json").is_file():
            raise UserError(
                f"{folder} holds no encoded corpus: encoded.json is missing. Give a folder written by encode_corpus."
            )
        return cls._mapped(folder, Tokenizer.load(folder))

    @classmethod
    def from_token_lists(
        cls,
        lists: Iterable[list[str]],
        *,
        minimum_count: int = SpaceSeparated.model_fields["minimum_count"].default,
        vocabulary_size: int = SpaceSeparated.model_fields["vocabulary_size"].default,
        growing: Tokenizer | None = None,
    ) -> "EncodedCorpus":
        """The corpus, in memory, of documents that are lists of tokens already; each is one sentence.

        The tokens are taken to the letter (words, products, users) and the lists are read once, so a generator
        serves. The tokenizer cuts at spaces: encode(" ".join(tokens)) gives the ids of a list. With `growing` it is
        that one, with its ids, and the new words behind: `pretrain(…, continuing=encoder)` goes on with them.
        Raises UserError for no lists, a str in place of a list, a token that is no str or empty, and when no token
        occurs `minimum_count` times.
        """
        limits = _limits(minimum_count, vocabulary_size, growing)
        ids, offsets, fitted = encode_token_lists(lists, limits, growing)
        return cls(ids, offsets, offsets, Tokenizer(limits, *fitted))

    @classmethod
    def from_text_file(
        cls,
        source: str | Path,
        folder: str | Path,
        *,
        minimum_count: int = SpaceSeparated.model_fields["minimum_count"].default,
        vocabulary_size: int = SpaceSeparated.model_fields["vocabulary_size"].default,
        growing: Tokenizer | None = None,
        workers: int | None = None,
        progress: Progress = silent,
    ) -> "EncodedCorpus":
        """The corpus, mapped from `folder`, of a text file of words between ASCII spaces, a document a line.

        What is billions of words long and cut into words already needs no more than this; text that wants cleaning
        goes through ingestion. Same words, same ids as `from_token_lists`. `workers` is threads (default: all cores).
        Raises UserError for a file that cannot be read or holds no words, and when no word occurs `minimum_count`
        times.
        """
        from sslcore.parallel import available_cores

        limits = _limits(minimum_count, vocabulary_size, growing)
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        made: list[Tokenizer] = []

        def keep(fitted: Fitted) -> None:
            made.append(Tokenizer(limits, *fitted))
            made[0].save(folder)

        offsets = encode_text_file(
            Path(source),
            folder / "ids.bin",
            limits,
            growing,
            meanwhile=keep,
            threads=workers or available_cores(),
            progress=progress,
        )
        return cls._written(folder, made[0], offsets)

    @classmethod
    def from_parquet(
        cls,
        source: str | Path,
        column: str,
        folder: str | Path,
        *,
        minimum_count: int = SpaceSeparated.model_fields["minimum_count"].default,
        vocabulary_size: int = SpaceSeparated.model_fields["vocabulary_size"].default,
        growing: Tokenizer | None = None,
        progress: Progress = silent,
    ) -> "EncodedCorpus":
        """The corpus, mapped from `folder`, of sequences of any entity: a Parquet column of lists, a document a row.

        The entities are strings or whole numbers (users, items, products), taken to the letter: 17 is "17". `source` is
        a file or a folder of files. Same entities, same ids as `from_token_lists`.
        Raises UserError for a column that holds something else, and when no entity occurs `minimum_count` times.
        """
        from sslcore.tokenization.sequences import encode_list_column

        limits = _limits(minimum_count, vocabulary_size, growing)
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        offsets, fitted = encode_list_column(
            Path(source), column, folder / "ids.bin", limits, growing, progress=progress
        )
        tokenizer = Tokenizer(limits, *fitted)
        tokenizer.save(folder)
        return cls._written(folder, tokenizer, offsets)

    @classmethod
    def _written(cls, folder: Path, tokenizer: Tokenizer, offsets: np.ndarray) -> "EncodedCorpus":
        """Put the rest beside ids.bin and the tokenizer; every document is one sentence."""
        for name in ("sentence_offsets.bin", "document_offsets.bin"):
            offsets.astype(OFFSET).tofile(folder / name)
        documents = len(offsets) - 1
        counted = {"split": "all", "documents": documents, "sentences": documents, "tokens": int(offsets[-1])}
        (folder / "encoded.json").write_text(json.dumps(counted, indent=1) + "\n", "utf-8")
        return cls._mapped(folder, tokenizer)

    @classmethod
    def _mapped(cls, folder: Path, tokenizer: Tokenizer) -> "EncodedCorpus":
        said = json.loads((folder / "encoded.json").read_text("utf-8"))
        return cls(
            _map(folder / "ids.bin", ID, said["tokens"]),
            _map(folder / "sentence_offsets.bin", OFFSET, said["sentences"] + 1),
            _map(folder / "document_offsets.bin", OFFSET, said["documents"] + 1),
            tokenizer,
            _map(folder / "labels.bin", ID, said["documents"]) if said.get("label_names") else None,
            said.get("label_names", ()),
        )


def _limits(minimum_count: int, vocabulary_size: int, growing: Tokenizer | None) -> OfWords:
    limits = {"minimum_count": minimum_count, "vocabulary_size": vocabulary_size}
    if growing is None:
        return SpaceSeparated(**limits)
    specification = growing_specification(growing)
    return type(specification).model_validate({**specification.model_dump(), **limits})


def encode_corpus(
    corpus: "Corpus", tokenizer: Tokenizer, folder: Path, *, split: str = "train", progress: Progress = silent
) -> dict[str, Any]:
    """Write a split of the corpus as ids into `folder`; returns documents, sentences, tokens, unknown_rate.

    Labels are written beside them, if the corpus has any.

    A document's ids are exactly `tokenizer.encode(text)`; a token belongs to the sentence in which it ends.
    Raises UserError when the split is empty.
    """
    documents = corpus.count(split)
    if documents == 0:
        raise UserError(f"the {split} split of this corpus is empty: nothing to encode. Give more documents.")
    unknown = 0
    with _OffsetWriter(folder / "ids.bin", folder / "sentence_offsets.bin", folder / "document_offsets.bin") as writer:
        for batch in corpus.batches(split, ["text", "sentences"]):
            for part in _slices(batch):
                ids, document_offsets, sentence_offsets = _encode_batch(part, tokenizer)
                writer.write(ids, sentence_offsets, document_offsets)
                unknown += int(np.count_nonzero(ids == tokenizer.unknown_id))
                progress(min(writer.documents / documents, 1.0), f"encoded {writer.tokens:,} tokens")
    tokenizer.save(folder)
    summary = {
        "split": split,
        "documents": writer.documents,
        "sentences": writer.sentences,
        "tokens": writer.tokens,
        "unknown_rate": round(unknown / max(writer.tokens, 1), 6),
    }
    said = {**summary, "label_names": _write_labels(corpus, split, folder)} if corpus.labels else summary
    (folder / "encoded.json").write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return summary


def _write_labels(corpus: "Corpus", split: str, folder: Path) -> list[str]:
    names = corpus.labels
    number = {name: n for n, name in enumerate(names)}
    with (folder / "labels.bin").open("wb") as file:
        for batch in corpus.batches(split, ["label"]):
            file.write(
                np.array([number.get(name, NO_LABEL) for name in batch.column("label").to_pylist()], ID).tobytes()
            )
    return names


def _encode_batch(batch: "pa.RecordBatch", tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ids int32[N], document offsets int64[D + 1], sentence offsets int64[S + 1], all from 0."""
    texts = batch.column("text").to_pylist()
    ids, offsets, ends = tokenizer.encode_with_ends(texts)
    sentences = batch.column("sentences")
    starts = sentences.flatten().field("start").to_numpy().astype(np.int64)
    of_document = np.repeat(np.arange(len(texts)), sentences.value_lengths().to_numpy())
    # One axis for all documents: each takes as many places as it has characters and one more, so that a sentence that
    # begins where its document ends comes after every token of it and before the next document's.
    lengths = np.fromiter(map(len, texts), np.int64, len(texts)) + 1
    base = np.concatenate([[0], np.cumsum(lengths)])
    token_ends = ends + np.repeat(base[:-1], np.diff(offsets))
    inside = np.searchsorted(token_ends, base[of_document] + starts, side="right")
    # The first sentence takes what stands before it, so every document begins one.
    later = np.ones(len(of_document), bool)
    later[np.flatnonzero(np.diff(of_document, prepend=-1))] = False
    bounds = np.sort(np.concatenate([offsets[:-1], inside[later]]))
    return ids, offsets, np.concatenate([bounds, offsets[-1:]])


def _slices(batch: "pa.RecordBatch", rows: int = 4096) -> Iterator["pa.RecordBatch"]:
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


class _OffsetWriter:
    """Appends batches to the three files."""

    def __init__(self, ids: Path, sentence_offsets: Path, document_offsets: Path) -> None:
        self.tokens = self.sentences = self.documents = 0
        self._ids, self._sentences, self._documents = (p.open("wb") for p in (ids, sentence_offsets, document_offsets))

    def __enter__(self) -> "_OffsetWriter":
        zero = np.zeros(1, OFFSET).tobytes()
        self._sentences.write(zero)
        self._documents.write(zero)
        return self

    def write(self, ids: np.ndarray, sentence_offsets: np.ndarray, document_offsets: np.ndarray) -> None:
        self._ids.write(ids.astype(ID, copy=False).tobytes())
        self._sentences.write((sentence_offsets[1:] + self.tokens).astype(OFFSET, copy=False).tobytes())
        self._documents.write((document_offsets[1:] + self.tokens).astype(OFFSET, copy=False).tobytes())
        self.tokens += len(ids)
        self.sentences += len(sentence_offsets) - 1
        self.documents += len(document_offsets) - 1

    def __exit__(self, *_: object) -> None:
        for file in (self._ids, self._sentences, self._documents):
            file.close()


def _map(path: Path, dtype: np.dtype, length: int) -> np.ndarray:
    expected = length * dtype.itemsize
    found = path.stat().st_size if path.is_file() else None
    if found != expected:
        raise UserError(f"{path} has {found} bytes, encoded.json promises {expected}; run the step that made it again")
    # A file without bytes cannot be mapped.
    return np.memmap(path, dtype, "r") if length else np.zeros(0, dtype)
