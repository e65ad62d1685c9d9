"""Bytes of a file, decompressed, a chunk at a time; and what the first bytes say about its kind.

The content decides, never the name: a gzip file called notes.txt is decompressed, a plain file called notes.gz is not.
"""

import bz2
import lzma
import os
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, Literal, cast

import zstandard

from sslcore.corpus.raw import RawFile
from sslcore.errors import UserError

Compression = Literal["", "gz", "bz2", "xz", "zst"]

CHUNK_BYTES = 1 << 20
COMPRESSED_CHUNK_BYTES = 1 << 14  # small, since one compressed byte can hold a thousand

_COMPRESSIONS: dict[bytes, Compression] = {
    b"\x1f\x8b": "gz",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zst",
}
SUFFIXES: dict[str, Compression] = {".gz": "gz", ".bz2": "bz2", ".xz": "xz", ".zst": "zst", ".zstd": "zst"}


def compression_of(head: bytes) -> Compression:
    return next((kind for magic, kind in _COMPRESSIONS.items() if head.startswith(magic)), "")


def open_raw(location: str) -> BinaryIO:
    """Open an absolute path or fsspec URL for reading bytes as they lie there. Raises UserError if that fails."""
    try:
        if "://" not in location:
            return open(location, "rb")
        import fsspec

        return cast(BinaryIO, fsspec.open(location, "rb").open())
    except PermissionError as error:
        raise UserError(f"{location}: may not be read (permission denied); give yourself read permission") from error
    except OSError as error:
        raise UserError(f"{location}: cannot be opened: {error.strerror or error}") from error


def chunks(file: RawFile) -> Iterator[bytes]:
    """The decompressed bytes, in pieces of about a megabyte; constant memory whatever the size.

    Raises UserError naming the file when the compressed data is broken or ends too early.
    """
    with open_raw(file.location) as raw:
        yield from decompress(raw, file.compression, file.location)


def decompress(raw: BinaryIO, compression: Compression, where: str) -> Iterator[bytes]:
    """As `chunks`, of an open file."""
    if not compression:
        yield from _read(raw, CHUNK_BYTES, where)
        return
    try:
        yield from _members(_read(raw, COMPRESSED_CHUNK_BYTES, where), compression)
    except (EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{where}: broken {compression} data ({error}); get the file again, or unpack as much of it as can be "
            "saved and give the unpacked file"
        ) from error


def _read(raw: BinaryIO, size: int, where: str) -> Iterator[bytes]:
    try:
        while chunk := raw.read(size):
            yield chunk
    except IsADirectoryError:
        raise
    except OSError as error:
        raise UserError(f"{where}: cannot be read: {error.strerror or error}") from error


def _members(compressed: Iterator[bytes], compression: Compression) -> Iterator[bytes]:
    """Decompress one or more members that follow each other, as `cat a.gz b.gz` makes them."""
    decompressor: Any = None
    for chunk in compressed:
        while chunk:
            if decompressor is None:
                decompressor = _decompressor(compression)
            elif decompressor.eof:
                chunk = chunk.lstrip(b"\0")  # padding after the last member is allowed
                if not chunk:
                    break
                decompressor = _decompressor(compression)
            if out := decompressor.decompress(chunk):
                yield out
            chunk = decompressor.unused_data if decompressor.eof else b""
    if decompressor is None or not decompressor.eof:
        raise EOFError("it ends before the compressed data does")


def _decompressor(compression: Compression) -> Any:
    match compression:
        case "gz":
            return zlib.decompressobj(wbits=31)
        case "bz2":
            return bz2.BZ2Decompressor()
        case "xz":
            return lzma.LZMADecompressor()
        case _:
            return zstandard.ZstdDecompressor().decompressobj()


def suffix_within(path: str) -> str:
    """The ending that names the format, in lower case, below one that names a compression: `.csv` of `a.csv.gz`."""
    bare, suffix = os.path.splitext(path)
    return os.path.splitext(bare)[1].lower() if suffix.lower() in SUFFIXES else suffix.lower()
