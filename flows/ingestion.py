"""One step alone: raw text → corpus."""

from prefect import flow

from sslcore.artifacts import Ref
from sslcore.corpus.ingestion import Ingestion
from sslcore.corpus.sources import InstalledDocumentation
from tasks.flow_runs import HOOKS, open_flow_run
from tasks.ingestion import ingest
from tasks.tracking import DEFAULT_EXPERIMENT


@flow(name="ingestion", **HOOKS)
def ingestion(corpus: Ingestion = Ingestion(source=InstalledDocumentation())) -> Ref:
    """Read, clean, deduplicate and split text.

    Args:
        corpus: What to read, and how to clean it.
    """
    open_flow_run(DEFAULT_EXPERIMENT, corpus.model_dump(mode="json"))
    return ingest(corpus)
