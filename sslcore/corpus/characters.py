"""What each Unicode character is, as bit flags in a table that compiled loops can index.

Text goes through the compiled loops of this package as code points (uint32), a batch of documents end to end: positions
are then character offsets, as in Python strings, and no script is a special case.
"""

import unicodedata
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LETTER = 1
DIGIT = 2
MARK = 4  # combining: belongs to the letter before it
SPACE = 8
NEWLINE = 16
UNSPACED = 32  # a letter of a script that writes no spaces between words
LOWER = 64
UPPER = 128
SYMBOL = 256
STOP = 512  # . ! ?  end a sentence when space follows
FULL_STOP = 1024  # 。！？  end a sentence whatever follows
CLOSER = 2048  # quotes and brackets that still belong to the sentence they close
BULLET = 4096
ELLIPSIS = 8192

# Han with its marks and iteration signs, kana, bopomofo; Thai, Lao, Myanmar, Khmer.
_UNSPACED_RANGES = (
    (0x0E01, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3021, 0x312F),
    (0x31A0, 0x31BF), (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9F),
    (0x1B000, 0x1B16F),
)  # fmt: skip
_STOPS = ".!?‼⁇⁈⁉؟۔।॥"
_FULL_STOPS = "。！？｡．…‥"
_CLOSERS = "\"')]}»’”›」』）】〕》〉］｝＂＇"
_BULLETS = "•‣▪▫●○◦⁃∙·*-–—■□►▶"  # the last few as RedPajama and datatrove count them
_COMMON_PLANES = 0x20000
_IDEOGRAPHS = slice(0x20000, 0x40000)  # planes 2 and 3 hold nothing else
_LETTER_CATEGORIES = {"Lu": LETTER | UPPER, "Ll": LETTER | LOWER, "Lt": LETTER | UPPER, "Lm": LETTER, "Lo": LETTER}


class CharacterTable(NamedTuple):
    flags: NDArray[np.uint16]  # [0x110000]
    lower: NDArray[np.uint32]  # [0x20000] one-to-one lower case; code points beyond have no case


class Codes(NamedTuple):
    """A batch of documents as code points: document d is `codes[offsets[d]:offsets[d + 1]]`."""

    codes: NDArray[np.uint32]
    offsets: NDArray[np.int64]


@cache
def character_table() -> CharacterTable:
    """The table, built once per process in about 60 ms."""
    flags = np.zeros(0x110000, np.uint16)
    lower = np.arange(_COMMON_PLANES, dtype=np.uint32)
    for code in range(_COMMON_PLANES):
        character = chr(code)
        category = unicodedata.category(character)
        flags[code] = _LETTER_CATEGORIES.get(category) or {"N": DIGIT, "M": MARK, "S": SYMBOL}.get(category[0], 0)
        if character.isspace():
            flags[code] = SPACE
        small = character.lower()
        if len(small) == 1:
            lower[code] = ord(small)
    for start, end in _UNSPACED_RANGES:
        stretch = flags[start : end + 1]
        stretch[stretch & LETTER > 0] |= UNSPACED
    flags[_IDEOGRAPHS] = LETTER | UNSPACED
    flags[ord("〇")] = LETTER | UNSPACED  # the Chinese zero is written like any other character
    flags[ord("\n")] = SPACE | NEWLINE
    for characters, flag in (
        (_STOPS, STOP), (_FULL_STOPS, FULL_STOP), (_CLOSERS, CLOSER), (_BULLETS, BULLET), ("…", ELLIPSIS),
    ):  # fmt: skip
        for character in characters:
            flags[ord(character)] |= flag
    flags.setflags(write=False)
    lower.setflags(write=False)
    return CharacterTable(flags, lower)


def codes_of(texts: list[str]) -> Codes:
    """The batch as code points. Texts must be encodable: no lone surrogates (cleaning removes them)."""
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=offsets[1:])
    return Codes(np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32), offsets)
