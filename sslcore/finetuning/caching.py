"""What the frozen part of an encoder gives is computed once, before the run, whatever shape the rows have.

A frozen layer in evaluation mode gives a sequence of tokens the same states at every pass, so they are kept under the
tokens themselves: no shape has to know of it, and a text that two rows share is computed once. Two things are kept,
by what is frozen:

    the whole encoder        vectors of texts, D numbers each, and for shapes that read tokens their last states
    the layers below one     the states that enter it, D numbers a token; the run starts from there

All rows are met before the first step, in one order, so that a run that goes on after a kill has the very same numbers.

Letters: N tokens of all texts, B texts, M tokens with the frames, D dimensions.
"""

import logging
import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sslcore.finetuning.freezing import LayerGroups, frozen_groups
from sslcore.models.ragged import Sequences
from sslcore.models.transformer import tokens_at_once

if TYPE_CHECKING:
    from sslcore.finetuning.encoded import EncodedTexts
    from sslcore.finetuning.shapes.seam import DownstreamNetwork, Examples

SHARE_OF_MEMORY = 0.25  # of all there is, not of what is free: whether a run is cached must not change from day to day
FRAME = 2  # tokens around a text

log = logging.getLogger("sslcore.finetuning")


class KeptRows:
    """Pieces of one tall matrix, found by their keys: piece k is rows[offsets[k]:offsets[k + 1]]."""

    def __init__(self) -> None:
        self._places: dict[bytes, int] = {}
        self._offsets = np.zeros(1, np.int64)
        self._rows = torch.empty(0)

    def add(self, keys: Sequence[bytes], lengths: np.ndarray, rows: torch.Tensor) -> None:
        """Keep these pieces, which lie one after another in `rows`, but those that are there already."""
        ends = np.cumsum(lengths)
        new: dict[bytes, int] = {}
        for place, key in enumerate(keys):
            if key not in self._places:
                new.setdefault(key, place)
        if not new:
            return
        chosen = np.array(list(new.values()))
        places = _spread(ends[chosen] - lengths[chosen], lengths[chosen])
        filled = int(self._offsets[-1])
        self._make_room(filled + len(places), rows)
        self._rows[filled : filled + len(places)] = rows[torch.from_numpy(places).to(rows.device)]
        self._places |= {key: len(self._places) + number for number, key in enumerate(new)}
        self._offsets = np.concatenate([self._offsets, filled + np.cumsum(lengths[chosen])])

    def of(self, keys: Sequence[bytes]) -> torch.Tensor | None:
        """The pieces one after another; None if one of them is not there."""
        found = [self._places.get(key, -1) for key in keys]
        if not found or min(found) < 0:
            return None
        pieces = np.array(found)
        starts = self._offsets[pieces]
        places = _spread(starts, self._offsets[pieces + 1] - starts)
        return self._rows.index_select(0, torch.from_numpy(places).to(self._rows.device))

    def bytes_of(self, rows: int) -> int:
        """What so many rows take; 0 where nothing is kept."""
        return rows * self._rows[:1].nbytes

    def reserve(self, rows: int) -> None:
        """Make room for so many rows in all, if any are kept."""
        if len(self._rows):
            self._make_room(rows, self._rows)

    @property
    def bytes(self) -> int:
        return self.bytes_of(int(self._offsets[-1]))

    def _make_room(self, rows: int, like: torch.Tensor) -> None:
        if rows > len(self._rows):
            grown = like.new_empty(max(rows, 2 * len(self._rows)), *like.shape[1:])  # the CPU's fills page by page
            if filled := int(self._offsets[-1]):
                grown[:filled] = self._rows[:filled]
            self._rows = grown


