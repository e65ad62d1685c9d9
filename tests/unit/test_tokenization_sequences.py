"""Sequences of any entity from a Parquet column of lists, against the same lists given as Python lists."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sslcore
from sslcore.errors import UserError
from sslcore.tokenization import sequences
from sslcore.tokenization.encoding import EncodedCorpus


def baskets(rows: int, seed: int = 0) -> list[list[int]]:
    generator = np.random.default_rng(seed)
    return [(generator.zipf(1.3, generator.integers(0, 12)) % 500).tolist() for _ in range(rows)]


def written(path: Path, column: Any) -> Path:
    pq.write_table(pa.table({"row": pa.array(range(len(column))), "basket": column}), path, row_group_size=100)
    return path


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.int64()),
        pa.large_list(pa.int32()),
        pa.list_(pa.string()),
        pa.list_(pa.large_string()),
        pa.list_(pa.dictionary(pa.int32(), pa.string())),
    ],
    ids=str,
)
def test_ids_counts_and_sequences_are_those_of_the_lists(
    kind: pa.DataType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequences, "BATCH_ROWS", 70)
    lists = baskets(1000)
    of_strings = [[str(item) for item in basket] for basket in lists]
    whole = pa.types.is_integer(kind.value_type)
    column = pa.array(lists if whole else of_strings, kind)
    corpus = EncodedCorpus.from_parquet(
        written(tmp_path / "baskets.parquet", column), "basket", tmp_path / "out", minimum_count=3
    )
    expected = EncodedCorpus.from_token_lists([basket for basket in of_strings if basket], minimum_count=3)
    assert corpus.tokenizer.tokens == expected.tokenizer.tokens
    assert corpus.tokenizer.counts.tolist() == expected.tokenizer.counts.tolist()
    assert np.array_equal(corpus.ids, expected.ids)
    assert np.array_equal(corpus.document_offsets, expected.document_offsets)


def test_rows_that_are_null_are_no_sequences_and_a_folder_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    written(tmp_path / "in" / "a.parquet", pa.array([["x", "y"], None, []], pa.list_(pa.string())))
    written(tmp_path / "in" / "b.parquet", pa.array([["y", "x", "x"]], pa.list_(pa.string())))
    corpus = EncodedCorpus.from_parquet(tmp_path / "in", "basket", tmp_path / "out", minimum_count=1)
    assert corpus.document_offsets.tolist() == [0, 2, 5]
    assert corpus.tokenizer.decode(corpus.ids) == "x y y x x"


def test_products_bought_together_lie_together(tmp_path: Path) -> None:
    """Products 0–19 are bought with each other, and 20–39: the nearest of every product is one of its own group."""
    generator = np.random.default_rng(0)
    groups = generator.integers(0, 2, 3000)
    lists = [(generator.choice(20, 6, replace=False) + 20 * group).tolist() for group in groups]
    file = written(tmp_path / "baskets.parquet", pa.array(lists))
    corpus = EncodedCorpus.from_parquet(file, "basket", tmp_path / "out")
    encoder = sslcore.pretrain(sslcore.SkipGram(dimensions=16, subsampling=0, deterministic=True), corpus, seed=0)
    for product in range(40):
        near = [int(word) for word, _ in encoder.nearest([str(product)], n=10)[0]]
        assert {other // 20 for other in near} == {product // 20}


@pytest.mark.parametrize(
    ("column", "asked", "expected"),
    [
        (pa.array([["a"]]), "items", "column 'items' .* is not there; .* like that: basket"),
        (pa.array([1.5]), "basket", "column 'basket' .* is double; expected lists"),
        (pa.array([[1.5]]), "basket", "expected lists of strings or whole numbers. Columns like that: none"),
        (pa.array([["a"], ["b", None]]), "basket", "row 1 .* null or an empty string"),
        (pa.array([["a"], [""]]), "basket", "row 1 .* null or an empty string"),
        (pa.array([[], None], pa.list_(pa.string())), "basket", "only empty lists"),
        (pa.array([["a", "b"]]), "basket", "no word occurs 5 times"),
    ],
)
def test_what_cannot_be_used_is_said(column: Any, asked: str, expected: str, tmp_path: Path) -> None:
    file = written(tmp_path / "baskets.parquet", column)
    with pytest.raises(UserError, match=expected):
        EncodedCorpus.from_parquet(file, asked, tmp_path / "out")


def test_what_is_no_parquet_is_said(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        EncodedCorpus.from_parquet(tmp_path / "text.parquet", "basket", tmp_path / "out")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        EncodedCorpus.from_parquet(tmp_path / "missing.parquet", "basket", tmp_path / "out")
