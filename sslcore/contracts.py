"""The tables on disk: what each holds, and the one function that checks it.

Every artefact is checked against this page before its manifest is written, so whatever reads it later need not check.
"""

from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sslcore.errors import ContractError

SENTENCE = pa.struct([pa.field("start", pa.int32(), nullable=False), pa.field("end", pa.int32(), nullable=False)])
"""Character offsets into `text`, end exclusive."""

DOCUMENTS = pa.schema(
    [
        pa.field("document_id", pa.string(), nullable=False),  # hex of the clean text's hash: same text, same id
        pa.field("text", pa.string(), nullable=False),
        pa.field("sentences", pa.list_(SENTENCE), nullable=False),
        pa.field("language", pa.string(), nullable=False),  # ISO 639-1, "und" when it cannot be told
    ]
)
LABELLED_DOCUMENTS = DOCUMENTS.append(pa.field("label", pa.string(), nullable=True))  # null: this row has no label

DROPPED = pa.schema(
    [
        pa.field("origin", pa.string(), nullable=False),  # file, and row or line where it has one
        pa.field("reason", pa.string(), nullable=False),  # a name of sslcore.corpus.quality, decoding or deduplication
        pa.field("detail", pa.string(), nullable=False),  # the value that broke the rule, or the document it repeats
        pa.field("text", pa.string(), nullable=False),  # the first characters, enough to recognise it
    ]
)
SOURCES = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
    ]
)
VOCABULARY = pa.schema(
    [
        pa.field("id", pa.int32(), nullable=False),
        pa.field("token", pa.string(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),  # in the training split; 0 for special tokens
    ]
)
FIT = pa.schema(
    [
        pa.field("split", pa.string(), nullable=False),  # train, validation: the second shows what it has not seen
        pa.field("language", pa.string(), nullable=False),
        pa.field("documents", pa.int64(), nullable=False),
        pa.field("characters", pa.int64(), nullable=False),
        pa.field("tokens", pa.int64(), nullable=False),
        pa.field("tokens_per_character", pa.float64(), nullable=False),
        pa.field("unknown_rate", pa.float64(), nullable=False),  # unknown tokens / tokens
        pa.field("split_word_rate", pa.float64(), nullable=False),  # words made of more than one token / words
    ]
)
LABELLED_TEXTS = pa.schema([pa.field("text", pa.string()), pa.field("label", pa.string())])
MULTI_LABELLED_TEXTS = pa.schema([pa.field("text", pa.string()), pa.field("label", pa.list_(pa.string()))])
TAGGED_TOKENS = pa.schema([pa.field("tokens", pa.list_(pa.string())), pa.field("tags", pa.list_(pa.string()))])
LABELLED_PAIRS = pa.schema(
    [pa.field("text", pa.string()), pa.field("text_b", pa.string()), pa.field("label", pa.string())]
)
SCORED_PAIRS = pa.schema(
    [pa.field("text", pa.string()), pa.field("text_b", pa.string()), pa.field("score", pa.float64())]
)
ANSWER = pa.struct([pa.field("text", pa.string()), pa.field("start", pa.int32())])
"""`start` counts characters of the passage."""
ANSWERED_QUESTIONS = pa.schema(
    [pa.field("question", pa.string()), pa.field("passage", pa.string()), pa.field("answers", pa.list_(ANSWER))]
)
LABELLED_ROWS = (
    LABELLED_TEXTS,
    MULTI_LABELLED_TEXTS,
    TAGGED_TOKENS,
    LABELLED_PAIRS,
    SCORED_PAIRS,
    ANSWERED_QUESTIONS,
)
"""One for each shape of labelled rows, and for what it may say of them."""
CURVE = pa.schema(
    [
        pa.field("step", pa.int64(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
    ]
)
PREDICTIONS = pa.schema(
    [
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("contender", pa.string(), nullable=False),
        pa.field("labels_per_class", pa.int64(), nullable=False),  # -1: every label
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("prediction", pa.string(), nullable=False),
        pa.field("logits", pa.list_(pa.float32()), nullable=False),  # in the order of the report's label list
    ]
)

TABLES: Mapping[str, Mapping[str, tuple[pa.Schema, ...]]] = {
    "corpus": {
        "train-*.parquet": (DOCUMENTS, LABELLED_DOCUMENTS),
        "validation-*.parquet": (DOCUMENTS, LABELLED_DOCUMENTS),
        "test-*.parquet": (DOCUMENTS, LABELLED_DOCUMENTS),
        "dropped.parquet": (DROPPED,),
        "sources.parquet": (SOURCES,),
    },
    "labelled_set": {f"{split}.parquet": LABELLED_ROWS for split in ("train", "validation", "test")},
    "tokenizer": {"vocabulary.parquet": (VOCABULARY,), "fit.parquet": (FIT,)},
    "encoded_corpus": {"vocabulary.parquet": (VOCABULARY,)},
    "encoder": {"vocabulary.parquet": (VOCABULARY,), "curve.parquet": (CURVE,)},
    "finetuned_model": {"vocabulary.parquet": (VOCABULARY,), "curve.parquet": (CURVE,)},
    "evaluation_report": {"predictions.parquet": (PREDICTIONS,)},
}
"""kind of artefact → file pattern → the schemas allowed there."""
BESIDE: Mapping[str, tuple[pa.DataType, ...]] = {"labelled_set": (pa.string(), pa.int64(), pa.float64())}
"""kind of artefact → types of columns that its tables may have beside those: the user's own, to slice scores by."""


def check(found: pa.Schema, *allowed: pa.Schema, where: str, beside: tuple[pa.DataType, ...] = ()) -> None:
    """Raise ContractError, naming the first column that differs, unless `found` has the columns of one of `allowed`.

    It may have others of a type that is in `beside`.
    """
    if any(_difference(found, schema, beside) is None for schema in allowed):
        return
    raise ContractError(f"{where}: {_difference(found, allowed[-1], beside)}")


def check_folder(kind: str, folder: Path) -> None:
    """Check every parquet file of a finished artefact of this kind; a file no contract names is an error too."""
    patterns = TABLES.get(kind, {})
    for path in sorted(folder.rglob("*.parquet")):
        name = path.relative_to(folder).as_posix()
        allowed = next((schemas for pattern, schemas in patterns.items() if fnmatch(name, pattern)), None)
        if allowed is None:
            raise ContractError(f"{kind}/{name}: no contract names this table; add it to sslcore/contracts.py")
        check(pq.read_schema(path), *allowed, where=f"{kind}/{name}", beside=BESIDE.get(kind, ()))


def _difference(found: pa.Schema, expected: pa.Schema, beside: tuple[pa.DataType, ...]) -> str | None:
    if missing := [name for name in expected.names if name not in found.names]:
        return f"column {missing[0]!r} is missing; found {found.names}, expected {expected.names}"
    if extra := [field.name for field in found if field.name not in expected.names and field.type not in beside]:
        return f"column {extra[0]!r} is not part of the contract; expected {expected.names}"
    for field in expected:
        if found.field(field.name).type != field.type:
            return f"column {field.name!r} is {found.field(field.name).type}, expected {field.type}"
    return None
