"""CBOW: predict a word from the words around it taken together.

Mikolov, Chen, Corrado, Dean 2013a, "Efficient Estimation of Word Representations in Vector Space", section 3.1; outputs
as in skip-gram.

Wants: text in order, ten million words or more: it sees each window once where skip-gram sees every pair.
Requires: nothing else. Trains on the CPU; with noise words on a GPU too, if that is the device.
Costs: negatives + 1 products of two vectors a word.
Relation: skip-gram's faster sister.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict, Field

from sslcore.objectives.word_objective import WordObjective, window_learner

if TYPE_CHECKING:
    import torch

    from sslcore.models.encoder import Encoder
    from sslcore.training.learner import KernelLearner


class CBOW(WordObjective):
    """Word vectors by predicting a word from the words around it together (word2vec continuous bag of words)."""

    model_config = ConfigDict(title="CBOW")

    kind: Literal["cbow"] = "cbow"
    learning_rate: float = Field(default=0.05, gt=0, le=1, description="At the start.")  # word2vec.c's for CBOW
    context: Literal["mean", "sum"] = Field(
        default="mean", description="How the words around are taken together: their mean, or their sum."
    )

    def learner(
        self, encoder: "Encoder", generator: "torch.Generator", *, device: str, workers: int
    ) -> "KernelLearner":
        from sslcore.kernels.cpu import CBOW_MEAN, CBOW_SUM

        return window_learner(self, CBOW_MEAN if self.context == "mean" else CBOW_SUM, encoder, device, workers)
