"""Skip-gram: predict a word from each of the words around it.

Mikolov, Chen, Corrado, Dean 2013a, "Efficient Estimation of Word Representations in Vector Space", section 3.2; with
the outputs of Mikolov, Sutskever, Chen, Corrado, Dean 2013b, "Distributed Representations of Words and Phrases and
their Compositionality": negative sampling (equation 4) or hierarchical softmax (section 2.1).

Wants: text in order, a million words or more.
Requires: nothing else. Trains on the CPU; with noise words on a GPU too, if that is the device.
Costs: window × (negatives + 1) products of two vectors a word.
Relation: the baseline for the other objectives; its vectors are static, one a word. CBOW is faster and a little worse
on rare words.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict

from sslcore.objectives.word_objective import WordObjective, window_learner

if TYPE_CHECKING:
    import torch

    from sslcore.models.encoder import Encoder
    from sslcore.training.learner import KernelLearner


class SkipGram(WordObjective):
    """Word vectors by predicting a word from each of the words around it (word2vec skip-gram)."""

    model_config = ConfigDict(title="Skip-gram")

    kind: Literal["skip_gram"] = "skip_gram"

    def learner(
        self, encoder: "Encoder", generator: "torch.Generator", *, device: str, workers: int
    ) -> "KernelLearner":
        from sslcore.kernels.cpu import SKIP_GRAM

        return window_learner(self, SKIP_GRAM, encoder, device, workers)
