"""Cleaning: what goes, what stays, and that a second time changes nothing."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslcore.corpus.cleaning import clean

NASTY = st.text(
    st.one_of(
        st.characters(codec="utf-8"),
        st.sampled_from(
            " \t\n\r\x00\x0b\x0c\x85\xa0\xad\u200b\u200d\u2028\u3000\ufeff\u0301\u0327e\uac00\u1100\u1161\u11a8"
        ),
    ),
    max_size=200,
)


@pytest.mark.parametrize(
    ("given_text", "cleaned"),
    [
        ("e\u0301te\u0301", "\xe9t\xe9"),
        ("a\x00b\x07c\x1b[0m", "abc[0m"),
        ("one\r\ntwo\rthree\u2028four\x85five", "one\ntwo\nthree\nfour\nfive"),
        ("a\xa0\u3000  b", "a b"),
        ("  line  \n\t next\t \n", "line\nnext"),
        ("a\n\n\n\n\nb", "a\n\nb"),
        ("column\tcolumn  \t x", "column\tcolumn\tx"),
        ("\ufeffmark soft\xadhyphen zero\u200bwidth", "mark softhyphen zerowidth"),
        ("lone \ud800 surrogate", "lone surrogate"),
        ("👩\u200d👩\u200d👧 क्\u200dष", "👩\u200d👩\u200d👧 क्\u200dष"),  # joiners carry meaning
        ("e\u200b\u0301", "\xe9"),  # the accent reaches its letter only when what lay between is gone
        ("全角　空格，中文。", "全角 空格，中文。"),
        (" \n\t\x00 ", ""),
    ],
)
def test_what_goes_and_what_stays(given_text: str, cleaned: str) -> None:
    assert clean(given_text) == cleaned


@given(NASTY)
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@given(NASTY)
def test_clean_text_keeps_its_promises(text: str) -> None:
    cleaned = clean(text)
    assert unicodedata.is_normalized("NFC", cleaned)
    assert not [c for c in cleaned if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in "\n\t"]
    assert "  " not in cleaned
    assert "\n\n\n" not in cleaned
    assert cleaned == cleaned.strip()
    cleaned.encode()  # no surrogate is left


@given(NASTY)
def test_no_visible_character_is_lost(text: str) -> None:
    """Letters, digits, punctuation, symbols and marks survive, up to normalisation."""

    def visible(some: str) -> str:
        kept = [c for c in unicodedata.normalize("NFD", some) if unicodedata.category(c)[0] in "LNPSM"]
        return unicodedata.normalize("NFD", "".join(kept))

    assert visible(clean(text)) == visible(text)


def test_a_million_spaces_take_no_time() -> None:
    assert clean("a" + " " * 1_000_000 + "b" + "\n" * 1_000_000 + "c") == "a b\n\nc"
