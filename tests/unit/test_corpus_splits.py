"""Splits: by content alone, in the shares that were asked for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sslcore.corpus.processing import document_ids
from sslcore.corpus.splits import SPLITS, Splits


def test_shares_are_kept() -> None:
    heads = document_ids([f"document number {n}" for n in range(20_000)])[:, 0]
    shares = np.bincount(Splits(train=0.7, validation=0.2, test=0.1).of(heads), minlength=3) / len(heads)
    assert np.abs(shares - [0.7, 0.2, 0.1]).max() < 0.015  # four standard errors


@given(st.lists(st.text(), max_size=20), st.text())
def test_a_document_keeps_its_split_whatever_stands_around_it(others: list[str], text: str) -> None:
    alone = Splits().of(document_ids([text])[:, 0])[0]
    assert Splits().of(document_ids([*others, text])[:, 0])[-1] == alone


def test_known_documents_stay_where_they_have_always_been() -> None:
    """The assignment is part of the format: were it to change, test documents of old corpora would be trained on."""
    split = Splits().of(document_ids(["alpha", "beta", "gamma", "delta", "春眠不觉晓", "epsilon", "zeta", "eta"])[:, 0])
    assert [SPLITS[i] for i in split] == ["train", "test", "train", "train", "train", "train", "train", "train"]


def test_an_empty_share_gets_nothing_even_at_the_edges() -> None:
    heads = np.array([0, 1, 2**63, 2**64 - 1], np.uint64)
    assert set(Splits(train=0.7, validation=0.3, test=0).of(heads).tolist()) <= {0, 1}
    assert set(Splits(train=1, validation=0, test=0).of(heads).tolist()) == {0}


def test_shares_must_make_one() -> None:
    with pytest.raises(ValidationError, match=r"make 1\.1"):
        Splits(train=0.9, validation=0.1, test=0.1)
