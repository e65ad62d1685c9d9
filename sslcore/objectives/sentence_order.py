"""Sentence order prediction: do two segments of one document stand in their order, or are they swapped?

Lan, Chen, Goodman, Gimpel, Sharma, Soricut 2020, "ALBERT", section 3.1, "Inter-sentence coherence loss": half of the
pairs are swapped; −log p(which) is read from the first token's state and added to the loss of masked language modelling
on the same sequences.

Wants: ten thousand documents or more of several sentences. Requires: a document of two sentences, or of four tokens;
where a document is one sentence, its two halves are the segments.
Costs: as masked_lm.
Relation: next_sentence with harder negatives: both segments are about the same, so only what links them helps.
"""

from typing import ClassVar, Literal

import numpy as np
from pydantic import ConfigDict

from sslcore.objectives.pair_objective import PairObjective, Segments


class SentenceOrder(PairObjective):
    """A transformer by saying whether two segments are swapped, and by hidden tokens (as ALBERT)."""

    model_config = ConfigDict(title="Sentence order prediction")

    fewest_documents: ClassVar[int] = 1

    kind: Literal["sentence_order"] = "sentence_order"

    def wrong_segments(
        self, segments: Segments, pieces: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same two, swapped."""
        first, second = segments.cut(pieces, generator)
        return second, first
