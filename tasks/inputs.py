"""What a step alone is given: an artefact of the step before by its key, or a path, from which that artefact is made.

The steps before run with their defaults; anything else is a job with a configuration.
"""

from sslcore.artifacts import Ref
from sslcore.corpus.ingestion import Ingestion
from sslcore.corpus.sources import FilesSource
from sslcore.errors import UserError
from sslcore.huggingface import is_checkpoint
from sslcore.objectives.registry import DEFAULT_OBJECTIVES, objective_kinds
from sslcore.tokenization.registry import Tokenization
from sslcore.tokenization.words import Words
from tasks import runtime
from tasks.checkpoint import take_up
from tasks.ingestion import ingest
from tasks.model_registry import registered
from tasks.pretraining import pretrain
from tasks.tokenization import encode, tokenize


def corpus(source: str, text: str = "", label: str = "") -> Ref:
    """The corpus of that key, or of that path."""
    found = runtime.named(source)
    if found is None:
        return ingest(Ingestion(source=FilesSource(paths=(source,), text=text, label=label)))
    return _of_kind(found, "corpus")


def encoded_corpus(
    source: str, text: str = "", label: str = "", spec: Tokenization = Words(), earlier: Ref | None = None
) -> Ref:
    """The encoded corpus of that key, or made from the corpus of that key or path, for the `earlier` encoder if any."""
    found = runtime.named(source)
    if found is not None and found.kind == "encoded_corpus":
        return found
    return encoded(spec, corpus(source, text, label), earlier)


def encoded(spec: Tokenization, made_from: Ref, earlier: Ref | None = None) -> Ref:
    """The corpus in ids; those of the `earlier` encoder that training goes on from, with new words where it learns any.

    Word vectors of new words can be added to those there are; a transformer has its vocabulary for good.
    """
    if earlier is None:
        return encode(made_from, tokenize(spec, made_from))
    trained_by = objective_kinds().get(str(runtime.current().store.manifest(earlier).spec["kind"]))
    if trained_by is None or not trained_by.vocabulary_grows:
        return encode(made_from, earlier)
    return encode(made_from, tokenize(spec, made_from, earlier))


def encoder(source: str) -> Ref:
    """The encoder of that key or registered name, or a public checkpoint: a folder, or a Hugging Face hub name."""
    if source.startswith("models:/"):
        return _of_kind(registered(source), "encoder")
    if is_checkpoint(source):
        return take_up(source)
    return _of_kind(runtime.current().store.resolve(source), "encoder")


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
