"""What a step alone is given: an artefact of the step before by its key, or a path, from which that artefact is made.

The steps before run with their defaults; anything else is a job with a configuration.
"""

from sslcore.artifacts import Ref
from sslcore.corpus.ingestion import Ingestion
from sslcore.corpus.sources import FilesSource
from sslcore.errors import UserError
from sslcore.objectives.registry import DEFAULT_OBJECTIVES
from sslcore.tokenization.words import Words
from tasks import runtime
from tasks.ingestion import ingest
from tasks.pretraining import pretrain
from tasks.tokenization import encode, tokenize


def corpus(source: str, text: str = "", label: str = "") -> Ref:
    """The corpus of that key, or of that path."""
    found = runtime.named(source)
    if found is None:
        return ingest(Ingestion(source=FilesSource(paths=(source,), text=text, label=label)))
    return _of_kind(found, "corpus")


def encoded_corpus(source: str, text: str = "", label: str = "", growing: Ref | None = None) -> Ref:
    """The encoded corpus of that key, or made from the corpus of that key or path.

    With a `growing` encoder it is in that one's vocabulary and the new words.
    """
    found = runtime.named(source)
    if found is not None and found.kind == "encoded_corpus":
        return found
    made_from = corpus(source, text, label)
    return encode(made_from, tokenize(Words(), made_from, growing))


def encoder(key: str) -> Ref:
    """The encoder of that key."""
    return _of_kind(runtime.current().store.resolve(key), "encoder")


def encoders(source: str, text: str, label: str, seed: int) -> tuple[Ref, dict[str, Ref]]:
    """The corpus and, by objective, the encoder of that key, or the default encoders of that path."""
    found = runtime.named(source)
    if found is not None:
        store = runtime.current().store
        encoder = _of_kind(found, "encoder")
        origin = next(m.ref for m in store.lineage(encoder) if m.kind == "corpus")
        return origin, {str(store.manifest(encoder).spec["kind"]): encoder}
    encoded = encoded_corpus(source, text, label)
    origin = corpus(source, text, label)
    return origin, {objective.kind: pretrain(objective, encoded, seed) for objective in DEFAULT_OBJECTIVES}


def _of_kind(ref: Ref, kind: str) -> Ref:
    if ref.kind != kind:
        raise UserError(f"{ref} is a {ref.kind.replace('_', ' ')}; this step takes a {kind} or a path of text")
    return ref
