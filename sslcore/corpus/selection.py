"""The second half's decisions: which of the documents that passed by themselves stay, given the others.

Repetitions, documents beyond a maximum, labels too rare to learn: each has a named reason; this is the order they are
applied in.
"""

from collections import Counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sslcore.corpus.deduplication import Deduplication, exact_duplicates, near_duplicates
from sslcore.corpus.gathering import Parts
from sslcore.corpus.splits import SPLITS, Splits
from sslcore.errors import UserError
from sslcore.progress import Progress

REASONS = ("", "exact_duplicate", "near_duplicate", "label_too_rare", "beyond_maximum")
_EXACT, _NEAR, _RARE, _BEYOND = range(1, 5)
_IDS_AT_ONCE = 1 << 20


class Selection(NamedTuple):
    """What is decided about each document."""

    reason: NDArray[np.uint8]  # index in REASONS; 0: it stays
    first_of: NDArray[np.int32]  # the document it repeats; itself if none
    label_conflicts: int  # repetitions whose label differs from that of the document they repeat

    def kept_in(self, parts: Parts, part: int) -> NDArray[np.bool_]:
        return self.reason[parts.starts[part] : parts.starts[part + 1]] == 0


def select(
    parts: Parts,
    deduplication: Deduplication,
    splits: Splits,
    *,
    label: str,
    minimum_label_examples: int,
    maximum_documents: int,
    progress: Progress,
) -> Selection:
    """Decide about every document.

    Raises UserError if a `label` was asked for and there is none, or fewer than two classes remain.
    """
    first_of = np.arange(parts.documents, dtype=np.int32)
    reason = np.zeros(parts.documents, np.uint8)
    if deduplication.exact:
        exact_duplicates(parts.fingerprints, first_of)
        reason[first_of != np.arange(len(first_of), dtype=np.int32)] = _EXACT
    if deduplication.near:
        from sslcore.corpus.signatures import shingle_set

        near_duplicates(
            parts.fingerprints,
            first_of,
            lambda document: shingle_set(parts.text(document)),
            threshold=deduplication.threshold,
            progress=progress,
        )
        reason[(reason == 0) & (first_of != np.arange(len(first_of), dtype=np.int32))] = _NEAR
    if maximum_documents:
        _mark_beyond(parts, reason, maximum_documents)
    chosen = Selection(reason, first_of, _label_conflicts(parts, reason, first_of))
    _mark_rare_labels(parts, chosen, splits, label, minimum_label_examples)
    return chosen


def id_heads(parts: Parts, start: int, stop: int) -> NDArray[np.uint64]:
    """The first 64 bits of the ids of these documents: what decides their split."""
    return parts.fingerprints.ids(start, stop - start)[:, 0]


def _mark_beyond(parts: Parts, reason: NDArray[np.uint8], maximum: int) -> None:
    """Keep the `maximum` documents whose ids end lowest: a fair sample that no order of files or labels can bias."""
    tails = np.concatenate(
        [
            parts.fingerprints.ids(start, min(_IDS_AT_ONCE, parts.documents - start))[:, 1]
            for start in range(0, parts.documents, _IDS_AT_ONCE)
        ]
        or [np.empty(0, np.uint64)]
    )
    kept = np.flatnonzero(reason == 0)
    if len(kept) > maximum:
        order = np.argsort(tails[kept], kind="stable")
        reason[kept[order[maximum:]]] = _BEYOND


def _label_conflicts(parts: Parts, reason: NDArray[np.uint8], first_of: NDArray[np.int32]) -> int:
    numbers: dict[str, int] = {}
    labels = np.full(parts.documents, -1, np.int32)
    for part in range(len(parts)):
        column = parts.kept(part).column("label")
        if column.null_count < len(column):
            known = [-1 if name is None else numbers.setdefault(name, len(numbers)) for name in column.to_pylist()]
            labels[parts.starts[part] : parts.starts[part + 1]] = known
    repeated = np.flatnonzero((reason == _EXACT) | (reason == _NEAR))
    own, first = labels[repeated], labels[first_of[repeated]]
    return int(((own != first) & (own >= 0) & (first >= 0)).sum())


def _mark_rare_labels(parts: Parts, chosen: Selection, splits: Splits, label: str, minimum: int) -> None:
    """Drop rows of labels with fewer than `minimum` examples, or with none to learn from in the training split."""
    counts: Counter[str] = Counter()
    in_training: Counter[str] = Counter()
    for part in range(len(parts)):
        kept = chosen.kept_in(parts, part)
        labels = parts.kept(part).column("label")
        if labels.null_count == len(labels):
            continue
        train = splits.of(id_heads(parts, *parts.starts[part : part + 2])) == SPLITS.index("train")
        for name, stays, trains in zip(labels.to_pylist(), kept, train, strict=True):
            if stays and name is not None:
                counts[name] += 1
                in_training[name] += bool(trains)
    if not counts and label:
        raise UserError(
            f"the label {label!r} is empty in every document that was kept. Choose another label column, or give none "
            "to use the text unlabelled."
        )
    if not counts:
        return
    enough = {name for name, count in counts.items() if count >= minimum and in_training[name] > 0}
    if len(enough) < 2:
        raise UserError(_too_few_classes(counts, enough, minimum))
    for part in range(len(parts)):
        labels = parts.kept(part).column("label").to_pylist()
        rare = np.array([name is not None and name not in enough for name in labels], np.bool_)
        part_reason = chosen.reason[parts.starts[part] : parts.starts[part + 1]]
        part_reason[rare & (part_reason == 0)] = _RARE


def _too_few_classes(counts: Counter[str], enough: set[str], minimum: int) -> str:
    shown = ", ".join(f"{name!r} ({count})" for name, count in counts.most_common(3))
    if len(counts) == 1:
        return (
            f"every labelled document has the same label, {shown}: a classifier needs at least two. "
            "Choose another label column, or give none to use the text unlabelled."
        )
    return (
        f"{len(counts)} different labels, the most frequent {shown}, but only {len(enough)} of them with the {minimum} "
        "examples that each needs, one of them in the training split. If the column is not a class, choose another "
        "with --label; if it is, add examples or merge classes; without a label column the text is used unlabelled."
    )
