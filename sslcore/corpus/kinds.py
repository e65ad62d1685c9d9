"""What kind of file this is: by its first bytes where they say so, else by its ending.

A parquet file called data.csv is read as parquet, JSON lines called data.txt as JSON lines. A binary file is
never text.
"""

import json
import re
from typing import NamedTuple

from sslcore.corpus.compression import suffix_within
from sslcore.corpus.raw import TextFormat

BY_SUFFIX: dict[str, TextFormat] = {
    ".txt": "txt", ".text": "txt", ".md": "md", ".markdown": "md", ".html": "html", ".htm": "html", ".xhtml": "html",
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
    ".parquet": "parquet", ".pq": "parquet", ".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow",
    ".arrows": "arrow",
}  # fmt: skip

BINARY_FORMATS: tuple[TextFormat, ...] = ("parquet", "arrow")

_MAGIC: dict[bytes, str] = {
    b"PK\x03\x04": "zip archive (also docx, xlsx, epub); unpack it and name the folder",
    b"%PDF": "PDF; extract its text first, for instance with pdftotext",
    b"\x89PNG": "PNG image",
    b"\xff\xd8\xff": "JPEG image",
    b"GIF8": "GIF image",
    b"\x7fELF": "program",
    b"SQLite format 3\0": "SQLite database; export its table as CSV",
    b"\xd0\xcf\x11\xe0": "old Office document; save it as text",
    b"7z\xbc\xaf\x27\x1c": "7-Zip archive; unpack it and name the folder",
    b"Rar!": "RAR archive; unpack it and name the folder",
}
_CONTROLS = bytes([*range(9), *range(14, 27), *range(28, 32), 127])
_TAR_MAGIC_AT = 257
LEAST_CONTROLS = 8  # a few of them in a short text are dirt, not a program


class Kind(NamedTuple):
    """`format` is None for a binary file, and `what` says which; else `what` says how the name misleads, or nothing."""

    format: TextFormat | None
    what: str


def kind_of(path: str, head: bytes) -> Kind:
    """The kind of a file from its path and its first decompressed bytes (a few thousand)."""
    named = BY_SUFFIX.get(suffix_within(path))
    if head.startswith(b"PAR1"):
        return Kind("parquet", _misnamed(named, "parquet"))
    if head.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return Kind("arrow", _misnamed(named, "arrow"))
    if what := binary_kind(head):
        return Kind(None, what)
    if named in BINARY_FORMATS:
        return Kind(None, f"not a {named} file although it is named so; it seems to be text: rename it")
    if named in ("txt", "csv", "tsv", None):
        if _is_json_lines(head):
            return Kind("jsonl", _misnamed(named, "jsonl"))
        if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html)\b", head, re.IGNORECASE):
            return Kind("html", _misnamed(named, "html"))
    return Kind(named or "txt", "")


def binary_kind(head: bytes) -> str:
    """What binary thing the bytes are, or "" for text in whatever encoding."""
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            return what
    if head[_TAR_MAGIC_AT : _TAR_MAGIC_AT + 5] == b"ustar":
        return "tar archive; unpack it and name the folder"
    if head and not looks_like_wide_text(head):
        controls = len(head) - len(head.translate(None, _CONTROLS))
        if controls > max(LEAST_CONTROLS, 0.05 * len(head)):
            return f"binary file ({controls / len(head):.0%} control characters at its beginning)"
    return ""


def looks_like_wide_text(head: bytes) -> bool:
    """Whether the zeros in it are those of UTF-16 or UTF-32: there is a byte order mark, or zeros keep to one phase."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")):
        return True
    return wide_encoding(head) != ""


def wide_encoding(head: bytes) -> str:
    """UTF-16 or UTF-32 and its byte order, when there is no mark, from where the zero bytes fall; else ""."""
    count = len(head) // 4
    if count < 2:
        return ""
    zeros = [head[phase : 4 * count : 4].count(0) / count for phase in range(4)]
    if min(zeros[2], zeros[3]) > 0.9 and zeros[0] < 0.3:
        return "utf-32-le"
    if min(zeros[0], zeros[1]) > 0.9 and zeros[3] < 0.3:
        return "utf-32-be"
    # Chinese has zeros only beside its spaces, digits and line ends; what never happens in text is a zero unit.
    even, odd = zeros[0] + zeros[2], zeros[1] + zeros[3]
    if odd > 0.1 and even < 0.02:
        return "utf-16-le"
    if even > 0.1 and odd < 0.02:
        return "utf-16-be"
    return ""


def _is_json_lines(head: bytes) -> bool:
    first = head.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n", 1)
    if len(first) < 2 or not first[0].startswith(b"{"):
        return False
    try:
        return isinstance(json.loads(first[0]), dict)
    except ValueError:
        return False


def _misnamed(named: TextFormat | None, found: TextFormat) -> str:
    return f"named like {named}, is {found}" if named not in (None, found) else ""
