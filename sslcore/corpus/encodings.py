"""Which encoding bytes are in.

UTF-8 first: text of some length in another encoding never happens to be valid UTF-8. Then the East Asian encodings,
judged by the share of *frequent* characters that a reading gives: GB 2312, Big5, JIS X 0208 and KS X 1001 each order
their characters by use, so a right reading falls into the first part of its own table and a wrong one does not.
Everything else is left to charset-normalizer, on a sample of the lines that hold other than ASCII.
"""

import codecs
import functools
from collections.abc import Callable
from typing import NamedTuple

import ftfy.bad_codecs  # noqa: F401 - registers "sloppy-windows-1252": the five bytes cp1252 leaves out pass through

from sslcore.corpus.kinds import wide_encoding

WESTERN = "sloppy-windows-1252"  # what web pages mean by latin-1; Python's cp1252 refuses five bytes
SAMPLE_BYTES = 1 << 16

# Scores of `_plausibility`. Right readings give 0.8 (titles full of names) to 1.9 (Japanese in kana), wrong ones below.
PLAUSIBLE = 0.6
CLEARLY_PLAUSIBLE = 0.75
CLEARLY_WESTERN = 0.8
LEAST_CHARACTERS = 2
MOST_LOST = 0.1

_MARKS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
_ESCAPES = {b"\x1b$B": "iso2022_jp", b"\x1b$@": "iso2022_jp", b"\x1b$)C": "iso2022_kr", b"~{": "hz"}

# The hundred most frequent characters of modern Chinese text, with the traditional forms of those that differ, and the
# most frequent syllables of Korean: the frequent parts of GB 2312 and KS X 1001 lie on the same bytes, these do not.
_FREQUENT_CHINESE = (
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事"
    "成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公此"
    "這個們來為國說時會對於著過發後裡種經麼學現當沒動還進樣開從實軍無與長機"
)
_FREQUENT_KOREAN = (
    "이다는에을의가고하지로사기한도은를어스나서인시리아자그대라정들있해만수보일제부원여상주전과으니것게면요구신우오안"
)
_KANA = "".join(map(chr, range(0x3041, 0x3100)))
_WESTERN_LETTERS = frozenset("àáâãäåæçèéêëìíîïñòóôõöøùúûüýÿßœÀÁÂÄÅÆÇÈÉÊËÍÎÑÓÔÖØÙÚÜ“”‘’–—…«»€£©®°·´•¡¿ªº\xa0")


def encoding_by_mark(head: bytes) -> str:
    """The encoding that a byte order mark, or zeros at every other place, tells; else ""."""
    return next((name for mark, name in _MARKS.items() if head.startswith(mark)), "") or wide_encoding(head)


def encoding_by_escape(head: bytes) -> str:
    """The seven-bit encoding that switches character sets by escape sequences, if this is one and decodes; else ""."""
    for escape, name in _ESCAPES.items():
        if escape in head and decodes(head, name):
            return name
    return ""


def detect(sample: bytes, *, declared: str = "") -> str:
    """The most plausible encoding of bytes that hold some non-ASCII ones; a codec name.

    `declared` is what the document says of itself: believed when it is not UTF-8 and decodes in it.
    A sample cut in the middle of a character does no harm. Costs a millisecond for 64 KiB of UTF-8, a few for East
    Asian text, up to a fifth of a second for the rest.
    """
    if encoding := encoding_by_mark(sample) or encoding_by_escape(sample):
        return encoding
    if _is_utf8(sample):
        return "utf-8"
    telling = non_ascii_lines(sample)
    if (declared := _known(declared)) and decodes(telling, declared):
        return declared
    scores = {
        name: _plausibility(telling.decode(name, "ignore"), language)
        for name, language in _EAST_ASIAN.items()
        if decodes(telling, name)
    }
    best = max(scores, key=scores.__getitem__, default="")
    western = _western_plausibility(telling)
    if best and scores[best] > max(PLAUSIBLE, western):
        return best
    return WESTERN if western > CLEARLY_WESTERN else _by_charset_normalizer(telling)


def plausible_east_asian(data: bytes) -> str:
    """GB 18030, Big5, Shift-JIS, EUC-JP or Korean when the bytes clearly are it, though a few may be lost; else ""."""
    scores: dict[str, float] = {}
    for name, language in _EAST_ASIAN.items():
        text = data.decode(name, "replace")
        characters = sum(c > "\x7f" for c in text)
        if characters >= LEAST_CHARACTERS and text.count("\ufffd") <= MOST_LOST * characters:
            scores[name] = _plausibility(text, language)
    best = max(scores, key=scores.__getitem__, default="")
    return best if best and scores[best] > CLEARLY_PLAUSIBLE else ""


def detect_line(line: bytes) -> str:
    """The encoding of one line that is not in that of its file; "" when nothing explains it well."""
    return plausible_east_asian(line) or (WESTERN if _western_plausibility(line) > CLEARLY_WESTERN else "")


