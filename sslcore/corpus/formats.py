"""Plain text, Markdown and HTML files to documents."""

from collections.abc import Iterator

from sslcore.corpus.compression import chunks
from sslcore.corpus.decoding import decode, lines
from sslcore.corpus.raw import MAXIMUM_CHARACTERS, RawDocument, RawFile, Rejected


def read_text(file: RawFile, label: str | None) -> Iterator[RawDocument | Rejected]:
    """The documents of a txt, md or html file: the whole file, its lines or its paragraphs. Blank lines are none."""
    match file.format, file.document:
        case "txt", "line":
            yield from _read_lines(file, label)
        case "txt", "paragraph":
            yield from _read_paragraphs(file, label)
        case _:
            yield _read_whole(file, label)


def _read_lines(file: RawFile, label: str | None) -> Iterator[RawDocument | Rejected]:
    for number, line in enumerate(lines(decode(chunks(file))), start=1):
        if len(line) > MAXIMUM_CHARACTERS:
            yield too_long(f"{file.name}:{number}", line)
        elif line and not line.isspace():
            yield RawDocument(f"{file.name}:{number}", line, label)


def _read_paragraphs(file: RawFile, label: str | None) -> Iterator[RawDocument | Rejected]:
    """Runs of lines between blank ones, joined again with line ends; the origin is the first line's number."""
    paragraph: list[str] = []
    start = length = 0
    number = 0
    for number, line in enumerate(lines(decode(chunks(file))), start=1):
        if line and not line.isspace():
            if not paragraph:
                start = number
            if length <= MAXIMUM_CHARACTERS:
                paragraph.append(line)
                length += len(line) + 1
        elif paragraph:
            yield _paragraph(file, start, paragraph, label)
            paragraph, length = [], 0
    if paragraph:
        yield _paragraph(file, start, paragraph, label)


def _paragraph(file: RawFile, start: int, paragraph: list[str], label: str | None) -> RawDocument | Rejected:
    text = "\n".join(paragraph)
    origin = f"{file.name}:{start}"
    return too_long(origin, text) if len(text) > MAXIMUM_CHARACTERS else RawDocument(origin, text, label)


def _read_whole(file: RawFile, label: str | None) -> RawDocument | Rejected:
    parts: list[str] = []
    length = 0
    for block in decode(chunks(file), declared_in=file.format):
        parts.append(block)
        length += len(block)
        if length > MAXIMUM_CHARACTERS:
            return too_long(file.name, parts[0], hint=file.format == "txt")
    text = "".join(parts)
    if file.format == "html":
        from sslcore.corpus.html import main_text

        text = main_text(text)
        if not text.strip():
            return Rejected(file.name, "missing_text", "the page holds no main text", "")
    elif file.format == "md":
        from sslcore.corpus.markdown import plain_text

        text = plain_text(text)
    if not text.strip():
        return Rejected(file.name, "missing_text", "the file holds only white space", "")
    return RawDocument(file.name, text, label)


def too_long(origin: str, text: str, *, hint: bool = False) -> Rejected:
    detail = f"longer than {MAXIMUM_CHARACTERS} characters"
    return Rejected(origin, "too_long", detail + ("; set document to line or paragraph" if hint else ""), text[:200])
