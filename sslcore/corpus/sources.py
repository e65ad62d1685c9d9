"""Where text comes from: the sources, their files, and the documents of each file.

    files = readable_files(source)       # found, sorted, the first document read: mistakes surface before any work
    fingerprint(files)                   # name → size and SHA-256 of the raw bytes: the first link of the lineage
    for document in read_documents(source, files[0]): ...

Reading streams: memory does not grow with the size of a file. A source is a frozen model with a `kind`; a new one is a
model here, its files in `find`, its reader in `read_documents`.
"""

import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from sslcore.artifacts import FileEntry
from sslcore.corpus import columnar, formats, tables
from sslcore.corpus import installed_documentation as documentation
from sslcore.corpus.compression import chunks, open_raw
from sslcore.corpus.decoding import decode, lines, undecodable
from sslcore.corpus.files import Found, find_files
from sslcore.corpus.mojibake import repair
from sslcore.corpus.raw import RawDocument, RawFile, Rejected, SkippedFile, Unit
from sslcore.errors import UserError

__all__ = [
    "FilesSource", "InstalledDocumentation", "RawDocument", "RawFile", "Rejected", "SkippedFile", "Source",
    "find", "fingerprint", "not_read", "raw_files", "read_documents", "readable_files",
]  # fmt: skip

FOLDER_LABEL = "@folder"
FILE_LABEL = "@file"
MANY_FILES = 10  # from so many txt files on, each is taken for one document


class FilesSource(BaseModel):
    """Files in any of the text and table formats, compressed or not."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Files")

    kind: Literal["files"] = "files"
    paths: tuple[str, ...] = Field(
        min_length=1,
        description="Files, folders (with all below them), globs, URLs (file://, s3://, …), or package:NAME/GLOB for "
        "files that an installed package ships.",
    )
    text: str = Field("", description="Column of the text in tables; empty: found by itself, or asked for.")
    label: str = Field(
        "", description="Column of the label; @folder: name of the folder a file lies in; @file: its name; empty: none."
    )
    document: Literal["auto", "file", "line", "paragraph"] = Field(
        "auto",
        description="What one document of a txt file is. auto: the file where there are ten or more txt files or the "
        "label is @folder; else the paragraph where blank lines separate several lines; else the line.",
    )
    format: Literal["auto", "txt", "md", "html", "csv", "tsv", "jsonl", "parquet", "arrow"] = Field(
        "auto", description="auto: by each file's content and name."
    )


class InstalledDocumentation(BaseModel):
    """Docstrings and descriptions of installed packages; the label of a document is its package."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Documentation of installed packages")

    kind: Literal["installed_documentation"] = "installed_documentation"
    packages: tuple[str, ...] = Field(
        documentation.DEFAULT_PACKAGES, min_length=1, description="Import names of installed packages."
    )
    least_characters: int = Field(200, ge=1, description="Shorter docstrings are left out.")
    hide_package_names: bool = Field(
        True,
        description="Take the packages' own names and usual aliases (pandas, pd., np., …) out of the text, which would "
        "give the label away.",
    )


Source = Annotated[FilesSource | InstalledDocumentation, Field(discriminator="kind")]


def find(source: Source) -> Found:
    """The files of a source, sorted by name, and those below its folders that are not read, with the reason.

    Raises UserError when a path leads nowhere, a file cannot be read or is binary, or nothing remains.
    """
    if isinstance(source, InstalledDocumentation):
        return Found(documentation.documentation_files(source.packages), [])
    found = find_files(
        source.paths,
        None if source.format == "auto" else source.format,
        None if source.document == "auto" else source.document,
    )
    if source.label.startswith("@") and source.label not in (FOLDER_LABEL, FILE_LABEL):
        raise UserError(f"label {source.label!r} is unknown; expected a column, {FOLDER_LABEL} or {FILE_LABEL}")
    if source.text or (source.label and not source.label.startswith("@")):
        found = _only_tables(found, source)
    return found if source.document != "auto" else Found(_with_units(found.files, source.label), found.skipped)


def not_read(found: Found) -> str:
    """What was skipped, for people: counts by reason, each with an example; "" if nothing was."""
    reasons = Counter(file.reason for file in found.skipped)
    examples = {file.reason: file.location for file in reversed(found.skipped)}
    said = "; ".join(f"{count} {reason}, e.g. {examples[reason]}" for reason, count in reasons.most_common())
    return f"not read: {said}" if said else ""


def raw_files(source: Source) -> list[RawFile]:
    """As `find`, without what was skipped."""
    return find(source).files


