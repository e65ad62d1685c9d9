"""The compiled segmenter against the regular expression that says the same, and against what words are."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, normalizers, pre_tokenizers

from sslcore.errors import UserError
from sslcore.tokenization.characters import (
    APOSTROPHES,
    TWO_CHARACTERS,
    character_classes,
    folding,
    word_pattern,
)
from sslcore.tokenization.segmentation import segment_at_spaces, segment_words

SPLITTER = pre_tokenizers.Split(Regex(word_pattern()), behavior="removed", invert=True)
APOSTROPHE = normalizers.Replace(Regex(f"[{APOSTROPHES}]"), "'")

# Characters at which the rules turn, so that random strings meet them.
TURNING = st.sampled_from(
    "aZéßİſΣ'’‘.,:;_-·\u0301\u200d\u00ad\ufe0f 01٣中文のカｶ한กا👩👧🏽🇩🇪©²\n\u3000\U00020000\U0001f469"
)
TEXTS = st.text(st.one_of(TURNING, TURNING, TURNING, st.characters(exclude_categories=["Cs"])), max_size=40)


def words(text: str, *, lowercase: bool = True) -> list[str]:
    return segment_words([text], lowercase=lowercase).to_arrow().to_pylist()


def words_by_regular_expression(text: str) -> list[str]:
    text = APOSTROPHE.normalize_str(unicodedata.normalize("NFC", text))
    return [word for word, _ in SPLITTER.pre_tokenize_str(text)]


@given(TEXTS)
def test_the_compiled_pass_and_the_regular_expression_find_the_same_words(text: str) -> None:
    assert words(text, lowercase=False) == words_by_regular_expression(text)


@given(st.lists(TEXTS, max_size=5))
def test_a_text_has_the_same_words_alone_and_among_others(texts: list[str]) -> None:
    together = segment_words(texts, lowercase=True)
    found = together.to_arrow().to_pylist()
    assert [found[a:b] for a, b in zip(together.offsets, together.offsets[1:], strict=False)] == [
        words(text) for text in texts
    ]


@given(TEXTS)
def test_ends_say_where_each_word_stands(text: str) -> None:
    text = unicodedata.normalize("NFC", text)
    segments = segment_words([text], lowercase=False)
    for word, end in zip(segments.to_arrow().to_pylist(), segments.ends, strict=True):
        assert APOSTROPHE.normalize_str(text[end - len(word) : end]) == word


@given(TEXTS)
def test_words_joined_by_spaces_are_the_same_words(text: str) -> None:
    once = words(text)
    assert words(" ".join(once)) == once


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \t\n", []),
        ("...!?—", []),
        ("The cat, the CAT.", ["the", "cat", "the", "cat"]),
        ("don't don’t l'été", ["don't", "don't", "l'été"]),
        ("'quoted' dogs'", ["quoted", "dogs"]),
        ("3.14 1,000 end.The 10:30", ["3.14", "1,000", "end", "the", "10", "30"]),
        ("num_layers __init__ ___ torch.nn", ["num_layers", "__init__", "torch", "nn"]),
        ("我来到北京。Hello世界", ["我", "来", "到", "北", "京", "hello", "世", "界"]),
        ("カタカナひらがな", ["カタカナ", "ひ", "ら", "が", "な"]),
        ("한국어 텍스트", ["한국어", "텍스트"]),
        ("ภาษา", ["ภ", "า", "ษ", "า"]),
        ("👩‍👩‍👧 👍🏽 🇩🇪🇫🇷", ["👩‍👩‍👧", "👍🏽", "🇩🇪", "🇫🇷"]),
        ("cafe\u0301", ["caf\u00e9"]),
        ("q\u0323\u0307y x\u0307\u0323", ["q\u0323\u0307y", "\u1e8b\u0323"]),
        ("שלום עולם", ["שלום", "עולם"]),
        ("İstanbul STRASSE Straße ΣΑΣ", ["i̇stanbul", "strasse", "straße", "σασ"]),
        ("a\x00b\ufffdc", ["a", "b", "c"]),
        ("l·l", ["l·l"]),
    ],
)
def test_examples(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_folding_never_changes_the_class_of_a_character() -> None:
    classes, folded = character_classes(), folding(True)
    single = folded != TWO_CHARACTERS
    assert np.array_equal(classes[single], classes[folded[single]])


def test_a_million_characters_without_a_space_are_one_word() -> None:
    assert words("a" * 1_000_000 + " b") == ["a" * 1_000_000, "b"]


def test_a_million_apostrophes_take_linear_time() -> None:
    assert words("a" + "'" * 1_000_000 + "b") == ["a", "b"]
    assert words("a'" + "\u0301" * 1_000_000) == ["a"]


@given(TEXTS)
def test_space_separated_is_what_stands_between_white_space(text: str) -> None:
    expected = [word for word, _ in pre_tokenizers.WhitespaceSplit().pre_tokenize_str(text)]
    assert segment_at_spaces([text]).to_arrow().to_pylist() == expected


def test_half_a_surrogate_pair_is_named() -> None:
    with pytest.raises(UserError, match=r"text 1 holds half a surrogate pair .*character 2"):
        segment_words(["fine", "ab\ud83d"], lowercase=True)
