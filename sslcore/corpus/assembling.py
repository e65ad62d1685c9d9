"""The last step of ingestion: the documents that stay go into shards by split, the others into dropped.parquet."""

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sslcore.artifacts import FileEntry
from sslcore.contracts import DROPPED, SOURCES
from sslcore.corpus.gathering import Parts
from sslcore.corpus.processing import dropped_batch
from sslcore.corpus.selection import REASONS, Selection, id_heads
from sslcore.corpus.shards import ShardWriter, documents_schema
from sslcore.corpus.splits import SPLITS, Splits
from sslcore.progress import Progress


def assemble(parts: Parts, selection: Selection, splits: Splits, folder: Path, *, progress: Progress) -> dict[str, Any]:
    """Write train-, validation-, test-*.parquet and dropped.parquet; return counts for the summary."""
    labelled = any(t.null_count < len(t) for t in (parts.kept(part).column("label") for part in range(len(parts))))
    schema = documents_schema(labelled=labelled)
    reasons: Counter[str] = Counter()
    languages: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    words = characters = text_bytes = 0
    with ExitStack() as stack:
        writers = [ShardWriter(folder, split, schema) for split in SPLITS]
        dropped = ShardWriter(folder, "dropped", DROPPED, numbered=False)
        for writer in (*writers, dropped):
            stack.callback(writer.close)
        for part in range(len(parts)):
            progress(part / len(parts), "writing")
            table = parts.kept(part)
            start, stop = parts.starts[part : part + 2]
            split = splits.of(id_heads(parts, start, stop))
            stays = selection.kept_in(parts, part)
            for index, writer in enumerate(writers):
                chosen = table.select(schema.names).filter(pa.array(stays & (split == index))).cast(schema)
                for batch in chosen.to_batches():
                    writer.write(batch)
            staying = table.filter(pa.array(stays))
            words += pc.sum(staying.column("words")).as_py() or 0
            characters += pc.sum(pc.utf8_length(staying.column("text"))).as_py() or 0
            text_bytes += pc.sum(pc.binary_length(staying.column("text"))).as_py() or 0
            languages.update(staying.column("language").to_pylist())
            labels.update(label for label in staying.column("label").to_pylist() if label is not None)
            for rows in (parts.dropped_rows(part), _left_out(parts, selection, part)):
                reasons.update(rows.column("reason").to_pylist())
                for batch in rows.to_batches():
                    dropped.write(batch)
    return {
        "documents": sum(writer.rows for writer in writers),
        "dropped": dict(reasons.most_common()),
        "splits": {split: writer.rows for split, writer in zip(SPLITS, writers, strict=True)},
        "languages": dict(languages.most_common()),
        "labels": dict(sorted(labels.items())),
        "label_conflicts": selection.label_conflicts,
        "words": words,
        "characters": characters,
        "bytes": text_bytes,
    }


def write_sources(files: Mapping[str, FileEntry], folder: Path) -> None:
    """sources.parquet: the raw files by name, size and hash."""
    rows = [{"name": name, "bytes": entry.bytes, "sha256": entry.sha256} for name, entry in sorted(files.items())]
    pq.write_table(pa.Table.from_pylist(rows, SOURCES), folder / "sources.parquet", compression="zstd")


def _left_out(parts: Parts, selection: Selection, part: int) -> pa.Table:
    """The DROPPED rows of documents that passed by themselves."""
    start = int(parts.starts[part])
    reasons = selection.reason[start : int(parts.starts[part + 1])]
    left_out = np.flatnonzero(reasons)
    table = parts.kept(part).select(["origin", "text", "label"]).take(pa.array(left_out))
    rows = []
    for index, row in zip(left_out.tolist(), table.to_pylist(), strict=True):
        reason = REASONS[reasons[index]]
        if reason == "label_too_rare":
            detail = row["label"]
        elif reason == "beyond_maximum":
            detail = "not in the sample"
        else:
            detail = parts.fingerprints.document_id(int(selection.first_of[start + index]))
        rows.append((row["origin"], reason, detail, row["text"]))
    return pa.Table.from_batches([dropped_batch(rows)], DROPPED)
