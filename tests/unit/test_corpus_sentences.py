"""Sentences: the rules by example, and that the spans cover the text in any script."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslcore.corpus.characters import codes_of
from sslcore.corpus.cleaning import clean
from sslcore.corpus.sentences import sentences_of


def sentences(*texts: str) -> list[list[str]]:
    found = sentences_of(codes_of(list(texts)))
    spans = list(zip(found.starts.tolist(), found.ends.tolist(), strict=True))
    return [
        [text[start:end] for start, end in spans[found.offsets[d] : found.offsets[d + 1]]]
        for d, text in enumerate(texts)
    ]


@pytest.mark.parametrize(
    "expected",
    [
        ["He left.", "She stayed!", "Why?"],
        ["Dr. Smith met J. R. Jones in Washington, D.C. on Monday.", "It rained."],
        ['"Come in," he said.', '"Now?" she asked (twice.)', '"Now!"', "Yes."],
        ["Pi is 3.14 exactly.", "See fig. 3 for e.g. this one."],
        ["Wait... what?!", "Oh."],
        ["今天天气很好。", "我们去公园！", "“好的。”", "他说……", "然后走了。"],
        ["これは文です。", "次の文。"],
        ["यह एक वाक्य है।", "यह दूसरा है।"],
    ],
)
def test_sentences_of_one_paragraph(expected: list[str]) -> None:
    joiner = "" if expected[0][-1] == "。" else " "
    assert sentences(joiner.join(expected)) == [expected]


def test_line_ends_end_sentences_but_not_inside_wrapped_text() -> None:
    text = "A title\nThis sentence was\nwrapped at a column.\n\nand a new paragraph"
    assert sentences(text) == [["A title", "This sentence was\nwrapped at a column.", "and a new paragraph"]]


def test_documents_of_a_batch_do_not_touch() -> None:
    assert sentences("One. Two", "", "three", ".") == [["One.", "Two"], [], ["three"], ["."]]


@given(st.lists(st.text(st.sampled_from("aB1 .!?。…\"'”)\n\téß中あ😀-,"), max_size=60), max_size=4))
def test_spans_are_ordered_trimmed_and_cover_everything_visible(texts: list[str]) -> None:
    texts = [clean(text) for text in texts]
    found = sentences_of(codes_of(texts))
    for d, text in enumerate(texts):
        here = slice(found.offsets[d], found.offsets[d + 1])
        covered = [False] * len(text)
        last_end = 0
        for start, end in zip(found.starts[here].tolist(), found.ends[here].tolist(), strict=True):
            assert last_end <= start < end <= len(text)
            assert text[start:end] == text[start:end].strip()
            covered[start:end] = [True] * (end - start)
            last_end = end
        assert all(inside or character.isspace() for inside, character in zip(covered, text, strict=True))
