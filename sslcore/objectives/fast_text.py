"""FastText: skip-gram on words that are bags of character n-grams, so that a word never seen has a vector too.

Bojanowski, Grave, Joulin, Mikolov 2017, "Enriching Word Vectors with Subword Information", equation 1 with the scoring
function of section 3.2.

Wants: text in order, a million words or more; gains most where words have many forms, or are often misspelt.
Requires: a tokenizer of words; whatever the device, it trains on the CPU.
Costs: as skip_gram, and a row for each n-gram of a word beside its own.
Relation: skip-gram, three times as much work; better on rare words and on form, a little worse on meaning.
"""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from sslcore.errors import UserError
from sslcore.models.word_weights import sif_weights
from sslcore.objectives.word_objective import Stretch, WordObjective

if TYPE_CHECKING:
    import torch

    from sslcore.models.encoder import Encoder
    from sslcore.models.subword_vectors import SubwordVectors
    from sslcore.tokenization.tokenizer import Tokenizer
    from sslcore.training.learner import KernelLearner


class FastText(WordObjective):
    """Word vectors from the n-grams in a word, by predicting the words around it (fastText skip-gram)."""

    model_config = ConfigDict(title="FastText")

    kind: Literal["fast_text"] = "fast_text"
    output: Literal["negative_sampling"] = Field(default="negative_sampling", description="Noise words.")
    pooling: Literal["mean", "sif"] = Field(
        default="sif", description="Vector of a text: mean of its words' vectors, or SIF: frequent words count less."
    )
    shortest_ngram: int = Field(default=3, ge=1, le=20, description="Characters, the marks of begin and end included.")
    longest_ngram: int = Field(default=6, ge=1, le=20, description="Characters, the marks of begin and end included.")
    buckets: int = Field(
        default=2_000_000, ge=1, le=2**31 - 1, description="N-grams fall into this many; only used ones take memory."
    )

    @property
    def final_rate(self) -> float:
        """As fastText's."""
        return 1e-4

    @model_validator(mode="after")
    def _ordered(self) -> "FastText":
        if self.shortest_ngram > self.longest_ngram:
            raise ValueError(
                f"shortest_ngram is {self.shortest_ngram}, longest_ngram is {self.longest_ngram}; swap them"
            )
        return self

    def network(self, tokenizer: "Tokenizer", generator: "torch.Generator") -> "SubwordVectors":
        import torch

        from sslcore.kernels.subwords import put_together
        from sslcore.models.subword_vectors import NgramSpace, SubwordVectors

        counts = self.counts(tokenizer)
        weights = sif_weights(counts) if self.pooling == "sif" else (counts > 0).astype(np.float32)
        space = NgramSpace(self.shortest_ngram, self.longest_ngram, self.buckets)
        network = SubwordVectors(counts, weights, self.dimensions, space, tokenizer.tokens)
        if self.continuable:
            network.keep_outputs(len(counts))
        bound = 1 / self.dimensions  # as fastText
        with torch.no_grad():
            network.vectors.uniform_(-bound, bound, generator=generator)
            # A word begins as the mean of its bag: words alike in form begin alike.
            network.vectors.copy_(torch.from_numpy(put_together(network.vectors.numpy(), network.bags)))
        return network

    def take_up(self, encoder: "Encoder", earlier: "Encoder") -> None:
        """The n-grams go on too; a new word begins as the mean of those it has."""
        import torch

        from sslcore.kernels.subwords import put_together

        network, before = encoder.network, earlier.network
        if getattr(before, "space", None) != network.space:
            raise UserError(
                f"fast_text cannot go on from {earlier!r}: give a FastText encoder with the same n-grams and buckets"
            )
        _, here, there = np.intersect1d(network.used, before.used, assume_unique=True, return_indices=True)
        with torch.no_grad():
            network.vectors[network.vocabulary + here] = before.vectors[before.vocabulary + there].cpu()
            network.vectors.copy_(torch.from_numpy(put_together(network.vectors.numpy(), network.bags)))
        super().take_up(encoder, earlier)

    def learner(
        self, encoder: "Encoder", generator: "torch.Generator", *, device: str, workers: int
    ) -> "KernelLearner":
        from sslcore.kernels import cpu, reference, subwords
        from sslcore.kernels.lanes import aligned_zeros

        network, counts = encoder.network, self.counts(encoder.tokenizer)
        inputs = aligned_zeros(len(network.vectors), cpu.padded(self.dimensions))
        outputs = aligned_zeros(len(counts), cpu.padded(self.dimensions))
        keep = reference.keep_probabilities(counts, self.subsampling)
        noise = self.kernel_output(counts).noise

        def train_stretch(stretch: Stretch, *matrices_and_rates: Any) -> tuple[float, int]:
            ids, seed = np.ascontiguousarray(stretch.ids), np.uint64(stretch.seed)
            return subwords.train_subword_stretch(
                ids, stretch.boundaries, keep, self.window, network.bags, noise, self.negatives, seed,
                *matrices_and_rates,
            )  # fmt: skip

        learner = self.kernel_learner(
            encoder,
            train_stretch,
            inputs,
            outputs,
            workers,
            finished=lambda: subwords.put_together(inputs, network.bags),
        )
        subwords.take_apart(inputs, network.bags)
        return learner
