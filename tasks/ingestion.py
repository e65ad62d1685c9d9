"""Raw files → the corpus artefact."""

import logging

from prefect import task
from prefect.cache_policies import NO_CACHE

from sslcore.artifacts import Ref, raw_input
from sslcore.corpus.ingestion import Ingestion
from sslcore.corpus.ingestion import ingest as write_corpus
from sslcore.corpus.sources import find, fingerprint, not_read
from tasks import runtime

VERSION = 2

log = logging.getLogger("sslcore.ingestion")


@task(name="ingest", cache_policy=NO_CACHE)
def ingest(config: Ingestion) -> Ref:
    """Read, clean, deduplicate and split the source. Where its files lie does not name the corpus; their bytes do."""
    found = find(config.source)
    if skipped := not_read(found):
        log.warning(skipped)
    raw = fingerprint(found.files)
    return runtime.build(
        "ingest",
        "corpus",
        VERSION,
        config.model_dump(mode="json", exclude={"source": {"paths"}}),
        {"source": raw_input(raw)},
        lambda folder, progress, _: write_corpus(config, folder, workers=runtime.current().workers, progress=progress),
    )


def labelled(corpus: Ref) -> bool:
    """Whether there is anything to fine-tune on."""
    return bool(runtime.current().store.manifest(corpus).summary["labels"])
