"""Next sentence prediction: does the second segment follow the first, or is it of another document?

Devlin, Chang, Lee, Toutanova 2019, "BERT", section 3.1, task 2: in half of the pairs b follows a, in the others it is
from elsewhere; −log p(which) is read from the first token's state and added to the loss of masked language modelling on
the same sequences.

Wants: ten thousand documents or more of several sentences. Requires: two documents of two sentences, or of four tokens;
where a document is one sentence, its two halves are the segments.
Costs: as masked_lm.
Relation: what a pair is about gives most answers away, so it learns topics; sentence_order asks for the order alone and
is the better teacher where documents are long (Lan et al. 2020, table 5).
"""

from typing import ClassVar, Literal

import numpy as np
from pydantic import ConfigDict

from sslcore.objectives.pair_objective import PairObjective, Segments


class NextSentence(PairObjective):
    """A transformer by saying whether one segment follows another, and by hidden tokens (as BERT)."""

    model_config = ConfigDict(title="Next sentence prediction")

    fewest_documents: ClassVar[int] = 2

    kind: Literal["next_sentence"] = "next_sentence"

    def wrong_segments(
        self, segments: Segments, pieces: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """b is of another document, cut to what fits."""
        first, _ = segments.cut(pieces, generator)
        _, second = segments.cut(segments.of_another_document(pieces, generator), generator)
        room = segments.longest - (first[1] - first[0])
        return first, np.stack([second[0], np.minimum(second[1], second[0] + room)])
