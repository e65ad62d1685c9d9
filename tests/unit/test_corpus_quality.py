"""Quality rules: each breaks on what it is for; the measures are what a slow count says; Chinese needs no spaces."""

from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError

from sslcore.corpus.characters import codes_of
from sslcore.corpus.measures import STOP_WORDS, measures_of
from sslcore.corpus.quality import LONG_TEXT_RULES, RELAX, RULES, Broken, Measures, Quality, first_broken
from sslcore.corpus.words import words_of

ENGLISH = (
    "The river rises in the hills to the north of the town and flows slowly through a wide valley. In spring the snow "
    "melts, and for some weeks its water covers the lower meadows, so that farmers have to move their cattle with "
    "the first warm days. Old people say that winters were longer once. A mill stood where the bridge is now; nobody "
    "remembers who built it, but its wheel lies half buried beside the path. Children play there after school, until "
    "lamps are lit along Market Street and somebody calls them home for supper. On Sundays visitors arrive by train, "
    "walk up to the chapel, look at the famous window of red glass and buy honey from two sisters near the station."
)
CHINESE = (
    "这条河发源于小镇北面的山中，缓缓流过宽阔的谷地。春天积雪融化，有几个星期河水会漫过低处的草地，农民只好把牛群赶到别处。"
    "老人们说从前的冬天更长。如今架桥的地方曾有一座磨坊，没有人记得是谁建造的，水车的轮子半埋在路旁。孩子们放学后在那里玩耍，"
    "直到市场街亮起路灯，有人喊他们回家吃饭。每逢星期日，游客乘火车来到这里，登上教堂，欣赏著名的红色玻璃窗，"
    "再向车站附近的两姐妹买一些蜂蜜带回去送给亲戚朋友。秋天收获之后，家家户户都会酿酒，等到新年才打开坛子请邻居品尝。"
)


def measures(text: str, repetition_from_words: int = 100) -> Measures:
    batch = codes_of([text])
    return measures_of(batch, words_of(batch), repetition_from_words=repetition_from_words)[0]


def broken(text: str, language: str = "en", **thresholds: object) -> Broken | None:
    quality = Quality.model_validate(thresholds)
    return first_broken(measures(text, quality.repetition_from_words), language, quality)


@pytest.mark.parametrize(
    ("text", "language"), [(ENGLISH, "en"), (CHINESE, "zh"), ("很好，下次还来……", "zh"), ("Good value...", "en")]
)
def test_ordinary_text_passes(text: str, language: str) -> None:
    assert broken(text, language, minimum_words=2) is None


@pytest.mark.parametrize(
    ("reason", "text", "detail"),
    [
        ("too_few_words", "Read more", "2 words, fewer than 3"),
        ("few_letters", "call 555 1234 5678 91011 1213", "0.17 of the characters are letters, less than 0.4"),
        ("mean_word_length", "x y z " * 5 + "a", "mean 1.0, outside 2 to 15"),
        ("mean_word_length", "https://example.org/" + "a" * 400 + " two words", "mean 142.7, outside 2 to 15"),
        ("few_words_with_letter", "abcdef ghijkl 1 2 3 4 mnopqr", "0.43 of the words have a letter, less than 0.6"),
        ("symbol_ratio", ENGLISH.replace(" the ", " # … the "), "0.18 # and … per word, more than 0.1"),
        (
            "broken_characters",
            "caf\ufffd na\ufffdve r\ufffdsum\ufffd",
            "0.27 of the characters are broken, more than 0.01",
        ),
        (
            "bullet_lines",
            "\n".join("- " + line for line in ENGLISH.split(". ")),
            "1.00 of the lines start with a bullet",
        ),
        ("ellipsis_lines", "...\n".join(ENGLISH.split(". ")), "of the lines end in …, more than 0.3"),
        ("repeated_lines", ENGLISH + "\nSee also: the town\n" * 4, "of the lines repeat, more than 0.3"),
        ("repeated_ngrams", ENGLISH[:300] + " buy honey now" * 60, "of the text is one 2-gram, more than 0.2"),
        ("repeated_ngrams", ENGLISH + " " + ENGLISH, "of the text is in repeated 5-grams, more than 0.15"),
        ("few_stop_words", " ".join(f"keyword{n} item{n}" for n in range(60)), "0, fewer than 2"),
    ],
)
def test_each_rule_breaks_on_what_it_is_for(reason: str, text: str, detail: str) -> None:
    found = broken(text)
    assert found is not None
    assert found.reason == reason
    assert detail in found.detail


