"""Corpus → tokenizer → encoded corpus."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from sslcore.artifacts import Ref
from sslcore.tokenization.registry import Tokenization
from tasks import runtime

TOKENIZER_VERSION = 1
ENCODING_VERSION = 1


@task(name="tokenize", cache_policy=NO_CACHE)
def tokenize(spec: Tokenization, corpus: Ref) -> Ref:
    """Fit the tokenizer on the training split."""
    from sslcore.corpus.shards import Corpus
    from sslcore.tokenization import write_tokenizer

    opened = Corpus.open(runtime.current().store.path(corpus))
    return runtime.build(
        "tokenize",
        "tokenizer",
        TOKENIZER_VERSION,
        spec.model_dump(mode="json"),
        {"corpus": corpus},
        lambda folder, progress, _: write_tokenizer(spec, opened, folder, progress=progress),
    )


@task(name="encode", cache_policy=NO_CACHE)
def encode(corpus: Ref, tokenizer: Ref) -> Ref:
    """Write the training split as ids that memory-map."""
    from sslcore.corpus.shards import Corpus
    from sslcore.tokenization import Tokenizer, encode_corpus

    store = runtime.current().store
    opened, fitted = Corpus.open(store.path(corpus)), Tokenizer.load(store.path(tokenizer))
    return runtime.build(
        "encode",
        "encoded_corpus",
        ENCODING_VERSION,
        {},
        {"corpus": corpus, "tokenizer": tokenizer},
        lambda folder, progress, _: encode_corpus(opened, fitted, folder, progress=progress),
    )