def non_ascii_lines(data: bytes, limit: int = SAMPLE_BYTES) -> bytes:
    """The lines that hold a non-ASCII byte, up to `limit` bytes of them."""
    kept: list[bytes] = []
    size = 0
    for line in data.split(b"\n"):
        if not line.isascii():
            kept.append(line[: limit - size])
            size += len(line) + 1
            if size >= limit:
                break
    return b"\n".join(kept)


def decodes(data: bytes, encoding: str) -> bool:
    """Whether all of it, but for a character cut at the end, is valid in the encoding."""
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        return error.start >= len(data) - 4 and error.start > 0
    return True


def _known(name: str) -> str:
    """The codec a declaration means, with its usual extensions: gb2312 is read as gb18030, latin-1 as cp1252."""
    try:
        canonical = codecs.lookup(name).name if name else ""
    except LookupError:
        return ""
    wider = {"gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs", "shift_jis": "cp932", "euc_kr": "cp949"}
    wider |= {"iso8859-1": WESTERN, "cp1252": WESTERN, "ascii": WESTERN, "utf-8": ""}
    return wider.get(canonical, canonical)


def _is_utf8(sample: bytes) -> bool:
    """Valid, or with so few bad bytes beside many good characters that it can be nothing else."""
    if decodes(sample, "utf-8"):
        return True
    text = sample.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    good = sum(1 for character in text if character > "\x7f") - bad
    return bad < 0.05 * good


def _plausibility(text: str, language: "_Language") -> float:
    """0 to 2: the share of the non-ASCII characters in the frequent part of the language's table, plus the share among
    the few most frequent ones."""
    characters = [c for c in text if c > "\x7f"]
    if not characters:
        return 0.0
    common = language.common()
    frequent = sum(c in common for c in characters)
    very_frequent = sum(c in language.very_frequent for c in characters)
    if language.never_without and not very_frequent:
        frequent //= 2
    return (frequent + very_frequent) / len(characters)


def _western_plausibility(sample: bytes) -> float:
    """Share of the non-ASCII characters that are Western letters or punctuation and touch an ASCII letter or space."""
    text = sample.decode(WESTERN)
    good = total = 0
    for i, character in enumerate(text):
        if character > "\x7f":
            total += 1
            alone = text[i - 1 : i] <= "\x7f" or text[i + 1 : i + 2] <= "\x7f"
            good += alone and character in _WESTERN_LETTERS
    return good / total if total else 0.0


def _by_charset_normalizer(sample: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(sample, enable_fallback=False).best()
    return best.encoding if best is not None else WESTERN


def _rows(codec: str, first: int, last: int) -> Callable[[], frozenset[str]]:
    """The characters of a two-byte table whose first byte lies in first..last: its frequent part."""

    @functools.cache
    def characters() -> frozenset[str]:
        pairs = (bytes([high, low]) for high in range(first, last + 1) for low in range(0x40, 0xFF))
        return frozenset("".join(pair.decode(codec, "ignore") for pair in pairs)) - frozenset(map(chr, range(128)))

    return characters


@functools.cache
def _japanese() -> frozenset[str]:
    """Kana, punctuation and the kanji of JIS level 1 (rows 16 to 47)."""
    return _rows("euc_jp", 0xB0, 0xCF)() | _punctuation() | frozenset(_KANA)


@functools.cache
def _simplified() -> frozenset[str]:
    """GB 2312 level 1: rows 16 to 55, ordered by pronunciation, 3,755 characters of daily use."""
    return _rows("gb2312", 0xB0, 0xD7)() | _punctuation()


@functools.cache
def _chinese() -> frozenset[str]:
    """Both: GB 18030 and GBK hold traditional text too."""
    return _simplified() | _traditional()


@functools.cache
def _traditional() -> frozenset[str]:
    """Big5 level 1: A440 to C67E, 5,401 frequent characters."""
    return _rows("big5", 0xA4, 0xC6)() | _punctuation()


@functools.cache
def _korean() -> frozenset[str]:
    """KS X 1001: 2,350 hangul syllables in rows 16 to 40."""
    return _rows("euc_kr", 0xB0, 0xC8)() | _punctuation()


@functools.cache
def _punctuation() -> frozenset[str]:
    return frozenset("，。、；：？！“”‘’（）《》〈〉「」『』【】〔〕…—～·　") | frozenset(
        map(chr, range(0xFF10, 0xFF5B))
    )


class _Language(NamedTuple):
    common: Callable[[], frozenset[str]]
    very_frequent: str
    never_without: bool = False  # a sentence of Japanese has kana


_EAST_ASIAN = {
    "gb18030": _Language(_chinese, _FREQUENT_CHINESE),
    "big5hkscs": _Language(_traditional, _FREQUENT_CHINESE),
    "cp932": _Language(_japanese, _KANA, never_without=True),
    "euc_jp": _Language(_japanese, _KANA, never_without=True),
    "cp949": _Language(_korean, _FREQUENT_KOREAN),
}
