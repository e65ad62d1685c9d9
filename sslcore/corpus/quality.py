"""Which documents are worth learning from: one small function per rule, each with its name, threshold and reason.

The rules and most thresholds are those of MassiveText (Rae et al. 2021, "Scaling Language Models: Methods, Analysis &
Insights from Training Gopher", section A.1.1 and Table A1), as datatrove and RedPajama also use them:

    quality                           repetition, at most
    words                50–100,000   share of lines that repeat another       0.30
    mean word length     3–10         share of characters in them              0.20
    # or … per word      ≤ 0.1        characters in the top 2-, 3-, 4-gram     0.20 0.18 0.16
    lines with bullet    ≤ 0.9        characters in repeated 5- … 10-grams     0.15 0.14 0.13 0.12 0.11 0.10
    lines ending in …    ≤ 0.3
    words with a letter  ≥ 0.8
    English stop words   ≥ 2

Where ours differ it is because they judge web pages and we also take reviews, questions and docstrings: the least
number of words is 3, not 50, and the rules that count repetition, symbols, layout and stop words are silent below 100
words, where saying a phrase twice already breaks them. In scripts without spaces every character counts as a word (see
words.py), and the rules about the length of words do not apply; the 100 words are 200 characters there, and an n-gram
is 2n (see measures.py).
"""

from collections.abc import Callable
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Measures(NamedTuple):
    """What the rules need to know of one document. Shares are of characters that are not space, unless named."""

    characters: int
    words: int
    unspaced_words: int  # of them: characters of scripts without spaces
    pieces: int  # separated by space
    piece_characters: int
    pieces_with_letter: int
    letters: int
    symbols: int  # "#" and "…" or "...", as Gopher counts them; a run of dots is one
    broken: int  # U+FFFD: what could not be decoded
    lines: int  # not empty
    bullet_lines: int
    ellipsis_lines: int
    stop_words: int  # English ones
    repeated_lines: int  # that are the same as an earlier line
    repeated_line_characters: int
    top_2gram: float  # share of the words' characters that lie in the most frequent one
    top_3gram: float
    top_4gram: float
    repeated_5gram: float  # share of the words' characters that lie in n-grams that came before
    repeated_6gram: float
    repeated_7gram: float
    repeated_8gram: float
    repeated_9gram: float
    repeated_10gram: float


