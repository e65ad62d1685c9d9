"""What ingestion reads: files that were found, and the documents that come out of them.

A document here has been decoded but not yet cleaned; a rejected one names why it could not become a document.
"""

from typing import Literal, NamedTuple

TextFormat = Literal["txt", "md", "html", "csv", "tsv", "jsonl", "parquet", "arrow", "python", "metadata"]
Unit = Literal["file", "line", "paragraph"]

MAXIMUM_CHARACTERS = 1 << 24
"""The longest document that is held in memory; a longer one is rejected as `too_long`, so that memory stays bounded."""


class RawFile(NamedTuple):
    """One file that exists, can be opened and whose kind is known. Pickles: workers may share files between them."""

    name: str  # the same on every machine: from the folder or package that was named, with forward slashes
    size: int  # bytes on disk, compressed if it is
    location: str  # what to open: an absolute path or an fsspec URL; not part of any hash
    format: TextFormat
    compression: Literal["", "gz", "bz2", "xz", "zst"]
    document: Unit  # how a txt becomes documents; "file" for md and html

    @property
    def folder(self) -> str:
        """The name of the folder it lies in: the label of a corpus with a folder per class."""
        return self.location.replace("\\", "/").rstrip("/").rpartition("/")[0].rpartition("/")[2]

    @property
    def stem(self) -> str:
        """Its file name up to the first dot: `pos` of `pos.txt.gz`."""
        return self.name.rpartition("/")[2].split(".")[0]


class SkippedFile(NamedTuple):
    """A file below a folder that is not read, and why: hidden, empty, binary."""

    location: str
    reason: str


class RawDocument(NamedTuple):
    origin: str  # "file:line" or "file"
    text: str
    label: str | None


class Rejected(NamedTuple):
    """A row or file that could not become a document.

    Reasons: missing_text, not_text, wrong_field_count, undecodable, too_long.
    """

    origin: str
    reason: str
    detail: str
    text: str