def test_one_line_that_ends_in_an_ellipsis_is_no_list_of_teasers() -> None:
    assert broken(CHINESE + "……", "zh") is None
    assert broken(ENGLISH + " ...") is None


def test_a_run_of_dots_is_one_symbol() -> None:
    assert measures("a…… b ... c ...... # d").symbols == 4


def test_chinese_repetition_is_found_too() -> None:
    found = broken("好评" * 200, "zh")
    assert found is not None
    assert found.reason == "repeated_ngrams"


def test_only_wanted_languages_pass() -> None:
    assert broken(ENGLISH, "en", languages=("zh", "ja")) == Broken("unwanted_language", "en")
    assert broken(CHINESE, "zh", languages=("zh", "ja")) is None


@pytest.mark.parametrize("text", [ENGLISH, ENGLISH + " " + ENGLISH[:200], CHINESE, ENGLISH[:200] * 5, "a b a b a b c"])
def test_measures_are_what_a_slow_count_says(text: str) -> None:
    found = measures(text, repetition_from_words=1)
    import re

    words = [w.lower() for w in re.findall(r"[\u4e00-\u9fff]|[^\W_\u4e00-\u9fff]+", text)]
    stretch = 2 if text is CHINESE else 1
    characters = sum(map(len, words))
    assert found.characters == len(text)
    assert found.words == len(words)
    assert found.pieces == len(text.split())
    assert found.piece_characters == sum(map(len, text.split()))
    assert found.letters == sum(c.isalpha() for c in text)
    assert found.stop_words == sum(w in STOP_WORDS for w in words)
    for n, share in ((2, found.top_2gram), (3, found.top_3gram), (4, found.top_4gram)):
        assert share == pytest.approx(_slow_top(words, n * stretch) / characters)
    for n, share in ((5, found.repeated_5gram), (7, found.repeated_7gram), (10, found.repeated_10gram)):
        assert share == pytest.approx(_slow_repeated(words, n * stretch) / characters)


def test_a_document_is_measured_alike_alone_and_in_a_batch() -> None:
    texts = [ENGLISH, "", CHINESE, "one\ntwo\none", "👍" * 30, ENGLISH[:100]]
    batch = codes_of(texts)
    assert measures_of(batch, words_of(batch), repetition_from_words=100) == [measures(text) for text in texts]


def test_words_ignore_case_and_punctuation_but_not_order() -> None:
    def hashes(text: str) -> list[int]:
        return words_of(codes_of([text])).hashes.tolist()

    assert hashes("Hello, WORLD! Éa") == hashes("hello world éa")
    assert hashes("hello world") != hashes("world hello")
    assert hashes("ab c") != hashes("a bc")
    assert len(hashes("東京2020オリンピック abc")) == 2 + 1 + 6 + 1


def test_every_rule_says_what_to_change() -> None:
    fields = set(Quality.model_fields)
    for reason in [*RULES, *LONG_TEXT_RULES, "too_long", "few_stop_words", "unwanted_language"]:
        assert any(field in RELAX[reason] for field in fields), reason


def test_thresholds_out_of_range_are_refused() -> None:
    with pytest.raises(ValidationError, match="minimum_letter_share"):
        Quality(minimum_letter_share=1.5)
    with pytest.raises(ValidationError, match="nothing could pass"):
        Quality(minimum_mean_word_length=20, maximum_mean_word_length=3)


def _slow_top(words: list[str], n: int) -> int:
    """Characters in the most frequent n-gram; of several the longest; 0 if none comes twice."""
    counts = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    most = max(counts.values(), default=0)
    return max((count * sum(map(len, gram)) for gram, count in counts.items() if count == most > 1), default=0)


def _slow_repeated(words: list[str], n: int) -> int:
    seen: set[tuple[str, ...]] = set()
    i = characters = 0
    while i < len(words) - n + 1:
        gram = tuple(words[i : i + n])
        if gram in seen:
            characters += sum(map(len, gram))
            i += n
        else:
            seen.add(gram)
            i += 1
    return characters


def test_a_million_characters_without_space_are_measured_quickly() -> None:
    assert measures("a" * 1_000_000).words == 1
    assert np.isfinite(measures("中" * 1_000_000).repeated_5gram)