class Quality(BaseModel):
    """Thresholds of the quality rules. A document that breaks one is dropped and listed with the rule's name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    minimum_words: int = Field(3, ge=0, description="Fewer words are dropped (too_few_words). Gopher: 50.")
    maximum_characters: int = Field(
        1_000_000, ge=1, description="Longer documents are dropped (too_long); 100,000 words are about 600,000."
    )
    minimum_mean_word_length: float = Field(2.0, ge=0, description="Characters between spaces. Gopher: 3.")
    maximum_mean_word_length: float = Field(15.0, ge=1, description="Characters between spaces. Gopher: 10.")
    minimum_letter_share: float = Field(0.4, ge=0, le=1, description="Letters among characters (few_letters).")
    minimum_words_with_letter: float = Field(0.6, ge=0, le=1, description="Share of words. Gopher: 0.8.")
    maximum_symbols_per_word: float = Field(0.1, ge=0, description="Marks # and … per word. Gopher: 0.1.")
    maximum_broken_share: float = Field(0.01, ge=0, le=1, description="Characters that could not be decoded.")
    maximum_bullet_lines: float = Field(0.9, ge=0, le=1, description="Share of lines. Gopher: 0.9.")
    maximum_ellipsis_lines: float = Field(0.3, ge=0, le=1, description="Share of lines ending in … . Gopher: 0.3.")
    minimum_stop_words: int = Field(2, ge=0, description="the, be, to, of, and, that, have, with; English only.")
    maximum_repeated_lines: float = Field(0.3, ge=0, le=1, description="Share of lines. Gopher: 0.3.")
    maximum_repeated_line_characters: float = Field(0.2, ge=0, le=1, description="Share of characters. Gopher: 0.2.")
    maximum_top_ngrams: tuple[float, float, float] = Field(
        (0.20, 0.18, 0.16), description="Share of characters in the most frequent 2-, 3- and 4-gram of words."
    )
    maximum_repeated_ngrams: tuple[float, float, float, float, float, float] = Field(
        (0.15, 0.14, 0.13, 0.12, 0.11, 0.10),
        description="Share of characters in repeated 5-, 6-, 7-, 8-, 9- and 10-grams of words.",
    )
    repetition_from_words: int = Field(
        100,
        ge=0,
        description="Shorter documents are not judged by repetition, symbols, layout and stop words "
        "(in scripts without spaces: with fewer than twice as many characters).",
    )
    languages: tuple[str, ...] = Field(
        (), description="Keep only these (ISO 639-1, und = undetermined); empty keeps all (unwanted_language)."
    )

    @model_validator(mode="after")
    def _lengths_are_in_order(self) -> "Quality":
        if self.minimum_mean_word_length > self.maximum_mean_word_length:
            raise ValueError("minimum_mean_word_length is larger than maximum_mean_word_length: nothing could pass")
        return self


class Broken(NamedTuple):
    """The rule a document breaks, and by what value."""

    reason: str
    detail: str


_ENOUGH_LINES = 4

Rule = Callable[[Measures, Quality], str]
"""The value that breaks the rule, in words, or "" when the document keeps it."""


def too_few_words(m: Measures, q: Quality) -> str:
    return f"{m.words} words, fewer than {q.minimum_words}" if m.words < q.minimum_words else ""


def few_letters(m: Measures, q: Quality) -> str:
    return _below(m.letters, m.piece_characters, q.minimum_letter_share, "of the characters are letters")


def mean_word_length(m: Measures, q: Quality) -> str:
    if _is_mostly_unspaced(m) or m.pieces == 0:
        return ""
    mean = m.piece_characters / m.pieces
    if q.minimum_mean_word_length <= mean <= q.maximum_mean_word_length:
        return ""
    return f"mean {mean:.1f}, outside {q.minimum_mean_word_length:g} to {q.maximum_mean_word_length:g}"


def few_words_with_letter(m: Measures, q: Quality) -> str:
    if _is_mostly_unspaced(m):
        return ""
    return _below(m.pieces_with_letter, m.pieces, q.minimum_words_with_letter, "of the words have a letter")


def symbol_ratio(m: Measures, q: Quality) -> str:
    return _above(m.symbols, m.words, q.maximum_symbols_per_word, "# and … per word")


def broken_characters(m: Measures, q: Quality) -> str:
    return _above(m.broken, m.piece_characters, q.maximum_broken_share, "of the characters are broken")


def bullet_lines(m: Measures, q: Quality) -> str:
    return _above_lines(m.bullet_lines, m.lines, q.maximum_bullet_lines, "of the lines start with a bullet")


def ellipsis_lines(m: Measures, q: Quality) -> str:
    return _above_lines(m.ellipsis_lines, m.lines, q.maximum_ellipsis_lines, "of the lines end in …")


def repeated_lines(m: Measures, q: Quality) -> str:
    return _above(m.repeated_lines, m.lines, q.maximum_repeated_lines, "of the lines repeat") or _above(
        m.repeated_line_characters, m.piece_characters, q.maximum_repeated_line_characters, "of it in repeated lines"
    )


def repeated_ngrams(m: Measures, q: Quality) -> str:
    top = zip((m.top_2gram, m.top_3gram, m.top_4gram), q.maximum_top_ngrams, strict=True)
    for n, (share, maximum) in enumerate(top, start=2):
        if share > maximum:
            return f"{share:.2f} of the text is one {n}-gram, more than {maximum:g}"
    again = (
        m.repeated_5gram,
        m.repeated_6gram,
        m.repeated_7gram,
        m.repeated_8gram,
        m.repeated_9gram,
        m.repeated_10gram,
    )
    for n, (share, maximum) in enumerate(zip(again, q.maximum_repeated_ngrams, strict=True), start=5):
        if share > maximum:
            return f"{share:.2f} of the text is in repeated {n}-grams, more than {maximum:g}"
    return ""


def few_stop_words(m: Measures, q: Quality) -> str:
    return f"{m.stop_words}, fewer than {q.minimum_stop_words}" if m.stop_words < q.minimum_stop_words else ""


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (too_few_words, few_letters, mean_word_length, few_words_with_letter, broken_characters)
}
"""For every document, in the order they are asked."""

LONG_TEXT_RULES: dict[str, Rule] = {
    rule.__name__: rule for rule in (symbol_ratio, bullet_lines, ellipsis_lines, repeated_lines, repeated_ngrams)
}
"""Only from `repetition_from_words` words on."""


def first_broken(measures: Measures, language: str, quality: Quality) -> Broken | None:
    """The first rule that the document breaks, None when it keeps them all."""
    if quality.languages and language not in quality.languages:
        return Broken("unwanted_language", language)
    for name, rule in RULES.items():
        if detail := rule(measures, quality):
            return Broken(name, detail)
    if measures.words < quality.repetition_from_words * (2 if _is_mostly_unspaced(measures) else 1):
        return None
    for name, rule in LONG_TEXT_RULES.items():
        if detail := rule(measures, quality):
            return Broken(name, detail)
    if language == "en" and (detail := few_stop_words(measures, quality)):
        return Broken("few_stop_words", detail)
    return None


RELAX: dict[str, str] = {
    "too_few_words": "minimum_words",
    "too_long": "maximum_characters",
    "few_letters": "minimum_letter_share",
    "mean_word_length": "minimum_mean_word_length or maximum_mean_word_length",
    "few_words_with_letter": "minimum_words_with_letter",
    "symbol_ratio": "maximum_symbols_per_word",
    "broken_characters": "maximum_broken_share",
    "bullet_lines": "maximum_bullet_lines",
    "ellipsis_lines": "maximum_ellipsis_lines",
    "repeated_lines": "maximum_repeated_lines and maximum_repeated_line_characters",
    "repeated_ngrams": "repetition_from_words, maximum_top_ngrams or maximum_repeated_ngrams",
    "few_stop_words": "minimum_stop_words",
    "unwanted_language": "languages",
}
"""reason → the threshold to change, for the message that everything was dropped."""


def _is_mostly_unspaced(m: Measures) -> bool:
    return m.unspaced_words * 2 > m.words


def _above(count: int, whole: int, maximum: float, what: str) -> str:
    share = count / whole if whole else 0.0
    return f"{share:.2f} {what}, more than {maximum:g}" if share > maximum else ""


def _above_lines(count: int, lines: int, maximum: float, what: str) -> str:
    """As `_above`, where there are lines enough to speak of a share: one line may well end in an ellipsis."""
    return _above(count, lines, maximum, what) if lines >= _ENOUGH_LINES else ""


def _below(count: int, whole: int, minimum: float, what: str) -> str:
    share = count / whole if whole else 0.0
    return f"{share:.2f} {what}, less than {minimum:g}" if share < minimum else ""
