"""A made corpus that anybody can check by eye: topics are sets of words that stand together."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sslcore.contracts import DOCUMENTS, LABELLED_DOCUMENTS
from sslcore.corpus.shards import Corpus

TOPICS = ("farming", "music", "sailing", "weaving")
WORDS_OF_A_TOPIC = 100
COMMON = [f"common{chr(97 + i)}" for i in range(20)]


def topic_texts(rows: int, seed: int) -> tuple[list[str], list[str]]:
    """Texts and their topics: 4 of a text's 16 words are of its topic, and two texts rarely share one."""
    generator = np.random.default_rng(seed)
    topics = [TOPICS[i % len(TOPICS)] for i in range(rows)]
    texts = []
    for topic in topics:
        own = [f"{topic}{chr(97 + i // 10)}{chr(97 + i % 10)}" for i in generator.integers(WORDS_OF_A_TOPIC, size=4)]
        words = [*own, *generator.choice(COMMON, size=12)]
        texts.append(" ".join(generator.permutation(words)))
    return texts, topics


@pytest.fixture
def corpus_of(tmp_path: Path) -> Callable[..., Corpus]:
    """Write a corpus: split name → (texts, labels or None)."""

    def build(name: str = "corpus", **splits: tuple[list[str], list[str | None] | list[str] | None]) -> Corpus:
        folder = tmp_path / name
        folder.mkdir()
        for split in ("train", "validation", "test"):
            texts, labels = splits.get(split, ([], None if splits["train"][1] is None else []))
            columns = {
                "document_id": [f"{split}{i:06}" for i in range(len(texts))],
                "text": texts,
                "sentences": [[{"start": 0, "end": len(text)}] for text in texts],
                "language": ["en"] * len(texts),
            }
            schema = DOCUMENTS
            if labels is not None:
                columns["label"], schema = labels, LABELLED_DOCUMENTS
            pq.write_table(pa.table(columns, schema=schema), folder / f"{split}-00000.parquet")
        return Corpus.open(folder)

    return build
