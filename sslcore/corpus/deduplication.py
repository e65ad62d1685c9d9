"""Which documents repeat an earlier one: exactly (the same words) or nearly (most of the same 5-grams of words).

Near-duplicates are found by MinHash and banding (Broder 1997; Leskovec, Rajaraman & Ullman, Mining of Massive Datasets,
section 3.4): 128 hashes in 32 bands of 4, so that a pair of Jaccard similarity s becomes a candidate with probability
1 - (1 - s⁴)³²: 0.99999995 at 0.8, 0.87 at 0.5. Candidates are judged by their signatures where these leave no doubt,
else by the similarity itself, from the texts. Documents that such pairs connect form a cluster; its first stays.

Memory: 5 bytes a document, and some tens of megabytes whatever the corpus: signatures and bands are read from disk a
part at a time.
"""

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from sslcore.progress import Progress, silent

BANDS = 32
ROWS = 4  # hashes in a band; of each its low 16 bits, which together are the band's 64-bit key
HASHES = BANDS * ROWS
SHINGLE_WORDS = 5
# A similarity near 0.8 estimated from 128 hashes has a standard error of 0.035.
REJECT_BELOW = 0.2  # this far below the threshold the estimate alone rejects: 5.6 standard errors, no pair is missed
ACCEPT_ABOVE = 0.15

_KEYS_AT_ONCE = 1 << 20  # of one band
_MEMBERS_AT_ONCE = 1 << 15
_PAIRS_AT_ONCE = 1 << 12
_SHINGLES_IN_MEMORY = 1 << 22


