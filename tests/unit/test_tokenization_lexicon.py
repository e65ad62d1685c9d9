"""The compiled hash table against a dictionary."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sslcore.randomness import numpy_generator
from sslcore.tokenization.lexicon import Lexicon
from sslcore.tokenization.segments import Segments, utf8

WORDS = st.lists(st.text(st.sampled_from("ab中\u0301😀 "), max_size=4), max_size=60)


def as_segments(words: list[str]) -> Segments:
    data, bounds = utf8(words)
    return Segments(data, bounds, np.array([0, len(words)]), np.zeros(0, np.int64))


@given(st.lists(WORDS, max_size=4))
def test_counts_are_those_of_a_counter_and_numbers_those_of_first_sight(batches: list[list[str]]) -> None:
    lexicon = Lexicon()
    for batch in batches:
        lexicon.add(as_segments(batch))
    expected = Counter(word for batch in batches for word in batch)
    assert dict(zip(lexicon.words().to_pylist(), lexicon.counts().tolist(), strict=True)) == expected
    assert lexicon.words().to_pylist() == list(expected)


def test_it_grows_past_many_words_and_long_ones() -> None:
    generator = numpy_generator(0, "words")
    words = [f"w{n}" for n in generator.integers(0, 50_000, 200_000)] + ["x" * 100_000, "y" * 99_999]
    lexicon = Lexicon()
    lexicon.add(as_segments(words))
    assert dict(zip(lexicon.words().to_pylist(), lexicon.counts().tolist(), strict=True)) == Counter(words)
    numbers = lexicon.look_up(as_segments([*words, "unseen"]), -7)
    assert numbers[-1] == -7
    assert lexicon.words().take(numbers[:-1]).to_pylist() == words


def test_a_lexicon_of_words_numbers_them_as_given() -> None:
    words = ["c", "a", "", "b"]
    assert Lexicon.of(words).look_up(as_segments(["b", "a", "z", ""]), 9).tolist() == [3, 1, 9, 2]
