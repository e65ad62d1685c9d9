"""Texts between the two tokens that a transformer expects around each."""

import numpy as np


def framing(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(offsets [B + 1], places of the texts' tokens, places of the two of each frame), of texts of these lengths."""
    offsets = np.concatenate([[0], np.cumsum(lengths + 2)])
    outside = np.stack([offsets[:-1], offsets[1:] - 1], axis=1).ravel()
    inside = np.ones(offsets[-1], bool)
    inside[outside] = False
    return offsets, np.flatnonzero(inside), outside


def frame_pieces(
    ids: np.ndarray, bounds: np.ndarray, pieces: np.ndarray, first: int, last: int, longest: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(ids int64 [M], offsets int64 [B + 1]) of these pieces ids[bounds[p]:bounds[p + 1]], each framed.

    Pieces are cut to `longest` tokens, if that is given.
    """
    taken, plain = places_of(bounds, pieces, longest)
    offsets, inside, outside = framing(np.diff(plain))
    framed = np.empty(offsets[-1], np.int64)
    framed[inside] = ids[taken]
    framed[outside] = np.tile([first, last], len(pieces))
    return framed, offsets


def frame_pairs(
    firsts: tuple[np.ndarray, np.ndarray],
    seconds: tuple[np.ndarray, np.ndarray],
    first: int,
    last: int,
    *,
    separators: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ids, kinds, offsets) int64 of `first` a `last` b `last` for each a and b, with so many `last` between the two.

    `firsts` and `seconds` are (ids, offsets [B + 1], from 0) of B texts. Kinds are 0 up to the last token between the
    two, then 1: BERT's token types.
    """
    lengths_a, lengths_b = np.diff(firsts[1]), np.diff(seconds[1])
    offsets = np.concatenate([[0], np.cumsum(lengths_a + lengths_b + separators + 2)])
    framed = np.full(offsets[-1], last, np.int64)
    framed[offsets[:-1]] = first
    begins_b = offsets[:-1] + 1 + lengths_a + separators
    for (ids, bounds), begins, lengths in ((firsts, offsets[:-1] + 1, lengths_a), (seconds, begins_b, lengths_b)):
        framed[np.repeat(begins - bounds[:-1], lengths) + np.arange(lengths.sum())] = ids
    kinds = np.arange(offsets[-1]) >= np.repeat(begins_b, np.diff(offsets))
    return framed, kinds.astype(np.int64), offsets


def without_ends(framed: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same without the last token of each, as a model wants them that never sees what follows."""
    return np.delete(framed, offsets[1:] - 1), offsets - np.arange(len(offsets))


def places_of(offsets: np.ndarray, rows: np.ndarray, longest: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(places int64 [N], offsets [B + 1]) of the tokens of these rows, one after another, each cut to `longest`.

    Row r stands at offsets[r]:offsets[r + 1]; the new offsets say where each of the chosen stands among the places.
    """
    lengths = offsets[rows + 1] - offsets[rows]
    if longest is not None:
        lengths = np.minimum(lengths, longest)
    new = np.concatenate([[0], np.cumsum(lengths)])
    return np.arange(new[-1]) + np.repeat(offsets[rows] - new[:-1], lengths), new
