"""Corpus → tokenizer → encoded corpus; or a column of sequences → encoded corpus.

Imports what it needs only when there is something to make.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from sslcore.artifacts import Ref, raw_input
from sslcore.corpus.sources import FilesSource, find, fingerprint
from sslcore.progress import Progress
from sslcore.tokenization.registry import Tokenization
from tasks import runtime
from tasks.runtime import OnMetrics

TOKENIZER_VERSION = 2  # 2: WordPiece chooses among rare characters in one way
ENCODING_VERSION = 2  # 2: labels too
SEQUENCES_VERSION = 1
MOST_ENTITIES = 20_000_000


@task(name="tokenize", cache_policy=NO_CACHE)
def tokenize(spec: Tokenization, corpus: Ref, growing: Ref | None = None) -> Ref:
    """Fit the tokenizer on the training split; or let the one of the `growing` encoder take in its new words."""

    def write(folder: Path, progress: Progress, _: OnMetrics) -> Mapping[str, Any]:
        from sslcore.corpus.shards import Corpus
        from sslcore.tokenization import Tokenizer, write_tokenizer

        store = runtime.current().store
        earlier = Tokenizer.load(store.path(growing)) if growing else None
        return write_tokenizer(spec, Corpus.open(store.path(corpus)), folder, growing=earlier, progress=progress)

    asked = {} if growing else spec.model_dump(mode="json")
    inputs = {"corpus": corpus, "growing": growing} if growing else {"corpus": corpus}
    return runtime.build("tokenize", "tokenizer", TOKENIZER_VERSION, asked, inputs, write)


@task(name="encode", cache_policy=NO_CACHE)
def encode(corpus: Ref, tokenizer: Ref) -> Ref:
    """Write the training split as ids that memory-map."""

    def write(folder: Path, progress: Progress, _: OnMetrics) -> Mapping[str, Any]:
        from sslcore.corpus.shards import Corpus
        from sslcore.tokenization import Tokenizer, encode_corpus

        store = runtime.current().store
        opened, fitted = Corpus.open(store.path(corpus)), Tokenizer.load(store.path(tokenizer))
        return encode_corpus(opened, fitted, folder, progress=progress)

    inputs = {"corpus": corpus, "tokenizer": tokenizer}
    return runtime.build("encode", "encoded_corpus", ENCODING_VERSION, {}, inputs, write)


@task(name="encode sequences", cache_policy=NO_CACHE)
def encode_sequences(source: str, column: str, growing: Ref | None = None) -> Ref:
    """Number the entities of a Parquet column of lists, and write the sequences as ids that memory-map."""

    def write(folder: Path, progress: Progress, _: OnMetrics) -> Mapping[str, Any]:
        from sslcore.tokenization import EncodedCorpus, Tokenizer

        corpus = EncodedCorpus.from_parquet(
            source,
            column,
            folder,
            vocabulary_size=MOST_ENTITIES,
            growing=Tokenizer.load(runtime.current().store.path(growing)) if growing else None,
            progress=progress,
        )
        return {"sequences": corpus.documents, "tokens": corpus.tokens, "entities": corpus.tokenizer.vocabulary_size}

    raw = raw_input(fingerprint(find(FilesSource(paths=(source,), format="parquet")).files))
    asked = {"column": column, "vocabulary_size": MOST_ENTITIES}
    inputs = {"source": raw, "growing": growing} if growing else {"source": raw}
    return runtime.build("encode sequences", "encoded_corpus", SEQUENCES_VERSION, asked, inputs, write)
