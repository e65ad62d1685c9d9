"""Text that was decoded in the wrong encoding and saved again."""

import re

import ftfy

_SUSPICIOUS = re.compile("[\x80-\x9f\xa0-\u024f\u2018-\u2122][\x80-\xff\u0152-\u0192\u02c6\u02dc\u2013-\u2122]")


def repair(text: str) -> str:
    """The text itself when it is in order, the repaired text when that is clearly better."""
    if text.isascii() or not _SUSPICIOUS.search(text):
        return text
    return ftfy.fix_encoding(text)
