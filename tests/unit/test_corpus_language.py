"""Language identification: offline, ISO 639-1, undetermined when it cannot be told."""

import pytest

from sslcore.corpus.language import UNDETERMINED, languages_of


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The committee has not yet decided when the meeting will take place.", "en"),
        ("THE COMMITTEE HAS NOT YET DECIDED WHEN THE MEETING WILL TAKE PLACE.", "en"),
        ("今天天气很好，我们一起去公园散步吧。", "zh"),
        ("這個問題我們應該怎麼解決才好呢？", "zh"),
        ("值得推荐", "zh"),
        ("质量好", "zh"),
        ("考研热背后的就业之困(图)", "zh"),  # to the model alone Spanish
        ("これは日本語で書かれた文章です。", "ja"),
        ("이 문장은 한국어로 쓰여 있습니다.", "ko"),
        ("Der Ausschuss hat noch nicht entschieden, wann die Sitzung stattfindet.", "de"),
        ("Комитет ещё не решил, когда состоится заседание.", "ru"),
        ("12345 67890 --- 42", UNDETERMINED),
        ("?!", UNDETERMINED),
    ],
)
def test_language(text: str, language: str) -> None:
    assert languages_of([text]) == [language]


def test_a_text_is_answered_alike_alone_and_among_others() -> None:
    texts = ["This is English text.", "Ceci est un texte en français.", "这是中文文本。"] * 5
    assert languages_of(texts) == [languages_of([text])[0] for text in texts]


def test_only_the_beginning_counts() -> None:
    assert languages_of(["This is the beginning of an English text. " * 10 + "这是中文文本。" * 1000]) == ["en"]


def test_codes_have_two_letters_or_are_undetermined() -> None:
    # Cebuano and Waray have no two-letter code; Egyptian Arabic belongs to Arabic.
    texts = [
        "Ang lungsod mao ang sentro sa lalawigan ug adunay daghang tawo.",
        "انا مش عارف ايه اللى حصل النهارده فى مصر",
    ]
    assert all(len(code) == 2 or code == UNDETERMINED for code in languages_of(texts))
