"""Bytes in any encoding to text, a block at a time.

Nothing is decided while a stream is ASCII. The first chunk that is not decides the encoding of the file, from a sample
of the lines that hold other than ASCII. A later line that is invalid in it is tried on its own (files glued together
from several sources are common); what still does not decode becomes U+FFFD, which `undecodable` finds again.
"""

import codecs
import itertools
import re
from collections.abc import Iterator

from sslcore.corpus.encodings import (
    SAMPLE_BYTES,
    decodes,
    detect,
    detect_line,
    encoding_by_escape,
    encoding_by_mark,
    non_ascii_lines,
)
from sslcore.corpus.raw import MAXIMUM_CHARACTERS

BEGINNING_BYTES = 1 << 12  # a byte order mark is in it whole, and enough zeros to tell UTF-16 without one
LOOKAHEAD_BYTES = 1 << 20
_META_CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?([\w-]+)", re.IGNORECASE)
REPLACEMENT = "\ufffd"
MOST_REPLACED = 0.02
"""A document with a larger share of characters that could not be decoded, and more than one, is rejected."""


def decode(chunks: Iterator[bytes], *, declared_in: str = "") -> Iterator[str]:
    """The text of a file's chunks, in blocks that end with a line where lines are not megabytes long.

    `declared_in="html"`: the page's own declaration of its encoding is believed where it decodes.
    """
    first = b"".join(_take(chunks, BEGINNING_BYTES))
    chunks = itertools.chain([first], chunks)
    if encoding := encoding_by_mark(first):
        yield from _decode_incrementally(chunks, encoding)
        return
    blocks = _whole_lines(chunks)
    for block in blocks:
        if not block.isascii() or b"\x1b$" in block or b"~{" in block:
            break
        yield block.decode("ascii")
    else:
        return
    ahead = [block]
    ahead.extend(_take(blocks, LOOKAHEAD_BYTES - len(block)))
    sample = b"".join(ahead)
    if sample.isascii():
        encoding = encoding_by_escape(sample)
    else:
        encoding = detect(non_ascii_lines(sample, SAMPLE_BYTES), declared=_declared(first) if declared_in else "")
    for block in itertools.chain(ahead, blocks):
        yield _decode_block(block, encoding or "utf-8")


def encoding_of(beginning: bytes) -> str:
    """The encoding that `decode` would settle on for a file that begins so; "ascii" when nothing else shows yet."""
    if encoding := encoding_by_mark(beginning):
        return encoding
    if beginning.isascii():
        return encoding_by_escape(beginning) or "ascii"
    return detect(non_ascii_lines(beginning, SAMPLE_BYTES))


def lines_invalid_in(data: bytes, encoding: str) -> int:
    """How many lines are not valid in the encoding: those that `decode` tries on their own."""
    if encoding.startswith("utf-16") or encoding.startswith("utf-32"):
        return 0
    try:
        data.decode(encoding)
        return 0
    except UnicodeDecodeError:
        whole = data[: data.rfind(b"\n") + 1] or data  # the last line may be cut
        return sum(not decodes(line, encoding) for line in whole.split(b"\n") if not line.isascii())


def undecodable(text: str) -> str:
    """How much of the text could not be decoded, when it is too much to keep; else ""."""
    replaced = text.count(REPLACEMENT)
    if replaced < 2 or replaced <= MOST_REPLACED * len(text):
        return ""
    return f"{replaced} of {len(text)} characters are invalid in every encoding tried"


def lines(blocks: Iterator[str]) -> Iterator[str]:
    r"""The lines of a text without their ends. Only \n and \r\n end a line: U+2028, U+0085 and a form feed do not.

    A line longer than MAXIMUM_CHARACTERS comes cut to one character more than that, the rest of it is left out.
    """
    pending: list[str] = []
    length = 0
    for block in blocks:
        head, *rest = block.split("\n")
        if length <= MAXIMUM_CHARACTERS:
            pending.append(head)
            length += len(head)
        if not rest:
            continue
        yield _line(pending)
        for line in rest[:-1]:
            yield line.removesuffix("\r") if len(line) <= MAXIMUM_CHARACTERS else line[: MAXIMUM_CHARACTERS + 1]
        pending, length = [rest[-1]], len(rest[-1])
    if length:
        yield _line(pending)


def _line(parts: list[str]) -> str:
    return "".join(parts).removesuffix("\r")[: MAXIMUM_CHARACTERS + 1]


def _declared(page: bytes) -> str:
    match = _META_CHARSET.search(page[:4096])
    return match.group(1).decode("ascii") if match else ""


def _decode_incrementally(chunks: Iterator[bytes], encoding: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    for chunk in chunks:
        yield decoder.decode(chunk)
    yield decoder.decode(b"", final=True)


def _whole_lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Cut the stream after line ends: safe in every encoding but UTF-16 and 32, no character of theirs holds 0x0A."""
    pending: list[bytes] = []
    size = 0
    for chunk in chunks:
        cut = chunk.rfind(b"\n") + 1
        if not cut and size < MAXIMUM_CHARACTERS:
            pending.append(chunk)
            size += len(chunk)
            continue
        cut = cut or len(chunk)  # a line of many megabytes: cut anywhere
        yield b"".join([*pending, chunk[:cut]])
        pending, size = [chunk[cut:]], len(chunk) - cut
    if rest := b"".join(pending):
        yield rest


def _take(blocks: Iterator[bytes], size: int) -> Iterator[bytes]:
    while size > 0 and (block := next(blocks, b"")):
        size -= len(block)
        yield block


def _decode_block(block: bytes, encoding: str) -> str:
    try:
        return block.decode(encoding)
    except UnicodeDecodeError:
        return "\n".join(_decode_line(line, encoding) for line in block.split(b"\n"))


def _decode_line(line: bytes, encoding: str) -> str:
    for candidate in (encoding, "utf-8", detect_line(line)):
        try:
            if candidate:
                return line.decode(candidate)
        except UnicodeDecodeError:
            continue
    return line.decode(encoding, "replace")
