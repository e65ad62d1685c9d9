"""Where words begin, from ids alone: in English by spaces and punctuation, in Chinese by jieba."""

import numpy as np
import pytest
import rjieba

from sslcore.tokenization.bpe import BPE
from sslcore.tokenization.registry import Tokenization
from sslcore.tokenization.tokenizer import Tokenizer, fit_tokenizer
from sslcore.tokenization.unigram import Unigram
from sslcore.tokenization.word_piece import WordPiece
from sslcore.tokenization.word_starts import WordStarts
from sslcore.tokenization.words import Words

ENGLISH = "Unbelievable foxes jumped, didn't they? In 1984 machines learned-well."
CHINESE = "自然语言处理很有趣，我们喜欢机器学习。"
KINDS = [WordPiece(vocabulary_size=600, lowercase=False), BPE(vocabulary_size=600), Unigram(vocabulary_size=600)]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.kind)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    specification: Tokenization = request.param
    return fit_tokenizer(specification, [ENGLISH, CHINESE] * 30 + [f"word{i} 学习{i}" for i in range(200)])


def words_of(tokenizer: Tokenizer, text: str) -> list[str]:
    ids = tokenizer.encode(text)
    starts = np.flatnonzero(WordStarts(tokenizer)(ids))
    assert starts[0] == 0
    pieces = np.split(ids, starts[1:])
    return [tokenizer.decode(piece).replace(" ", "") for piece in pieces]


def test_english_words_are_what_stands_between_spaces_and_punctuation(tokenizer: Tokenizer) -> None:
    expected = ["Unbelievable", "foxes", "jumped", ",", "didn", "'", "t", "they", "?", "In", "1984", "machines"]
    found = [word for word in words_of(tokenizer, ENGLISH) if word]
    # A vocabulary may hold "'t" or "n'" as one piece: what counts is that words are whole and apart.
    assert "".join(found) == ENGLISH.replace(" ", "")
    assert [word for word in found if word.isalnum() and len(word) > 2][:5] == [w for w in expected if len(w) > 2][:5]
    assert {"1984", "machines", "learned", "well"} <= set(found)


def test_chinese_words_are_jiebas_wherever_the_vocabulary_allows(tokenizer: Tokenizer) -> None:
    found = [word for word in words_of(tokenizer, CHINESE) if word]
    assert "".join(found) == CHINESE
    bounds = set(np.cumsum([len(word) for word in rjieba.cut(CHINESE)]).tolist())
    _, _, ends = tokenizer.encode_with_ends([CHINESE])
    possible = bounds & set(ends.tolist())  # a piece may reach over a word's end
    assert {int(end) for end in np.cumsum([len(word) for word in found])} == possible


def test_a_mixed_text_keeps_both(tokenizer: Tokenizer) -> None:
    found = words_of(tokenizer, "foxes喜欢机器学习machines")
    assert "".join(found) == "foxes喜欢机器学习machines"
    if tokenizer.specification.kind == "word_piece":
        assert found == ["foxes", "喜欢", "机器", "学习", "machines"]


def test_the_ids_of_a_text_are_the_tokenizers_own_and_special_tokens_stand_alone(tokenizer: Tokenizer) -> None:
    ids = np.concatenate([[2], tokenizer.encode(ENGLISH), [3, 2], tokenizer.encode(CHINESE), [3]])
    starts = WordStarts(tokenizer)(ids)
    assert starts[ids < 5].all()
    inner = WordStarts(tokenizer)(tokenizer.encode(CHINESE))
    assert starts[-1 - len(inner) : -1].tolist() == inner.tolist()


def test_in_a_vocabulary_of_words_every_token_is_one() -> None:
    tokenizer = fit_tokenizer(Words(), [ENGLISH] * 6)
    assert WordStarts(tokenizer)(tokenizer.encode(ENGLISH)).all()
