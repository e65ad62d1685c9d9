"""How good tags are: entities as `seqeval` counts them, and how to tell whether tags mark entities at all.

BIO (Ramshaw & Marcus 1995; IOB1 and IOB2) writes B- where an entity begins, I- inside and O outside; BIOES marks the
last token E- and a single one S-. Entities are read as the conlleval script of CoNLL-2000 does and as seqeval does by
default, leniently: a tag of another type begins a new entity, whatever its letter.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

Scheme = Literal["BIO", "BIOES", "plain"]

OUTSIDE = "O"
_MARK = re.compile(r"[BIES](-.+)?")


class Entity(NamedTuple):
    kind: str  # the type; "" where tags name none
    first: int
    last: int


class EntityScores(NamedTuple):
    """Over all entities together (micro), in 0..1; 0 where nothing could be right."""

    precision: float
    recall: float
    f1: float


def scheme_of(tags: Iterable[str]) -> Scheme:
    """What tags are: marks of entities, BIOES where some end or stand alone; or plain, as parts of speech are."""
    marks = set(tags) - {OUTSIDE}
    if not marks or not all(_MARK.fullmatch(tag) for tag in marks):
        return "plain"
    return "BIOES" if any(tag[0] in "ES" for tag in marks) else "BIO"


def entities(tags: Sequence[str]) -> list[Entity]:
    """The entities of one row's tags, in their order."""
    found: list[Entity] = []
    begin: int | None = None
    letter, kind = OUTSIDE, ""
    for place, tag in enumerate([*tags, OUTSIDE]):
        before, kind_before = letter, kind
        letter, kind = tag[:1], tag[2:]
        inside = letter != OUTSIDE
        begins = inside and (letter in "BS" or before in "OES" or kind != kind_before)
        if begin is not None and (begins or not inside):
            found.append(Entity(kind_before, begin, place - 1))
            begin = None
        if begins:
            begin = place
    return found


def entity_scores(truth: Iterable[Sequence[str]], said: Iterable[Sequence[str]]) -> EntityScores:
    """Precision, recall and F1 of entities: right is the one with the same first and last token and type.

    Both are rows of tags, row by row of one length. Equal to seqeval's precision_score, recall_score and f1_score.
    """
    true = predicted = hits = 0
    for tags, guesses in zip(truth, said, strict=True):
        wanted, got = set(entities(tags)), set(entities(guesses))
        true, predicted, hits = true + len(wanted), predicted + len(got), hits + len(wanted & got)
    return EntityScores(hits / max(1, predicted), hits / max(1, true), 2 * hits / max(1, true + predicted))
