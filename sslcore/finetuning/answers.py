"""How good answers to questions are: exact match and F1 as the scripts of SQuAD 1.1, SQuAD 2.0 and CMRC 2018 count.

English (Rajpurkar et al. 2016, 2018): answers are compared in lower case, without punctuation and articles; F1 is of
the words that both have. Chinese (Cui et al. 2019): without punctuation; F1 is of the longest run of characters that
both have, where a word in letters or digits counts as one. CMRC's script cuts what is not Chinese with nltk's
tokenizer; the rule here cuts all but 6 of 8,176 answers and pieces of passages of CMRC 2018's dev set as that does.

The score of a row is its best over the true answers; a row without any is right if nothing is said.
"""

import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

AnswerLanguage = Literal["english", "chinese"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = set(string.punctuation)
# As CMRC's script lists it; its "……" stands for two characters and so matches none.
_CHINESE_PUNCTUATION = set("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_HAN = re.compile("[\u4e00-\u9fa5]")
_BREAKS = r"\s()\[\]{}<>;@#$%&?!\",—"  # stand alone, but a comma before a digit
_WORDS = re.compile(rf"[^{_BREAKS}]+(?:,\d[^{_BREAKS}]*)*|\S")
_LAST_STOP = re.compile(r"\.$")
CHINESE_SHARE = 0.3  # of the characters of passages: English ones have far fewer, Chinese ones far more


class AnswerScores(NamedTuple):
    """In 0..1."""

    exact_match: float
    f1: float


def language_of(texts: Iterable[str]) -> AnswerLanguage:
    """By the share of Chinese characters in all texts together."""
    characters = chinese = 0
    for text in texts:
        characters += len(text)
        chinese += len(_HAN.findall(text))
    return "chinese" if chinese > CHINESE_SHARE * characters else "english"


def normalised(answer: str) -> str:
    """In lower case, without punctuation and articles, one space between words."""
    letters = "".join(character for character in answer.lower() if character not in _PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", letters).split())


def answer_scores(said: str, true: Sequence[str], language: AnswerLanguage, *, unanswerable: bool) -> AnswerScores:
    """Of one row. With `unanswerable` rows in the set, SQuAD's version 2 counts: an answer may be nothing."""
    if not true:
        nothing = not (normalised(said) if language == "english" else said)
        return AnswerScores(float(nothing), float(nothing))
    if language == "chinese":
        exact = [_without_punctuation(said) == _without_punctuation(answer) for answer in true]
        return AnswerScores(float(any(exact)), max(_run_f1(_units(said), _units(answer)) for answer in true))
    wanted = [normalised(answer) for answer in true]
    if unanswerable:
        wanted = [answer for answer in wanted if answer] or [""]
    got = normalised(said)
    scores = [_word_f1(got.split(), answer.split(), nothing_is_right=unanswerable) for answer in wanted]
    return AnswerScores(float(got in wanted), max(scores))


def _word_f1(got: list[str], wanted: list[str], *, nothing_is_right: bool) -> float:
    if nothing_is_right and not (got and wanted):
        return float(got == wanted)
    common = sum((Counter(got) & Counter(wanted)).values())
    return 2 * common / (len(got) + len(wanted)) if common else 0.0


def _run_f1(got: list[str], wanted: list[str]) -> float:
    common = longest_common_run(got, wanted)
    return 2 * common / (len(got) + len(wanted)) if common else 0.0


def longest_common_run(first: Sequence[str], second: Sequence[str]) -> int:
    """The length of the longest run that both have, in units."""
    longest = 0
    ending = [0] * (len(second) + 1)  # the common run that ends before this place of the second
    for unit in first:
        before = 0
        for place, other in enumerate(second, start=1):
            before, ending[place] = ending[place], before + 1 if unit == other else 0
            longest = max(longest, ending[place])
    return longest


def _without_punctuation(answer: str) -> str:
    return "".join(character for character in answer.lower().strip() if character not in _CHINESE_PUNCTUATION)


def _units(answer: str) -> list[str]:
    """Chinese characters, and words of what is not Chinese."""
    units: list[str] = []
    other = ""
    for character in _without_punctuation(answer):
        if _HAN.match(character):
            units += [*_words(other), character]
            other = ""
        else:
            other += character
    return units + _words(other)


def _words(text: str) -> list[str]:
    return _WORDS.findall(_LAST_STOP.sub(" .", text))
