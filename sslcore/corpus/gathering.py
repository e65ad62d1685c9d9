"""The first half of ingestion: read and process every document by itself, in several processes."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from sslcore.corpus.deduplication import FingerprintFiles
from sslcore.corpus.processing import Batch, Processor, next_portion
from sslcore.corpus.quality import Quality
from sslcore.corpus.raw import RawFile
from sslcore.corpus.sources import Source, read_documents
from sslcore.parallel import ordered_map
from sslcore.progress import Progress

WHOLE_FILES_BYTES = 2 << 20  # files below this are read by the worker, several at a time; larger ones by this process
ALONE_BYTES = 16 << 20  # a source smaller than this is done before a second process has started
_COMPRESSION_RATIO = 4  # of text, roughly: for the progress bar and to choose who reads


class Parts:
    """What the batches became, in order. Documents are numbered through; part p holds those from `starts[p]` on."""

    def __init__(self, folder: Path, kept: Sequence[int], fingerprints: FingerprintFiles, dropped: int) -> None:
        self.folder = folder
        self.starts = np.concatenate(([0], np.cumsum(kept, dtype=np.int64)))
        self.fingerprints = fingerprints
        self.dropped = dropped
        self._open_kept = lru_cache(maxsize=16)(self.kept)

    @property
    def documents(self) -> int:
        return int(self.starts[-1])

    def __len__(self) -> int:
        return len(self.starts) - 1

    def kept(self, part: int) -> pa.Table:
        """The documents of a part; mapped, not read: only the pages that are looked at cost memory."""
        return _open_arrow(self.folder / f"{part}.kept")

    def dropped_rows(self, part: int) -> pa.Table:
        return _open_arrow(self.folder / f"{part}.dropped")

    def text(self, document: int) -> str:
        part = int(np.searchsorted(self.starts, document, side="right")) - 1
        text: str = self._open_kept(part).column("text")[document - int(self.starts[part])].as_py()
        return text


def gather(
    source: Source, files: Sequence[RawFile], quality: Quality, folder: Path, stack: ExitStack, *, workers: int,
    progress: Progress,
) -> Parts:  # fmt: skip
    """Process every document of these files. The result depends neither on `workers` nor on which of them did what."""
    total = max(sum(_size(file) for file in files), 1)
    fingerprints = stack.enter_context(FingerprintFiles(folder))
    kept: list[int] = []
    dropped = done = 0
    used = 1 if total < ALONE_BYTES else workers
    for part in ordered_map(Processor(source, quality, folder), batches(source, files), workers=used):
        fingerprints.append(part.fingerprints)
        kept.append(len(part.fingerprints.words))
        dropped += part.dropped
        done += part.bytes
        progress(min(done / total, 1.0), f"cleaning: {sum(kept)} documents kept, {dropped} dropped")
    fingerprints.flush()
    return Parts(folder, kept, fingerprints, dropped)


def batches(source: Source, files: Sequence[RawFile]) -> Iterator[Batch]:
    """The files as work: small ones together, large ones in portions of documents. Always cut at the same places."""
    number = 0
    together: list[RawFile] = []
    size = 0
    for file in files:
        if _size(file) < WHOLE_FILES_BYTES:
            together.append(file)
            size += _size(file)
            if size >= WHOLE_FILES_BYTES:
                yield Batch(number, tuple(together), (), size)
                number, together, size = number + 1, [], 0
            continue
        if together:
            yield Batch(number, tuple(together), (), size)
            number, together, size = number + 1, [], 0
        documents = iter(read_documents(source, file))
        while portion := next_portion(documents):
            yield Batch(number, (), tuple(portion), sum(len(document.text) for document in portion))
            number += 1
    if together:
        yield Batch(number, tuple(together), (), size)


def _size(file: RawFile) -> int:
    return file.size * (_COMPRESSION_RATIO if file.compression else 1)


def _open_arrow(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
