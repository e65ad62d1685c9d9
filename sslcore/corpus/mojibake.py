"""Text that was decoded in the wrong encoding and saved again: `ÖÐ¹ú`, `ä¸­å›½`, `cafÃ©` for 中国, 中国, café.

Two repairs, each only where it clearly improves. East Asian text comes back through the bytes it once was, even where
some of them are lost, which ftfy does not attempt: the bytes must read as frequent characters of their language. What
remains goes to ftfy (Speer 2019), line by line, since one wrong line in a document is as common as a wrong document.

Text in order costs a flattening to one byte a character and a few substring searches, 2 ns a character or so: there is
no mojibake without an accented letter before a symbol, or three in a row.
"""

import re

import ftfy

from sslcore.corpus.encodings import WESTERN, plausible_east_asian

MOST_ROUNDS = 3  # text saved wrongly twice is known; ftfy's own examples go to four layers, in Latin script

_LETTER, _SYMBOL = b"L", b"S"
_CLASSES = bytes(
    _LETTER[0] if 0xC0 <= byte <= 0xF7 else _SYMBOL[0] if byte >= 0x80 or byte == ord("?") else ord(".")
    for byte in range(256)
)  # "?" stands for all that Latin-1 has not: €, ”, ™ and the like

# Signs of the other wrong readings: UTF-8 seen as cp1251, cp1250, Mac Roman and code page 437.
_OTHER_SIGNS = ("вЂ", "Р°", "Рѕ", "Г‚", "п¬", "Ă", "Ĺ", "√", "‚Ä", "ƒ", "╨", "╤", "├")

_HIGH = "\x80-\xff€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ\ufffd"  # what the bytes from 0x80 become in Latin-1 and cp1252
_SPAN = re.compile(f"[\x01-\x09\x0b-\x7f{_HIGH}]+")  # inside a line, between characters that no byte became
_RUN = re.compile(f"[{_HIGH}]{{4}}")  # long enough to be evidence
_PAIR = re.compile(f"[{_HIGH}]{{2}}")  # long enough to be read again, once there is evidence
_LOST = "\ufffd"
_LOST_BYTE = 0xFF  # part of no character in any encoding concerned
_NO_BREAK_SPACE_LOST = re.compile(rb"([\xe3-\xe9])(?: ([\x80-\xbf])|([\x80-\xbf]) )")
_SIX_BYTES_OF_UTF8 = re.compile(rb"[\xe3-\xe9][\x80-\xbf]{1,2}\xff?[\xe3-\xe9][\x80-\xbf]")


def repair(text: str) -> str:
    """The same object when the text is in order; else the text as it was meant, as far as its bytes survive."""
    if text.isascii() or not suspicious(text):
        return text
    for _ in range(MOST_ROUNDS):
        better = "\n".join(map(_with_ftfy, _east_asian(text).split("\n")))
        if better == text:
            break
        text = better
    return text


def suspicious(text: str) -> bool:
    """Whether the text may hold mojibake: cheap, and wrong now and then (`cliché”`), never the other way."""
    flat = text.encode("latin-1", "replace").translate(_CLASSES)
    return b"LS" in flat or b"LLL" in flat or b"SSL" in flat or any(sign in text for sign in _OTHER_SIGNS)


def _with_ftfy(line: str) -> str:
    return line if line.isascii() or not suspicious(line) else ftfy.fix_encoding(line)


def _east_asian(text: str) -> str:
    """Undo one wrong Western reading of UTF-8, GBK, Big5, Shift-JIS or Korean, if the evidence of all spans says so."""
    if not _RUN.search(text):
        return text
    spans = [span for span in _SPAN.finditer(text) if _PAIR.search(span[0])]
    encoding = _meant(b"\n".join(_bytes_of(span[0]) for span in spans if _RUN.search(span[0])))
    if not encoding:
        return text
    parts: list[str] = []
    end = 0
    for span in spans:
        parts += text[end : span.start()], _read_again(_bytes_of(span[0]), encoding)
        end = span.end()
    return "".join([*parts, text[end:]])


def _meant(data: bytes) -> str:
    """The East Asian encoding that the bytes were in before they were taken for Western text; "" when they were not."""
    characters = [c for c in _read_again(data, "utf-8") if c > "\x7f"]
    good = len(characters) - characters.count(_LOST)
    if _SIX_BYTES_OF_UTF8.search(data):
        east_asian = sum(
            "\u2e80" <= c <= "\u9fff" or "\uac00" <= c <= "\ud7a3" or "\uff00" <= c < _LOST for c in characters
        )
        if east_asian >= 0.5 * good and good >= len(characters) - good:
            return "utf-8"
    if good > 2 * (
        len(characters) - good
    ):  # UTF-8 of other languages: for ftfy, though é é would make two characters of GBK
        return ""
    return plausible_east_asian(data)


def _read_again(data: bytes, encoding: str) -> str:
    if encoding == "utf-8":  # the byte A0 shows as a no-break space, which many programs turn into a plain one
        data = _NO_BREAK_SPACE_LOST.sub(lambda m: m[1] + (b"\xa0" + m[2] if m[2] else m[3] + b"\xa0"), data)
    return re.sub(f"{_LOST}+", _LOST, data.decode(encoding, "replace"))


def _bytes_of(span: str) -> bytes:
    """The bytes behind characters of cp1252 and Latin-1 mixed, as they were before the wrong reading."""
    try:
        return span.encode(WESTERN)
    except UnicodeEncodeError:
        return b"".join(map(_byte_of, span))


def _byte_of(character: str) -> bytes:
    if character == _LOST:
        return bytes([_LOST_BYTE])
    try:
        return character.encode(WESTERN)
    except UnicodeEncodeError:
        return character.encode("latin-1")
