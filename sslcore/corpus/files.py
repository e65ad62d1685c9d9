"""From what a person names (files, folders, globs, URLs, `package:NAME/glob`) to a checked list of files.

Everything that can be known without reading on is known here, before any work: that there is something, that it can be
opened, and what each file is. One look at the first bytes of each file; ten thousand files take about a second.
"""

import glob
import importlib.util
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from sslcore.corpus.compression import SUFFIXES, compression_of, decompress, open_raw
from sslcore.corpus.kinds import BINARY_FORMATS, kind_of
from sslcore.corpus.raw import RawFile, SkippedFile, TextFormat, Unit
from sslcore.errors import UserError

HEAD_BYTES = 1 << 14
PACKAGE = "package:"
_GLOB_CHARACTERS = frozenset("*?[")


class Found(NamedTuple):
    files: list[RawFile]
    skipped: list[SkippedFile]


class _Named(NamedTuple):
    """A file by the name it gets, where it lies, and whether the user named this very file."""

    name: str
    location: str
    itself: bool


class Head(NamedTuple):
    size: int
    compression: str
    bytes: bytes  # decompressed


def find_files(paths: tuple[str, ...], asked: TextFormat | None, document: Unit | None) -> Found:
    """The files behind `paths`, sorted by name, each once. `asked` and `document` are None where they are to be found.

    Raises UserError when a path leads nowhere, a file cannot be opened or is binary, or nothing remains to read.
    """
    skipped: list[SkippedFile] = []
    named = {entry.location: entry for path in paths for entry in _expand(path, skipped)}
    entries = _distinct_names(list(named.values()))
    batches = [entries[i : i + 64] for i in range(0, len(entries), 64)]  # a future per small file costs more than it
    with ThreadPoolExecutor(min(8, 2 * (os.cpu_count() or 1))) as pool:  # latency, mostly: network or a cold disk
        looked = pool.map(lambda batch: [look_at(entry.location) for entry in batch], batches)
        heads = list(chain.from_iterable(looked))
    files: list[RawFile] = []
    for entry, head in zip(entries, heads, strict=True):
        file = _classify(entry, head, asked)
        (files if isinstance(file, RawFile) else skipped).append(file)  # type: ignore[arg-type]
    if not files:
        reasons = f"; skipped: {_list(f'{s.location} ({s.reason})' for s in skipped)}" if skipped else ""
        raise UserError(f"{_list(paths)}: nothing to read there{reasons}. Name a file or folder that holds text.")
    files.sort()
    return Found([file._replace(document=document) for file in files] if document else files, skipped)


def look_at(location: str) -> Head:
    """Size and first decompressed bytes of a file. Raises UserError when it cannot be read or decompressed."""
    with open_raw(location) as raw:
        try:
            size = raw.seek(0, os.SEEK_END)
            raw.seek(0)
            first = raw.read(HEAD_BYTES)
        except OSError as error:
            raise UserError(f"{location}: cannot be read: {error.strerror or error}") from error
        compression = compression_of(first)
        if not compression:
            return Head(size, "", first)
        raw.seek(0)
        head = b""
        for chunk in decompress(raw, compression, location):
            head += chunk[:HEAD_BYTES]
            if len(head) >= HEAD_BYTES:
                break
        return Head(size, compression, head[:HEAD_BYTES])


def find_misnamed(files: list[tuple[RawFile, bytes]]) -> list[tuple[RawFile, str]]:
    """Of files and their first decompressed bytes, those whose name says another kind or compression than they have."""
    misnamed = []
    for file, beginning in files:
        suffix = SUFFIXES.get(os.path.splitext(file.location)[1].lower(), "")
        what = kind_of(file.location, beginning[:HEAD_BYTES]).what
        if suffix != file.compression:
            what = what or f"named like {suffix or 'an uncompressed file'}, is {file.compression or 'not compressed'}"
        if what:
            misnamed.append((file, what))
    return misnamed


