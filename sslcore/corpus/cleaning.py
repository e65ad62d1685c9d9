"""Text as every later step may expect it: NFC, one kind of line end, single spaces, nothing invisible.

What stays: words, punctuation, case, paragraphs (one empty line between them), tabs, the joiners that emoji and Indic
scripts need. What goes: control characters (NUL too), byte order marks, soft hyphens, zero-width spaces, direction
marks, lone surrogates, non-characters; runs of spaces, space at the ends of lines, more than one empty line.
Cleaning twice changes nothing. A text that is clean already costs a few scans in C, about 15 ns a character.
"""

import re
import unicodedata

_LINE_ENDS = "\r\x0b\x0c\x85\u2028\u2029"
_WIDE_SPACES = "\xa0\u1680\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_REPLACEMENT = dict.fromkeys(_LINE_ENDS, "\n") | dict.fromkeys(_WIDE_SPACES, " ")  # the rest of the unwanted is removed
_UNWANTED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\xa0\xad\u061c\u1680\u180e\u2000-\u200b\u200e\u200f\u2028-\u202f\u205f-\u206f"
    "\u3000\ud800-\udfff\ufdd0-\ufdef\ufeff\ufff9-\ufffb\ufffe\uffff]"
)
_TAB = re.compile("[ \t]*\t[ \t]*")
_EMPTY_LINES = re.compile("\n{3,}")


def clean(text: str) -> str:
    """The text in its clean form; may be empty."""
    # isprintable is false for every unwanted character (and a few wanted ones), and faster than the search.
    if not text.replace("\n", "").isprintable():
        unwanted = set(_UNWANTED.findall(text))
        if "\r" in unwanted:
            text = text.replace("\r\n", "\n")
        for character in unwanted:  # mostly one or two kinds: cheaper than looking each place up
            text = text.replace(character, _REPLACEMENT.get(character, ""))
    # After the removal: taking out an invisible character can bring a letter and its accent together.
    if not text.isascii() and not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
    if "\t" in text:
        text = _TAB.sub("\t", text)
    while "  " in text:  # halves every run: faster than a regular expression, and no run needs more than 25 rounds
        text = text.replace("  ", " ")
    if "\n" in text:
        text = "\n".join([line.strip(" \t") for line in text.split("\n")])
        if "\n\n\n" in text:
            text = _EMPTY_LINES.sub("\n\n", text)
    return text.strip()
