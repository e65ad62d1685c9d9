"""A text file counted and encoded in one reading, against Python's own split and Counter."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from sslcore.errors import UserError
from sslcore.tokenization import text_file
from sslcore.tokenization.encoding import EncodedCorpus


def words_of_every_kind(lines: int, seed: int = 0) -> list[str]:
    """Lines of Zipf-distributed words in several scripts, some empty, with tabs and doubled spaces."""
    generator = np.random.default_rng(seed)
    alphabet = np.array(list("abcdefgäßжд中文字日本한ü0_.-"))
    vocabulary = ["".join(generator.choice(alphabet, generator.integers(1, 9))) for _ in range(3000)]
    made = []
    for _ in range(lines):
        chosen = (generator.zipf(1.4, generator.integers(0, 30)) - 1) % len(vocabulary)
        made.append("".join(vocabulary[i] + str(generator.choice([" ", "  ", "\t", " \r"])) for i in chosen))
    return made


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_counts_ids_and_documents_are_those_of_split(
    threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces of 300 bytes, so that words and lines fall on their borders and every thread gets many."""
    monkeypatch.setattr(text_file, "PIECE", 300)
    lines = words_of_every_kind(400)
    (tmp_path / "text").write_text("\n".join(lines), "utf-8")
    corpus = EncodedCorpus.from_text_file(tmp_path / "text", tmp_path / "out", minimum_count=2, workers=threads)
    lists = [line.split() for line in lines if line.split()]
    expected = EncodedCorpus.from_token_lists(lists, minimum_count=2)
    counts = Counter(word for words in lists for word in words)
    assert dict(zip(corpus.tokenizer.tokens[5:], corpus.tokenizer.counts[5:].tolist(), strict=True)) == {
        word: count for word, count in counts.items() if count >= 2
    }
    assert corpus.tokenizer.tokens == expected.tokenizer.tokens
    assert np.array_equal(corpus.ids, expected.ids)
    assert np.array_equal(corpus.document_offsets, expected.document_offsets)
    assert isinstance(corpus.ids, np.memmap)


def test_the_vocabulary_is_cut_exactly_where_it_should_be(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a b b c c c d d d d")
    corpus = EncodedCorpus.from_text_file(tmp_path / "text", tmp_path / "out", minimum_count=1, vocabulary_size=5 + 2)
    assert corpus.tokenizer.tokens[5:] == ["d", "c"]
    assert corpus.tokenizer.decode(corpus.ids[-1:]) == "d"


def test_words_longer_than_a_piece_and_a_last_line_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_file, "PIECE", 64)
    long = "x" * 100_000
    (tmp_path / "text").write_text(f"a {long}\n{long} a", "utf-8")
    corpus = EncodedCorpus.from_text_file(tmp_path / "text", tmp_path / "out", minimum_count=2, workers=2)
    assert corpus.tokenizer.tokens[5:] == ["a", long]
    assert corpus.document_offsets.tolist() == [0, 2, 4]


def test_bytes_that_are_no_utf8_are_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"caf\xe9 caf\xe9 caf\xe9 " * 5)
    with pytest.raises(UserError, match="not UTF-8"):
        EncodedCorpus.from_text_file(tmp_path / "text", tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is empty"),
        (b" \n\t\n ", "no words"),
        (b"a b c", "occurs 5 times"),
    ],
)
def test_what_holds_nothing_to_learn_is_refused(content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "text").write_bytes(content)
    with pytest.raises(UserError, match=message):
        EncodedCorpus.from_text_file(tmp_path / "text", tmp_path / "out")
