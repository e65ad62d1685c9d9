"""What each Unicode character does to a word: the tables behind `Words`.

The classes follow the Word_Break property of UAX #29 (https://unicode.org/reports/tr29/, Unicode 16 as uniseg holds
it), with four tailorings that the annex allows, chosen for text that is learnt from rather than displayed:

* only segments with a letter, digit, ideograph, kana or pictograph are words; spaces and punctuation are not;
* a full stop joins digits (3.14) but not letters, a colon joins nothing: "end.The" is two words, "torch.nn" too;
* ' ‘ ’ and ＇ are one apostrophe, written ', so that don't and don’t are one word;
* a letter of a script without spaces (Han, Hiragana, Thai, Lao, Khmer, Myanmar) is a word of its own.

The tables take 5.5 MB and some 50 ms, once a process, and do not depend on the Python version's own Unicode data
except for upper and lower case.
"""

from functools import cache

import numpy as np

OTHER, LETTER, NUMERIC, KATAKANA, CONNECTOR, SINGLE, EMOJI, FLAG = range(8)
EXTEND, JOINER, APOSTROPHE, MIDDLE_OF_LETTERS, MIDDLE_OF_DIGITS = range(8, 13)

WORD_BREAK_CLASSES = {
    "ALetter": LETTER,
    "Hebrew_Letter": LETTER,
    "Numeric": NUMERIC,
    "Katakana": KATAKANA,
    "ExtendNumLet": CONNECTOR,
    "Regional_Indicator": FLAG,
    "Extend": EXTEND,
    "Format": EXTEND,
    "ZWJ": JOINER,
    "MidLetter": MIDDLE_OF_LETTERS,
    "MidNum": MIDDLE_OF_DIGITS,
    "MidNumLet": MIDDLE_OF_DIGITS,
}
APOSTROPHES = "'‘’＇"
COLONS = ":\ufe13\ufe55\uff1a"
NARROW_NO_BREAK_SPACE = 0x202F  # joins words in UAX #29, for Mongolian suffixes; French sets it before punctuation
WHITE_SPACE = (
    *range(0x9, 0xE),
    0x20,
    0x85,
    0xA0,
    0x1680,
    *range(0x2000, 0x200B),
    0x2028,
    0x2029,
    0x202F,
    0x205F,
    0x3000,
)
"""The Unicode property of that name, code points."""
CODE_POINTS = 0x110000
DOTTED_CAPITAL_I = 0x130  # the only character whose lower case is two: i and a combining dot
TWO_CHARACTERS = -1  # its entry in the folding table


@cache
def character_classes() -> np.ndarray:
    """The class of every code point, uint8[0x110000]."""
    from uniseg import db_lookups  # a two-stage table: code point → cell → one of some 250 rows of properties

    word_break, alphabetic, pictographic = (
        np.array([row[db_lookups.columns.index(name)] for row in db_lookups.values])
        for name in ("Word_Break", "Alphabetic", "Extended_Pictographic")
    )
    rows = np.zeros(len(word_break), np.uint8)
    rows[(alphabetic == "Y") & (word_break == "")] = SINGLE
    rows[(pictographic == "Y") & (word_break == "")] = EMOJI
    for name, value in WORD_BREAK_CLASSES.items():
        rows[word_break == name] = value
    code = np.arange(CODE_POINTS)
    page = np.frombuffer(db_lookups.index1, np.uint8).astype(np.int64)[code >> db_lookups.shift]
    cell = (page << db_lookups.shift) + (code & ((1 << db_lookups.shift) - 1))
    classes = rows[np.frombuffer(db_lookups.index2, np.uint8)[cell]]
    classes[[ord(c) for c in APOSTROPHES]] = APOSTROPHE
    classes[[ord(c) for c in COLONS]] = OTHER
    classes[NARROW_NO_BREAK_SPACE] = OTHER
    return classes


@cache
def folding(lowercase: bool) -> np.ndarray:
    """What every code point is written as, int32[0x110000]: apostrophes as ', and lower case if asked."""
    table = unfolded().copy()
    if lowercase:
        # Planes 0 and 1 hold every letter that has a case.
        for code in range(0x20000):
            lower = chr(code).lower()
            if ord(lower[0]) != code:
                table[code] = ord(lower) if len(lower) == 1 else TWO_CHARACTERS
    table[[ord(c) for c in APOSTROPHES]] = ord("'")
    return table


@cache
def unfolded() -> np.ndarray:
    """The folding table that changes nothing, int32[0x110000]."""
    return np.arange(CODE_POINTS, dtype=np.int32)


@cache
def word_pattern() -> str:
    """The same words as a regular expression (Oniguruma, which Hugging Face tokenizers use)."""
    letter, numeric, katakana, connector, single, emoji, flag = (_ranges(k) for k in range(LETTER, FLAG + 1))
    extend = f"[{_ranges(EXTEND)}{_ranges(JOINER)}]*"
    apostrophe = _ranges(APOSTROPHE)
    letters = f"[{letter}]{extend}(?:(?:[{apostrophe}{_ranges(MIDDLE_OF_LETTERS)}]{extend})?[{letter}]{extend})*"
    digits = f"[{numeric}]{extend}(?:(?:[{apostrophe}{_ranges(MIDDLE_OF_DIGITS)}]{extend})?[{numeric}]{extend})*"
    unit = f"(?:(?:{letters}|{digits})+|(?:[{katakana}]{extend})+)"
    connectors = f"(?:[{connector}]{extend})+"
    return "|".join(
        [
            f"(?:{connectors})?{unit}(?:{connectors}{unit})*(?:{connectors})?",
            f"[{single}]{extend}",
            f"[{emoji}]{extend}(?:(?<={_ranges(JOINER)})[{emoji}]{extend})*",
            f"[{flag}]{extend}(?:[{flag}]{extend})?",
        ]
    )


def _ranges(value: int) -> str:
    """The code points of a class as the inside of a bracket expression."""
    codes = np.flatnonzero(character_classes() == value)
    breaks = np.flatnonzero(np.diff(codes) > 1)
    firsts = codes[np.concatenate([[0], breaks + 1])]
    lasts = codes[np.concatenate([breaks, [len(codes) - 1]])]
    return "".join(_escape(a) if a == b else f"{_escape(a)}-{_escape(b)}" for a, b in zip(firsts, lasts, strict=True))


def _escape(code: int) -> str:
    return f"\\x{{{code:x}}}"
