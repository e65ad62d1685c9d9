"""Clusters of documents: union–find whose root is the smallest number, and the pairs worth uniting, compiled."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sslcore.kernels.compilation import compiled_in_order


class Pairs(NamedTuple):
    """Candidates of one band: runs of documents (see deduplication.Runs) and the signatures of their members."""

    members: NDArray[np.int64]
    bounds: NDArray[np.int64]
    signatures: NDArray[np.uint64]  # [members, bands]
    band: int

    def doubtful(
        self, first_of: NDArray[np.int32], reject_below: float, accept_from: float, at_once: int
    ) -> Iterator[tuple[int, int]]:
        """Unite the pairs that are surely similar; yield those that may be, at the time of yielding not yet connected.

        A pair that shares an earlier band was judged there, and is left out.
        """
        hashes = self.signatures.view(np.uint16)
        low, high = reject_below * hashes.shape[1], accept_from * hashes.shape[1]
        found = np.empty((at_once, 2), np.int64)
        place = (0, 0, 1)
        while place[0] >= 0:
            *place_and_count, count = _judge(
                self.members, self.bounds, self.signatures, hashes, self.band, low, high, first_of, found, place
            )
            place = tuple(place_and_count)
            yield from found[:count].tolist()


@compiled_in_order
def root(first_of, document):  # type: ignore[no-untyped-def]
    """The smallest document of the cluster; shortens the way there for the next time."""
    while first_of[document] != document:
        first_of[document] = first_of[first_of[document]]
        document = first_of[document]
    return document


@compiled_in_order
def unite(first_of, left, right):  # type: ignore[no-untyped-def]
    left, right = root(first_of, left), root(first_of, right)
    first_of[max(left, right)] = min(left, right)


@compiled_in_order
def point_to_roots(first_of):  # type: ignore[no-untyped-def]
    for document in range(len(first_of)):  # ascending: whoever is pointed to already points to its root
        first_of[document] = first_of[first_of[document]]


@compiled_in_order
def jaccard(left, right):  # type: ignore[no-untyped-def]
    """|A ∩ B| / |A ∪ B| of two sorted arrays of distinct numbers."""
    i = j = common = 0
    while i < len(left) and j < len(right):
        if left[i] == right[j]:
            common += 1
            i += 1
            j += 1
        elif left[i] < right[j]:
            i += 1
        else:
            j += 1
    return common / max(len(left) + len(right) - common, 1)


@compiled_in_order
def _judge(members, bounds, signatures, hashes, band, low, high, first_of, found, place):  # type: ignore[no-untyped-def]
    """Go through the pairs from `place` (run, left, right) until the end or until `found` is full.

    Returns the place to go on from (run -1 at the end) and how many pairs were found.
    """
    run, left, right = place
    count = 0
    while run < len(bounds) - 1:
        first, stop = bounds[run], bounds[run + 1]
        while first + left < stop - 1:
            a = first + left
            while first + right < stop:
                b = first + right
                if root(first_of, members[a]) != root(first_of, members[b]):
                    if count == len(found):
                        return run, left, right, count
                    new = True
                    for earlier in range(band):
                        if signatures[a, earlier] == signatures[b, earlier]:
                            new = False
                            break
                    if new:
                        equal = 0
                        for k in range(hashes.shape[1]):
                            equal += hashes[a, k] == hashes[b, k]
                        if equal >= high:
                            unite(first_of, members[a], members[b])
                        elif equal >= low:
                            found[count, 0] = members[a]
                            found[count, 1] = members[b]
                            count += 1
                right += 1
            left += 1
            right = left + 1
        run += 1
        left, right = 0, 1
    return -1, 0, 1, count
