"""A corpus through the steps tokenize and encode, and corpora of token lists."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sslcore import contracts
from sslcore.corpus.shards import Corpus
from sslcore.errors import UserError
from sslcore.tokenization import EncodedCorpus, Tokenizer, encode_corpus, fit_tokenizer, write_tokenizer
from sslcore.tokenization.bpe import BPE
from sslcore.tokenization.jieba_words import JiebaWords
from sslcore.tokenization.words import Words

DOCUMENTS = {
    "train": [
        ("en", ["The cat sat. ", "It was 3.14 metres long! ", "Yes."]),
        ("zh", ["我来到北京清华大学。", "北京很大。"]),
        ("en", ["..."]),
        ("en", ["One sentence only: the cat"]),
    ]
    * 50,
    "validation": [("en", ["The dog sat.", " The cat didn't."]), ("zh", ["清华大学在北京。"])],
    "test": [],
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    for split, documents in DOCUMENTS.items():
        rows = []
        for number, (language, parts) in enumerate(documents):
            bounds = np.cumsum([0, *map(len, parts)]).tolist()
            sentences = [{"start": a, "end": b} for a, b in itertools.pairwise(bounds)]
            rows.append(
                {"document_id": str(number), "text": "".join(parts), "sentences": sentences, "language": language}
            )
        pq.write_table(pa.Table.from_pylist(rows, contracts.DOCUMENTS), folder / f"{split}-00000.parquet")
    return Corpus.open(folder)


@pytest.mark.parametrize("specification", [Words(minimum_count=1), JiebaWords(minimum_count=1), BPE()])
def test_an_encoded_document_is_its_text_encoded(corpus: Corpus, tmp_path: Path, specification: Words) -> None:
    tokenizer = fit_tokenizer(specification, corpus.texts("train"))
    summary = encode_corpus(corpus, tokenizer, tmp_path)
    contracts.check_folder("encoded_corpus", tmp_path)
    encoded = EncodedCorpus.open(tmp_path)
    assert isinstance(encoded.ids, np.memmap)
    assert (encoded.documents, encoded.sentences) == (200, 350) == (summary["documents"], summary["sentences"])
    assert encoded.tokens == summary["tokens"] == len(encoded.ids)
    ids, offsets = tokenizer.encode_batch(list(corpus.texts("train")))
    assert np.array_equal(encoded.ids, ids)
    assert np.array_equal(encoded.document_offsets, offsets)
    assert np.isin(encoded.document_offsets, encoded.sentence_offsets).all()


def test_sentences_hold_their_own_words(corpus: Corpus, tmp_path: Path) -> None:
    tokenizer = fit_tokenizer(Words(minimum_count=1), corpus.texts("train"))
    encode_corpus(corpus, tokenizer, tmp_path)
    encoded = EncodedCorpus.open(tmp_path)
    bounds = encoded.sentence_offsets[:9]
    assert [encoded.tokenizer.decode(encoded.ids[a:b]) for a, b in itertools.pairwise(bounds)] == [
        "the cat sat",
        "it was 3.14 metres long",
        "yes",
        "我 来 到 北 京 清 华 大 学",
        "北 京 很 大",
        "",
        "one sentence only the cat",
        "the cat sat",
    ]


def test_write_tokenizer_reports_the_fit_by_language_on_both_sides(corpus: Corpus, tmp_path: Path) -> None:
    heard: list[float] = []
    summary = write_tokenizer(
        Words(minimum_count=1), corpus, tmp_path, progress=lambda fraction, _: heard.append(fraction)
    )
    contracts.check_folder("tokenizer", tmp_path)
    assert heard == sorted(heard)
    assert heard[-1] == 1.0
    json.dumps(summary)
    rows = {(row["split"], row["language"]): row for row in pq.read_table(tmp_path / "fit.parquet").to_pylist()}
    assert list(rows) == [("train", "en"), ("train", "zh"), ("validation", "en"), ("validation", "zh")]
    assert rows["train", "en"]["unknown_rate"] == 0
    unseen = rows["validation", "en"]  # the dog sat the cat didn't
    assert (unseen["documents"], unseen["tokens"], unseen["characters"]) == (1, 6, 28)
    assert unseen["unknown_rate"] == pytest.approx(2 / 6)
    assert rows["validation", "zh"]["tokens_per_character"] == pytest.approx(7 / 8)
    assert Tokenizer.load(tmp_path).tokens[5:10] == ["cat", "the", "京", "北", "大"]  # a hundred times each


def test_pieces_split_words_and_the_report_says_how_often(corpus: Corpus, tmp_path: Path) -> None:
    write_tokenizer(BPE(vocabulary_size=512, minimum_count=1_000), corpus, tmp_path)  # bytes, nothing merged
    rows = pq.read_table(tmp_path / "fit.parquet").to_pylist()
    english = next(row for row in rows if row["split"] == "validation" and row["language"] == "en")
    assert english["split_word_rate"] == 1.0
    assert english["tokens_per_character"] == 1.0


def test_only_the_training_split_makes_the_vocabulary(corpus: Corpus, tmp_path: Path) -> None:
    write_tokenizer(Words(minimum_count=1), corpus, tmp_path)
    assert "dog" not in Tokenizer.load(tmp_path).tokens


def test_an_empty_split_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    tokenizer = fit_tokenizer(Words(minimum_count=1), ["a"])
    with pytest.raises(UserError, match="the test split of this corpus is empty"):
        encode_corpus(corpus, tokenizer, tmp_path, split="test")


def test_a_file_cut_short_is_named(corpus: Corpus, tmp_path: Path) -> None:
    encode_corpus(corpus, fit_tokenizer(Words(minimum_count=1), ["a"]), tmp_path)
    with (tmp_path / "ids.bin").open("r+b") as file:
        file.truncate(8)
    with pytest.raises(UserError, match=r"ids\.bin has 8 bytes"):
        EncodedCorpus.open(tmp_path)
    with pytest.raises(UserError, match=r"encoded\.json is missing"):
        EncodedCorpus.open(tmp_path / "nowhere")


# -- token lists ---------------------------------------------------------------------------------------------------

LISTS = [["the", "cat", "New York"], [], ["the", "[UNK]", "cat", "the"], ["item:42", "中文"]]


def test_token_lists_from_a_generator_read_once() -> None:
    def once() -> Iterator[list[str]]:
        yield from LISTS

    corpus = EncodedCorpus.from_token_lists(once(), minimum_count=1)
    assert corpus.tokenizer.tokens[5:] == ["the", "cat", "New York", "item:42", "中文"]
    assert corpus.document_offsets.tolist() == corpus.sentence_offsets.tolist() == [0, 3, 3, 7, 9]
    assert corpus.ids.tolist() == [5, 6, 7, 5, 1, 6, 5, 8, 9]
    assert corpus.ids.dtype == np.int32
    assert corpus.tokenizer.counts[5:].tolist() == [3, 2, 1, 1, 1]
    assert corpus.tokenizer.encode("item:42 the").tolist() == [8, 5]


def test_rare_tokens_become_unknown() -> None:
    corpus = EncodedCorpus.from_token_lists(LISTS, minimum_count=2)
    assert corpus.ids.tolist() == [5, 6, 1, 5, 1, 6, 5, 1, 1]


def test_many_token_lists_agree_with_a_dictionary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sslcore.tokenization.token_lists.BATCH_TOKENS", 100)
    lists = [[f"w{(n * k) % 37}" for k in range(n % 23)] for n in range(300)]
    corpus = EncodedCorpus.from_token_lists(lists, minimum_count=1)
    tokens = corpus.tokenizer.tokens
    found = [
        [tokens[i] for i in corpus.ids[a:b]]
        for a, b in zip(corpus.document_offsets, corpus.document_offsets[1:], strict=False)
    ]
    assert found == lists


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ([], r"there are no token lists: the iterable is empty"),
        (iter(()), r"there are no token lists"),
        ([[], []], r"all 2 token lists are empty"),
        ("the cat", r"expected an iterable of token lists, got one str"),
        ([["a"], "the cat"], r"list 1 is the str 'the cat'; expected a list of tokens .* Split it first"),
        ([["a"], 7], r"list 1 is 7 \(int\); expected a list of tokens"),
        ([["a"], ["b", 7]], r"list 1, token 1 is 7 \(int\); expected a str"),
        ([["a"], ["b", None]], r"list 1, token 1 is None"),
        ([["a"], [], ["b", ""]], r"list 2 holds an empty token"),
        ([["a", "b", "a"]], r"no word occurs 5 times .* 'a', occurs 2 times. Lower minimum_count"),
    ],
)
def test_wrong_token_lists_are_named(lists: list[list[str]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        EncodedCorpus.from_token_lists(lists)


def test_labels_stand_beside_the_documents_of_a_labelled_corpus(corpus: Corpus, tmp_path: Path) -> None:
    folder, encoded_folder, plain_folder = (tmp_path / name for name in ("labelled", "encoded", "plain"))
    for made in (folder, encoded_folder, plain_folder):
        made.mkdir()
    texts = [("the cat", "pets"), ("the rain", None), ("the sun", "weather"), ("the dog", "pets")] * 10
    rows = [
        {
            "document_id": str(n),
            "text": text,
            "sentences": [{"start": 0, "end": len(text)}],
            "language": "en",
            "label": label,
        }
        for n, (text, label) in enumerate(texts)
    ]
    pq.write_table(pa.Table.from_pylist(rows, contracts.LABELLED_DOCUMENTS), folder / "train-00000.parquet")
    opened = Corpus.open(folder)
    encode_corpus(opened, fit_tokenizer(Words(minimum_count=1), opened.texts("train")), encoded_folder)
    encoded = EncodedCorpus.open(encoded_folder)
    assert encoded.label_names == ("pets", "weather")
    assert encoded.labels[:4].tolist() == [0, -1, 1, 0]
    assert encoded.documents == len(encoded.labels)

    encode_corpus(corpus, fit_tokenizer(Words(minimum_count=1), corpus.texts("train")), plain_folder)
    plain = EncodedCorpus.open(plain_folder)
    assert plain.label_names == ()
    assert set(plain.labels.tolist()) == {-1}