def package_folder(name: str) -> Path:
    """Where an installed package lies, by import name, without importing it. Raises UserError when it is not there."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not (spec.submodule_search_locations or spec.origin):
        raise UserError(f"the package {name!r} is not installed here; install it (pip install {name}) or leave it out")
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(str(spec.origin))  # a single module


def _classify(entry: _Named, head: Head, asked: TextFormat | None) -> RawFile | SkippedFile:
    if not head.bytes:
        if entry.itself:
            raise UserError(f"{entry.location}: the file is empty; give a file that holds text")
        return SkippedFile(entry.location, "empty")
    kind = kind_of(entry.location, head.bytes)
    if kind.format is None:
        if entry.itself:
            raise UserError(f"{entry.location}: cannot be read as text: {kind.what}")
        return SkippedFile(entry.location, kind.what)
    if asked and (asked in BINARY_FORMATS) != (kind.format in BINARY_FORMATS):
        raise UserError(f"{entry.location}: asked to be read as {asked}, but it is {kind.format}; set format to auto")
    format = asked or kind.format
    return RawFile(entry.name, head.size, entry.location, format, head.compression, "file")  # type: ignore[arg-type]


def _expand(path: str, skipped: list[SkippedFile]) -> Iterator[_Named]:
    if path.startswith(PACKAGE):
        yield from _expand_package(path, skipped)
    elif "://" in path and not path.startswith("file://"):
        yield from _expand_url(path)
    else:
        yield from _expand_local(path.removeprefix("file://"), skipped)


def _expand_local(path: str, skipped: list[SkippedFile]) -> Iterator[_Named]:
    if not path:
        raise UserError("an empty path was given; name a file, a folder or a glob")
    absolute = os.path.abspath(os.path.expanduser(path))
    if os.path.isdir(absolute):
        parent = os.path.dirname(absolute)
        for location in _walk(absolute, skipped):
            yield _Named(os.path.relpath(location, parent).replace(os.sep, "/"), location, False)
    elif os.path.exists(absolute):
        if not os.path.isfile(absolute):
            raise UserError(
                f"{path}: neither a file nor a folder (a pipe or a device); save its content to a file first"
            )
        yield _Named(os.path.basename(absolute), absolute, True)
    elif _GLOB_CHARACTERS & set(path):
        fixed = absolute[: min(absolute.find(c) for c in _GLOB_CHARACTERS if c in absolute)]
        parent = os.path.dirname(os.path.dirname(fixed))
        matches = [m for m in sorted(glob.glob(absolute, recursive=True)) if os.path.isfile(m)]
        if not matches:
            raise UserError(f"{path}: no file matches; look with `ls {path}`, and mind that hidden files never match")
        for location in matches:
            yield _Named(os.path.relpath(location, parent).replace(os.sep, "/"), location, False)
    else:
        near = _nearest(absolute)
        raise UserError(f"{path}: no such file or folder{near}")


def _expand_package(path: str, skipped: list[SkippedFile]) -> Iterator[_Named]:
    package, _, pattern = path.removeprefix(PACKAGE).partition("/")
    if not pattern:
        raise UserError(f"{path}: say which of the package's files, as in package:{package or 'NAME'}/**/*.txt")
    folder = package_folder(package)
    found = [
        match
        for match in sorted(glob.glob(str(folder / pattern), recursive=True))
        if os.path.isfile(match) and not match.endswith((".py", ".pyc", ".so"))
    ]
    if not found:
        raise UserError(f"{path}: the installed package ships no such file; it lies in {folder}")
    for location in found:
        yield _Named(f"{package}/{os.path.relpath(location, folder)}".replace(os.sep, "/"), location, False)


def _expand_url(url: str) -> Iterator[_Named]:
    import fsspec

    try:
        filesystem, path = fsspec.core.url_to_fs(url)
        if _GLOB_CHARACTERS & set(path):
            found = [p for p in filesystem.glob(path) if filesystem.isfile(p)]
        elif filesystem.isdir(path):
            found = filesystem.find(path)
        else:
            found = [path] if filesystem.exists(path) else []
    except (ImportError, ValueError, OSError) as error:
        raise UserError(f"{url}: cannot be reached: {error}") from error
    if not found:
        raise UserError(f"{url}: nothing there; check the address")
    root = os.path.commonpath([os.path.dirname(p) for p in found])
    for location in sorted(found):
        name = os.path.relpath(location, os.path.dirname(root)) if len(found) > 1 else os.path.basename(location)
        if not any(part.startswith(".") for part in name.split("/")):
            yield _Named(name, filesystem.unstrip_protocol(location), location == path)


def _walk(folder: str, skipped: list[SkippedFile]) -> Iterator[str]:
    """Every file below a folder, hidden ones left out and noted. Links to folders are followed once, not in circles."""
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True, onerror=_cannot_list):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        for hidden in [name for name in folders if name.startswith(".") or name == "__pycache__"]:
            folders.remove(hidden)
            skipped.append(SkippedFile(os.path.join(place, hidden), "hidden"))
        folders.sort()
        for name in files:
            if name.startswith("."):
                skipped.append(SkippedFile(os.path.join(place, name), "hidden"))
            elif not os.path.isfile(os.path.join(place, name)):  # opening a pipe would wait for ever
                skipped.append(SkippedFile(os.path.join(place, name), "neither file nor folder"))
            else:
                yield os.path.join(place, name)


def _cannot_list(error: OSError) -> None:
    raise UserError(f"{error.filename}: the folder cannot be listed: {error.strerror}") from error


def _distinct_names(entries: list[_Named]) -> list[_Named]:
    """Names are portable and short; two different files that would share one get the folder above it in front."""
    while True:
        by_name: dict[str, list[_Named]] = {}
        for entry in entries:
            by_name.setdefault(entry.name, []).append(entry)
        clashing = {name for name, same in by_name.items() if len(same) > 1}
        if not clashing:
            return entries
        entries = [_longer_name(entry) if entry.name in clashing else entry for entry in entries]


def _longer_name(entry: _Named) -> _Named:
    path = entry.location.replace(os.sep, "/")
    before = path.removesuffix(entry.name).rstrip("/").rpartition("/")[2]
    return entry._replace(name=f"{before}/{entry.name}" if before else path)


def _nearest(path: str) -> str:
    """Where the path stops existing, and what lies there: most wrong paths are a typing slip."""
    import difflib

    folder, name = os.path.split(path)
    if not os.path.isdir(folder):
        return f"; {folder} does not exist either"
    close = difflib.get_close_matches(name, os.listdir(folder), 1)
    return f"; did you mean {close[0]}?" if close else f"; {folder} exists but holds no {name}"


def _list(items: Iterator[str] | tuple[str, ...], most: int = 5) -> str:
    shown = list(islice(items, most + 1))
    return ", ".join(shown[:most]) + (" …" if len(shown) > most else "")