class Deduplication(BaseModel):
    """What counts as a repetition. Of documents that repeat each other the first stays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exact: bool = Field(
        True, description="Drop documents with the same words in the same order, whatever case and punctuation."
    )
    near: bool = Field(
        True, description="Drop documents that share most of their 5-grams of words with an earlier one."
    )
    threshold: float = Field(
        0.8,
        ge=0.7,
        le=1.0,
        description="Jaccard similarity of the sets of 5-grams from which two documents are the same.",
    )


class Fingerprints(NamedTuple):
    """What deduplication keeps of n documents."""

    ids: NDArray[np.uint64]  # [n, 2] the document ids, as numbers
    words: NDArray[np.uint64]  # [n] hash of all words in order
    signatures: NDArray[np.uint64]  # [n, BANDS] column b: the key of band b


NO_FINGERPRINTS = Fingerprints(*(np.empty(shape, np.uint64) for shape in ((0, 2), 0, (0, BANDS))))


def concatenated(several: Sequence[Fingerprints]) -> Fingerprints:
    """The fingerprints of all the documents, one after the other."""
    return Fingerprints(*(np.concatenate(column) for column in zip(*several, strict=True)))


class FingerprintFiles:
    """Fingerprints on disk, one file per column that is read alone; appended in document order."""

    def __init__(self, folder: Path) -> None:
        self.documents = 0
        self._ids = (folder / "ids").open("w+b")
        self._words = (folder / "words").open("w+b")
        self._signatures = (folder / "signatures").open("w+b")
        self._bands = [(folder / f"band-{band:02}").open("w+b") for band in range(BANDS)]

    def __enter__(self) -> "FingerprintFiles":
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self._ids, self._words, self._signatures, *self._bands):
            file.close()

    def append(self, new: Fingerprints) -> None:
        self._ids.write(np.ascontiguousarray(new.ids).data)
        self._words.write(np.ascontiguousarray(new.words).data)
        self._signatures.write(np.ascontiguousarray(new.signatures).data)
        for band, file in enumerate(self._bands):
            file.write(np.ascontiguousarray(new.signatures[:, band]).data)
        self.documents += len(new.words)

    def flush(self) -> None:
        """After the last append and before the first read."""
        for file in (self._ids, self._words, self._signatures, *self._bands):
            file.flush()

    def document_id(self, document: int) -> str:
        first, second = np.frombuffer(os.pread(self._ids.fileno(), 16, 16 * document), np.uint64).tolist()
        return f"{first:016x}{second:016x}"

    def signature(self, document: int) -> bytes:
        return os.pread(self._signatures.fileno(), 8 * BANDS, 8 * BANDS * document)

    def ids(self, start: int, count: int) -> NDArray[np.uint64]:
        """[count, 2]"""
        return np.frombuffer(os.pread(self._ids.fileno(), 16 * count, 16 * start), np.uint64).reshape(-1, 2)

    def words(self, start: int, count: int) -> NDArray[np.uint64]:
        return np.frombuffer(os.pread(self._words.fileno(), 8 * count, 8 * start), np.uint64)

    def band(self, band: int, start: int, count: int) -> NDArray[np.uint64]:
        return np.frombuffer(os.pread(self._bands[band].fileno(), 8 * count, 8 * start), np.uint64)


class Runs(NamedTuple):
    """Documents with equal keys: run r is `members[bounds[r]:bounds[r + 1]]`, ascending, at least two."""

    members: NDArray[np.int64]
    bounds: NDArray[np.int64]


Read = Callable[[int, int], NDArray[np.uint64]]
Shingles = Callable[[int], NDArray[np.uint64]]
"""The sorted, distinct shingle hashes of a document, by its number."""


def exact_duplicates(files: FingerprintFiles, first_of: NDArray[np.int32]) -> None:
    """Point, in `first_of`, every document to the first one with the same words in the same order."""
    nobody = np.zeros(files.documents, np.bool_)
    for runs in _equal_keys(files.words, files.documents, nobody):
        first_of[runs.members] = np.repeat(runs.members[runs.bounds[:-1]], np.diff(runs.bounds))


def near_duplicates(
    files: FingerprintFiles,
    first_of: NDArray[np.int32],
    shingles: Shingles,
    *,
    threshold: float,
    progress: Progress = silent,
) -> None:
    """Point, in `first_of`, every document to the first of its cluster; those that point elsewhere already stay out."""
    from sslcore.corpus import clustering

    skip = first_of != np.arange(len(first_of), dtype=np.int32)
    cached = _ShingleCache(shingles)
    for band in range(BANDS):
        progress(band / BANDS, f"near-duplicates: band {band + 1} of {BANDS}")

        def read(start: int, count: int, band: int = band) -> NDArray[np.uint64]:
            return files.band(band, start, count)

        for runs in _equal_keys(read, files.documents, skip):
            for block in _blocks(runs):
                rows = np.frombuffer(b"".join(map(files.signature, block.members.tolist())), np.uint64)
                pairs = clustering.Pairs(block.members, block.bounds, rows.reshape(-1, BANDS), band)
                for left, right in pairs.doubtful(
                    first_of, threshold - REJECT_BELOW, threshold + ACCEPT_ABOVE, _PAIRS_AT_ONCE
                ):
                    if clustering.root(first_of, left) != clustering.root(first_of, right) and (
                        clustering.jaccard(cached(left), cached(right)) >= threshold
                    ):
                        clustering.unite(first_of, left, right)
    clustering.point_to_roots(first_of)


def _equal_keys(read: Read, documents: int, skip: NDArray[np.bool_]) -> Iterator[Runs]:
    """The runs of equal keys among documents not skipped, from as many passes over the file as memory asks for."""
    bits = max(0, (documents - 1) // _KEYS_AT_ONCE).bit_length()
    for part in range(1 << bits):
        kept_keys, kept_documents = [], []
        for start in range(0, documents, _KEYS_AT_ONCE):
            keys = read(start, min(_KEYS_AT_ONCE, documents - start))
            wanted = ~skip[start : start + len(keys)]
            if bits:
                wanted &= ((keys * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - bits)) == part
            kept_keys.append(keys[wanted])
            kept_documents.append(np.flatnonzero(wanted) + start)
        keys = np.concatenate(kept_keys or [np.empty(0, np.uint64)])
        ordered = np.sort(keys)
        repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
        if len(repeated) == 0:
            continue
        place = np.minimum(np.searchsorted(repeated, keys), len(repeated) - 1)
        member = repeated[place] == keys
        run_of, members = place[member], np.concatenate(kept_documents)[member]
        order = np.argsort(run_of, kind="stable")
        bounds = np.searchsorted(run_of[order], np.arange(len(repeated) + 1))
        yield Runs(members[order], bounds)


def _blocks(runs: Runs) -> Iterator[Runs]:
    """The same runs in portions whose signatures fit in memory; a run is never cut."""
    start = 0
    while start < len(runs.bounds) - 1:
        stop = int(np.searchsorted(runs.bounds, runs.bounds[start] + _MEMBERS_AT_ONCE, side="right")) - 1
        stop = max(stop, start + 1)
        bounds = runs.bounds[start : stop + 1]
        yield Runs(runs.members[bounds[0] : bounds[-1]], bounds - bounds[0])
        start = stop


class _ShingleCache:
    """The shingles of the documents asked for last, as many as fit in 32 MB."""

    def __init__(self, shingles: Shingles) -> None:
        self._shingles = shingles
        self._found: OrderedDict[int, NDArray[np.uint64]] = OrderedDict()
        self._size = 0

    def __call__(self, document: int) -> NDArray[np.uint64]:
        if document in self._found:
            self._found.move_to_end(document)
            return self._found[document]
        found = self._found[document] = self._shingles(document)
        self._size += len(found)
        while self._size > _SHINGLES_IN_MEMORY and len(self._found) > 1:
            self._size -= len(self._found.popitem(last=False)[1])
        return found
