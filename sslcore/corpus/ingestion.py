"""Raw files → the corpus artefact: clean, judged, without repetitions, split; a reason for every document left out.

    read → clean → measure → language → quality → sentences → fingerprint        by document, in several processes
    exact and near-duplicates → maximum → rare labels                            over fingerprints on disk
    split by content → train-, validation-, test-*.parquet, dropped.parquet      in document order

Memory does not grow with the text: documents pass in batches of about a megabyte, fingerprints wait on disk, and what
stays in memory is 5 bytes a document. The working folder lies beside the result and is gone when the step returns.
"""

import shutil
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from sslcore.corpus.deduplication import Deduplication
from sslcore.corpus.quality import RELAX, Quality
from sslcore.corpus.sources import FilesSource, Source, fingerprint, readable_files
from sslcore.corpus.splits import SPLITS, Splits
from sslcore.errors import UserError
from sslcore.progress import Progress, silent

_GATHERED, _SELECTED = 0.8, 0.9  # of the progress bar


class Ingestion(BaseModel):
    """What to read, and how it becomes a corpus."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Source = Field(description="Where the text comes from.")
    quality: Quality = Field(Quality(), description="Which documents are worth learning from.")
    deduplication: Deduplication = Field(Deduplication(), description="What counts as a repetition.")
    splits: Splits = Field(Splits(), description="Shares of train, validation and test.")
    minimum_label_examples: int = Field(
        2, ge=1, description="Rows of a label with fewer examples are dropped (label_too_rare)."
    )
    maximum_documents: int = Field(
        0, ge=0, description="Keep a random sample of this many documents, chosen by their content; 0 keeps all."
    )


def ingest(
    config: Ingestion, folder: Path, *, workers: int | None = None, progress: Progress = silent
) -> dict[str, Any]:
    """Write the corpus into the empty `folder`; return its summary.

    `workers` processes clean the text (default: one per core); the bytes written do not depend on their number. Raises
    UserError when the source cannot be read, or when no corpus that can be learnt from remains; the message says why.
    """
    started = time.perf_counter()
    files = readable_files(config.source)
    from sslcore.corpus.assembling import assemble, write_sources
    from sslcore.corpus.gathering import gather
    from sslcore.corpus.selection import select
    from sslcore.parallel import available_cores

    with ExitStack() as stack:
        working = Path(tempfile.mkdtemp(prefix=".working-", dir=folder))
        stack.callback(shutil.rmtree, working, ignore_errors=True)
        parts = gather(
            config.source, files, config.quality, working, stack, workers=workers or available_cores(),
            progress=lambda fraction, message: progress(_GATHERED * fraction, message),
        )  # fmt: skip
        if parts.documents == 0:
            raise UserError(_all_dropped(parts))
        selection = select(
            parts, config.deduplication, config.splits,
            label=config.source.label if isinstance(config.source, FilesSource) else "",
            minimum_label_examples=config.minimum_label_examples, maximum_documents=config.maximum_documents,
            progress=lambda fraction, message: progress(_GATHERED + (_SELECTED - _GATHERED) * fraction, message),
        )  # fmt: skip
        summary = assemble(
            parts, selection, config.splits, folder,
            progress=lambda fraction, message: progress(_SELECTED + (1 - _SELECTED) * fraction, message),
        )  # fmt: skip
        _check_splits(summary, config.splits)
    write_sources(fingerprint(files), folder)
    progress(1.0, f"{summary['documents']} documents")
    return {**summary, "files": len(files), "seconds": round(time.perf_counter() - started, 3)}


def _all_dropped(parts: Any) -> str:
    """The reasons with counts, an example of each, and what to change."""
    counts: dict[str, int] = {}
    examples: dict[str, str] = {}
    for part in range(len(parts)):
        for row in parts.dropped_rows(part).to_pylist():
            counts[row["reason"]] = counts.get(row["reason"], 0) + 1
            examples.setdefault(row["reason"], f"{row['origin']}: {row['detail']}: {row['text'][:60]!r}")
    lines = [f"all {sum(counts.values())} documents were dropped, nothing remains to learn from:"]
    for reason, count in sorted(counts.items(), key=lambda item: -item[1]):
        relax = f" (relax: corpus.quality.{RELAX[reason]})" if reason in RELAX else ""
        lines.append(f"  {count} × {reason}{relax}, for instance {examples[reason]}")
    lines.append("Give other text, or change a threshold: --set corpus.quality.minimum_words=1")
    return "\n".join(lines)


def _check_splits(summary: dict[str, Any], splits: Splits) -> None:
    """Every split that was asked for has documents."""
    empty = [split for split in SPLITS if getattr(splits, split) > 0 and summary["splits"][split] == 0]
    if empty:
        dropped = ", ".join(f"{count} × {reason}" for reason, count in summary["dropped"].items()) or "none"
        raise UserError(
            f"too few documents ({summary['documents']}): none fell into {' and '.join(empty)} (dropped: {dropped}). "
            "Give more text, or make more documents of it: source.document=paragraph (or line) instead of one per file."
        )