def readable_files(source: Source) -> list[RawFile]:
    """As `raw_files`, once their first document has been read.

    So a column that is not there, and files in which there is nothing, are said at once. Raises UserError.
    """
    files = raw_files(source)
    if not any(True for file in files for _ in read_documents(source, file)):
        named = files[0].name if len(files) == 1 else f"{len(files)} files ({files[0].name}, …)"
        raise UserError(
            f"no documents in {named}: nothing but empty lines, or a header without rows. Give files that hold text."
        )
    return files


def fingerprint(files: Iterable[RawFile]) -> dict[str, FileEntry]:
    """Size and SHA-256 of the raw bytes of each file by its name, read by a few threads."""

    def entries(some: list[RawFile]) -> list[FileEntry]:
        return list(map(_entry, some))

    files = list(files)
    batches = [files[i : i + 64] for i in range(0, len(files), 64)]  # a future per tiny file costs more than its hash
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        hashed = itertools.chain.from_iterable(pool.map(entries, batches))
        return dict(zip((file.name for file in files), hashed, strict=True))


def read_documents(source: Source, file: RawFile) -> Iterator[RawDocument | Rejected]:
    """The documents of one file, decoded, mojibake repaired, in the order of the file.

    Rows that cannot become documents come as Rejected with a reason. Raises UserError naming file and line when the
    file is not what it seemed: a column missing, broken compression, invalid JSON, a quote never closed.
    """
    for document in read_as_written(source, file):
        if isinstance(document, RawDocument) and not document.text.isascii():
            if why := undecodable(document.text):
                yield Rejected(document.origin, "undecodable", why, document.text[:200])
                continue
            repaired = repair(document.text)
            if repaired is not document.text:
                document = document._replace(text=repaired)
        yield document


def read_as_written(source: Source, file: RawFile) -> Iterator[RawDocument | Rejected]:
    """As `read_documents`, before any repair: what the doctor looks at."""
    if isinstance(source, FilesSource):
        yield from _read_file(source, file)
    else:
        names = documentation.name_pattern(source.packages) if source.hide_package_names else None
        yield from documentation.read_documentation(file, names, source.least_characters)


def _read_file(source: FilesSource, file: RawFile) -> Iterator[RawDocument | Rejected]:
    file_label = {FOLDER_LABEL: file.folder, FILE_LABEL: file.stem}.get(source.label)
    column = "" if source.label.startswith("@") else source.label
    match file.format:
        case "txt" | "md" | "html":
            yield from formats.read_text(file, file_label)
        case "csv" | "tsv":
            columns, rows = tables.delimited(file, source.text, column)
            yield from tables.read_table(rows, columns, file, source.text, column, file_label)
        case "jsonl":
            yield from tables.read_table(tables.json_rows(file), [], file, source.text, column, file_label)
        case _:
            with columnar.columnar(file, source.text, column) as (columns, batches):
                yield from tables.read_table(batches, columns, file, source.text, column, file_label)


def _entry(file: RawFile) -> FileEntry:
    with open_raw(file.location) as raw:
        digest = hashlib.sha256()
        size = 0
        while chunk := raw.read(1 << 20):
            digest.update(chunk)
            size += len(chunk)
    return FileEntry(bytes=size, sha256=digest.hexdigest())


def _with_units(files: list[RawFile], label: str) -> list[RawFile]:
    """What `auto` means for each txt file; see the field's description."""
    texts = sum(file.format == "txt" for file in files)
    if label == FOLDER_LABEL or (texts >= MANY_FILES and label != FILE_LABEL):
        return files
    return [file._replace(document=_unit_of(file)) if file.format == "txt" else file for file in files]


def _unit_of(file: RawFile) -> Unit:
    """Paragraphs when blank lines stand between groups that mostly have several lines, as in books; else lines."""
    sample = list(itertools.islice(lines(decode(chunks(file))), 500))
    groups = [len(list(group)) for blank, group in itertools.groupby(sample, lambda s: not s.strip()) if not blank]
    return "paragraph" if len(groups) > 1 and sum(groups) >= 2 * len(groups) else "line"


def _only_tables(found: Found, source: FilesSource) -> Found:
    """Columns were named, so the notes and pages that lie beside the tables are not meant."""
    plain = [file for file in found.files if file.format in ("txt", "md", "html")]
    tables = [file for file in found.files if file not in plain]
    if plain and not tables:
        column = source.label if source.label and not source.label.startswith("@") else source.text
        raise UserError(
            f"{plain[0].location}: the column {column!r} was asked for, but a {plain[0].format} file has no columns; "
            f"leave it out (for a label: {FOLDER_LABEL} or {FILE_LABEL}), or set format to csv, tsv or jsonl if the "
            "file is a table"
        )
    return Found(tables, found.skipped + [SkippedFile(file.location, "has no columns") for file in plain])
