"""What happens to each document by itself: cleaning, measures, language, quality, sentences, fingerprint.

A batch of raw documents becomes two small Arrow files in the working folder, the kept and the dropped, and the
fingerprints that deduplication needs. This is the part that runs in several processes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import xxhash

from sslcore.contracts import DROPPED, SENTENCE
from sslcore.corpus.characters import codes_of
from sslcore.corpus.cleaning import clean
from sslcore.corpus.deduplication import NO_FINGERPRINTS, Fingerprints, concatenated
from sslcore.corpus.language import languages_of
from sslcore.corpus.measures import measures_of
from sslcore.corpus.quality import Quality, first_broken
from sslcore.corpus.raw import RawDocument, RawFile, Rejected
from sslcore.corpus.sentences import Sentences, sentences_of
from sslcore.corpus.signatures import fingerprints_of
from sslcore.corpus.sources import Source, read_documents
from sslcore.corpus.words import words_of

PART = pa.schema(
    [
        pa.field("origin", pa.string()),
        pa.field("document_id", pa.string()),
        pa.field("text", pa.string()),
        pa.field("sentences", pa.list_(SENTENCE)),
        pa.field("language", pa.string()),
        pa.field("label", pa.string()),
        pa.field("words", pa.int32()),
    ]
)
BATCH_CHARACTERS = 1 << 20
BATCH_DOCUMENTS = 1 << 13
SHOWN_CHARACTERS = 500  # of a dropped document


class Batch(NamedTuple):
    """Work for one process: files to read, or documents that were read already (of a file too large for one batch)."""

    number: int
    files: tuple[RawFile, ...]
    documents: tuple[RawDocument | Rejected, ...]
    bytes: int  # about how much of the source this is


class Part(NamedTuple):
    """What became of a batch. The files of part 7 are `7.kept` and `7.dropped` in the working folder."""

    number: int
    fingerprints: Fingerprints  # of the kept documents
    dropped: int
    bytes: int


@dataclass(frozen=True)
class Processor:
    """The function that workers run, with what it needs to know."""

    source: Source
    quality: Quality
    folder: Path

    def __call__(self, batch: Batch) -> Part:
        fingerprints = [NO_FINGERPRINTS]
        dropped = 0
        documents = iter(batch.documents or (d for file in batch.files for d in read_documents(self.source, file)))
        with (
            pa.ipc.new_file(self.folder / f"{batch.number}.kept", PART) as kept_file,  # uncompressed: one text can
            pa.ipc.new_file(self.folder / f"{batch.number}.dropped", DROPPED) as dropped_file,  # be read without all
        ):
            while portion := next_portion(documents):
                result = process(portion, self.quality)
                kept_file.write_batch(result.kept)
                dropped_file.write_batch(result.dropped)
                fingerprints.append(result.fingerprints)
                dropped += result.dropped.num_rows
        return Part(batch.number, concatenated(fingerprints), dropped, batch.bytes)


class Processed(NamedTuple):
    kept: pa.RecordBatch  # PART
    dropped: pa.RecordBatch  # DROPPED
    fingerprints: Fingerprints


def next_portion(documents: Iterator[RawDocument | Rejected]) -> list[RawDocument | Rejected]:
    """The next documents, about BATCH_CHARACTERS of text; empty at the end."""
    portion: list[RawDocument | Rejected] = []
    characters = 0
    for document in islice(documents, BATCH_DOCUMENTS):
        portion.append(document)
        characters += len(document.text)
        if characters >= BATCH_CHARACTERS:
            break
    return portion


def process(documents: list[RawDocument | Rejected], quality: Quality) -> Processed:
    """Clean and judge these documents; what is returned depends on nothing else."""
    dropped: list[tuple[str, str, str, str]] = []
    raw: list[RawDocument] = []
    texts: list[str] = []
    for document in documents:
        if isinstance(document, Rejected):
            dropped.append(document)
            continue
        text = clean(document.text)
        if not text:
            dropped.append((document.origin, "empty_text", f"{len(document.text)} characters, none visible", ""))
        elif len(text) > quality.maximum_characters:
            detail = f"{len(text)} characters, more than {quality.maximum_characters}"
            dropped.append((document.origin, "too_long", detail, text))
        else:
            raw.append(document)
            texts.append(text)

    batch = codes_of(texts)
    words = words_of(batch)
    measures = measures_of(batch, words, repetition_from_words=quality.repetition_from_words)
    languages = languages_of(texts)
    passed = np.ones(len(texts), np.bool_)
    for index, (measure, language) in enumerate(zip(measures, languages, strict=True)):
        if broken := first_broken(measure, language, quality):
            passed[index] = False
            dropped.append((raw[index].origin, broken.reason, broken.detail, texts[index]))

    ids = document_ids(texts)
    table = pa.RecordBatch.from_arrays(
        [
            pa.array([document.origin for document in raw], pa.string()),
            pa.array([f"{first:016x}{second:016x}" for first, second in ids.tolist()], pa.string()),
            pa.array(texts, pa.string()),
            _sentence_lists(sentences_of(batch)),
            pa.array(languages, pa.string()),
            pa.array([document.label for document in raw], pa.string()),
            pa.array(np.diff(words.offsets), pa.int32()),
        ],
        schema=PART,
    )
    prints = fingerprints_of(ids, words)
    if not passed.all():
        table = table.filter(pa.array(passed))
        prints = Fingerprints(*(column[passed] for column in prints))
    return Processed(table, dropped_batch(dropped), prints)


def document_ids(texts: list[str]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """[n, 2]: the 128-bit XXH3 hash of each text's UTF-8, high half first; its 32 hex digits are the document id."""
    halves = np.empty((len(texts), 2), np.uint64)
    for index, text in enumerate(texts):
        halves[index] = divmod(xxhash.xxh3_128_intdigest(text.encode()), 1 << 64)
    return halves


def dropped_batch(rows: list[tuple[str, str, str, str]]) -> pa.RecordBatch:
    """Rows of (origin, reason, detail, text) as a DROPPED table, the text cut to what is needed to recognise it."""
    origins, reasons, details, texts = zip(*rows, strict=True) if rows else ((), (), (), ())
    shown = [clean(text[: 2 * SHOWN_CHARACTERS])[:SHOWN_CHARACTERS] for text in texts]
    return pa.RecordBatch.from_arrays(
        [pa.array(column, pa.string()) for column in (origins, reasons, details, shown)], schema=DROPPED
    )


def _sentence_lists(sentences: Sentences) -> pa.ListArray:
    spans = pa.StructArray.from_arrays(
        [pa.array(sentences.starts, pa.int32()), pa.array(sentences.ends, pa.int32())], fields=list(SENTENCE)
    )
    return pa.ListArray.from_arrays(pa.array(sentences.offsets, pa.int32()), spans, type=pa.list_(SENTENCE))