class FrozenOutputs:
    """What the lowest `layers` of an encoder give, or with None all of it; kept by `fill`, and read once attached."""

    def __init__(self, layers: int | None) -> None:
        self._layers = layers
        self._vectors, self._states = KeptRows(), KeptRows()
        self._filling = self._inside = False

    def attach(self, encoder: Any) -> None:
        """Let the encoder look here before it computes. What is not kept it computes as ever."""
        if self._layers is None:
            encoder.forward = self._forward(encoder.forward)
        if hasattr(encoder, "states"):
            encoder.states = self._last_states(encoder, encoder.states)

    def detach(self, encoder: Any) -> None:
        """Undo `attach`."""
        for name in ("forward", "states"):
            encoder.__dict__.pop(name, None)

    def fill(self, network: "DownstreamNetwork", parts: Sequence["Examples"], most: float) -> float:
        """Meet all examples, those of about one length together; `network` has the encoder that this is attached to.

        Returns the bytes that it takes; if these are more than `most`, which the first rows tell, nothing is kept.
        """
        texts = [text for part in parts for text in part.texts]
        tokens, rows = sum(len(text.ids) + FRAME * len(text) for text in texts), sum(map(len, texts))
        wanted, at_once = 0.0, tokens_at_once(next(network.parameters()).device)
        training = network.training
        network.eval()
        self._filling = True
        with torch.no_grad():
            for examples in parts:
                for chosen in _rows_of_about_one_length(examples.texts, at_once):
                    network.features(examples.take(chosen))
                    first, wanted = not wanted, max(wanted, self.bytes)
                    if first:
                        wanted = self._vectors.bytes_of(rows) + self._states.bytes_of(tokens)
                    if wanted > most:
                        self._vectors, self._states, self._filling = KeptRows(), KeptRows(), False
                        return wanted
                    if first:
                        self._vectors.reserve(rows)
                        self._states.reserve(tokens)
        self._filling = False
        network.train(training)
        return self.bytes

    @property
    def bytes(self) -> int:
        return self._vectors.bytes + self._states.bytes

    def _forward(self, forward: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def vectors(ids_N: torch.Tensor, offsets_B: torch.Tensor) -> torch.Tensor:
            keys = _keys(ids_N, offsets_B.cpu().numpy())
            if (kept_BD := self._vectors.of(keys)) is not None:
                return kept_BD
            self._inside = True  # the states of the tokens are not what is asked for
            try:
                vectors_BD = forward(ids_N, offsets_B)
            finally:
                self._inside = False
            if self._filling:
                self._vectors.add(keys, np.ones(len(keys), np.int64), vectors_BD)
            return vectors_BD

        return vectors

    def _last_states(self, encoder: Any, states: Callable[[Sequences], torch.Tensor]) -> Callable[..., torch.Tensor]:
        layers = self._layers

        def last_states(sequences: Sequences) -> torch.Tensor:
            if self._inside or not len(sequences.ids):
                return states(sequences)
            keys = _keys(sequences.ids, sequences.offsets, sequences.kinds)
            below_MD = self._states.of(keys)
            if below_MD is None:
                below_MD = states(sequences) if layers is None else encoder.states_below(layers, sequences)
                if self._filling:
                    self._states.add(keys, np.diff(sequences.offsets), below_MD)
            if layers is None or self._filling:  # while all rows are met, nobody reads what comes of it
                return below_MD
            return encoder.states_from(layers, below_MD, sequences)

        return last_states


def kept_outputs(
    network: "DownstreamNetwork", groups: LayerGroups, never_learn: frozenset[str], parts: Sequence["Examples"]
) -> FrozenOutputs | None:
    """What is frozen from the input up to some layer for the whole run, of the examples in all `parts`.

    None where no layer is, or where it would take more than SHARE_OF_MEMORY of the machine's memory. Both are logged.
    The encoder of `network` then looks there.
    """
    encoder: Any = network.encoder
    frozen = frozen_groups(groups, never_learn)
    whole = frozen == len(groups)
    if whole and any(parameter.requires_grad for parameter in encoder.parameters()):
        return None  # adapters
    if not whole and (frozen < 2 or not getattr(encoder, "layered", False)):
        return None  # to look embeddings up again costs nothing
    what = "the frozen encoder gives" if whole else f"the layers up to {groups[frozen - 1][0]}, which are frozen, give"
    kept = FrozenOutputs(None if whole else frozen - 1)
    kept.attach(encoder)
    most = SHARE_OF_MEMORY * memory_of(next(encoder.parameters()).device)
    taken = kept.fill(network, parts, most)
    if taken > most:
        kept.detach(encoder)
        log.warning(
            "what %s is computed anew at every pass: to keep it would take %.2f GB, and the most that is kept is "
            "%.2f GB, %.0f %% of the memory",
            what, taken / 1e9, most / 1e9, 100 * SHARE_OF_MEMORY,
        )  # fmt: skip
        return None
    log.info("what %s is computed once and kept: %.1f MB", what, taken / 1e6)
    return kept


def memory_of(device: torch.device) -> int:
    """Bytes that the device, or for the CPU the machine, has."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _keys(ids_N: torch.Tensor, offsets: np.ndarray, kinds_N: torch.Tensor | None = None) -> list[bytes]:
    """What tells sequences apart: their ids, and which text each token is of."""
    ids = ids_N.cpu().numpy().astype(np.int32)
    kinds = None if kinds_N is None else kinds_N.cpu().numpy().astype(np.int8)
    bounds = offsets.tolist()
    if kinds is None:
        return [ids[a:b].tobytes() for a, b in pairwise(bounds)]
    return [ids[a:b].tobytes() + kinds[a:b].tobytes() + b"k" for a, b in pairwise(bounds)]


def _spread(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """int64: the places start, start + 1, … of each piece, one piece after another."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(starts - (ends - lengths), lengths)


def _rows_of_about_one_length(texts: Sequence["EncodedTexts"], at_once: int) -> list[np.ndarray]:
    """All rows, the short ones first, in parts of about so many tokens."""
    if not texts or not len(texts[0]):
        return []
    lengths = np.sum([text.lengths + FRAME for text in texts], axis=0)
    order = np.argsort(lengths, kind="stable")
    parts = np.cumsum(lengths[order]) // at_once
    return np.split(order, np.flatnonzero(np.diff(parts)) + 1)
