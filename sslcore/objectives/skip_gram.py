"""Skip-gram with negative sampling: predict the words around each word.

Mikolov, Chen, Corrado, Dean 2013a, "Efficient Estimation of Word Representations in Vector Space"; Mikolov, Sutskever,
Chen, Corrado, Dean 2013b, "Distributed Representations of Words and Phrases and their Compositionality", equation 4.

Wants: text in order, a million words or more. Requires: nothing else; whatever the device, it trains on the CPU.
Relation: the fastest objective there is and the baseline for the others; its vectors are static, one a word.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from sslcore.errors import UserError
from sslcore.models.word_weights import sif_weights, word_counts

if TYPE_CHECKING:
    import torch

    from sslcore.models.encoder import Encoder
    from sslcore.models.word_vectors import WordVectors
    from sslcore.tokenization.encoding import EncodedCorpus
    from sslcore.tokenization.tokenizer import Tokenizer
    from sslcore.training.learner import KernelLearner, Metrics

STRETCH = 8192  # tokens drawn and trained by one call of the kernel; a document is cut at its end
STRETCHES = 8  # in a batch, for threads to share
FINAL_RATE = 1e-4  # word2vec.c's floor, as a share of the learning rate


class Stretch(NamedTuple):
    ids: np.ndarray  # int32 [n]
    boundaries: np.ndarray  # int64 [documents + 1]: offsets into ids
    seed: int


class Stretches(NamedTuple):
    """A batch: consecutive text, cut into stretches of about equal length."""

    stretches: list[Stretch]
    tokens: int
    begin: float
    end: float


class SkipGram(BaseModel):
    """Word vectors by predicting the words around each word (word2vec skip-gram with negative sampling)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, title="Skip-gram")

    kind: Literal["skip_gram"] = "skip_gram"
    dimensions: int = Field(default=100, ge=1, le=4096, description="Length of a word's vector.")
    window: int = Field(
        default=10, ge=1, le=100, description="Words to each side at most; each word draws 1 to this many."
    )
    epochs: int = Field(default=5, ge=1, le=1000, description="Passes over the corpus.")
    negatives: int = Field(default=5, ge=1, le=200, description="Noise words against which each window is told apart.")
    subsampling: float = Field(
        default=1e-4,
        ge=0,
        le=1,
        description="Words more frequent than this share are thinned out; 0 keeps every occurrence.",
    )
    learning_rate: float = Field(default=0.025, gt=0, le=1, description="At the start; falls linearly to nearly 0.")
    pooling: Literal["mean", "sif"] = Field(
        default="sif", description="Vector of a text: mean of its words' vectors, or SIF: frequent words count less."
    )
    deterministic: bool = Field(
        default=True,
        description="Same seed, same bytes: one thread trains. False: all threads train at once (Hogwild), about "
        "proportionally faster, and no two runs are quite equal.",
    )

    def check(self, corpus: "EncodedCorpus", device: str) -> None:
        words = int((word_counts(corpus.tokenizer) > 0).sum())
        if words < 2:
            raise UserError(
                f"skip_gram needs a vocabulary of at least 2 different words, this corpus has {words}: "
                "give more text or lower the tokenizer's minimum_count"
            )
        if not (np.diff(corpus.document_offsets) > 1).any():
            raise UserError("skip_gram learns from neighbours, but no document of this corpus has two words")

    def network(self, tokenizer: "Tokenizer", generator: "torch.Generator") -> "WordVectors":
        import torch

        from sslcore.models.word_vectors import WordVectors

        counts = word_counts(tokenizer)
        weights = sif_weights(counts) if self.pooling == "sif" else (counts > 0).astype(np.float32)
        network = WordVectors(weights, self.dimensions)
        bound = 0.5 / self.dimensions  # as word2vec.c
        with torch.no_grad():
            network.vectors.uniform_(-bound, bound, generator=generator)
        return network

    def batches(self, corpus: "EncodedCorpus", generator: np.random.Generator) -> Iterator[Stretches]:
        """Consecutive text in batches of STRETCHES × STRETCH tokens; the order of batches is shuffled in each epoch."""
        size = STRETCH * STRETCHES
        starts = np.arange(0, corpus.tokens, size)
        total, done = corpus.tokens * self.epochs, 0
        for _ in range(self.epochs):
            for start in generator.permutation(starts):
                end = min(int(start) + size, corpus.tokens)
                cuts = np.append(np.arange(start, end, STRETCH), end)
                seeds = generator.integers(0, 2**63, len(cuts) - 1)
                stretches = [
                    Stretch(corpus.ids[a:b], documents_between(corpus.document_offsets, a, b), int(seed))
                    for a, b, seed in zip(cuts[:-1].tolist(), cuts[1:].tolist(), seeds, strict=True)
                ]
                tokens = end - int(start)
                yield Stretches(stretches, tokens, done / total, (done + tokens) / total)
                done += tokens

    def learner(
        self, encoder: "Encoder", generator: "torch.Generator", *, device: str, workers: int
    ) -> "KernelLearner":
        from sslcore.training.learner import KernelLearner
        from sslcore.training.schedules import linear_decay

        update, export = kernel_update(self, encoder, 1 if self.deterministic else workers)
        return KernelLearner(encoder, update, export, linear_decay(self.learning_rate, self.learning_rate * FINAL_RATE))


def documents_between(offsets: np.ndarray, start: int, end: int) -> np.ndarray:
    """int64: the document offsets within tokens [start, end), counted from start; both ends are boundaries."""
    inside = offsets[np.searchsorted(offsets, start, "right") : np.searchsorted(offsets, end, "left")]
    return np.concatenate([[start], inside, [end]]).astype(np.int64) - start


def kernel_update(
    objective: SkipGram, encoder: "Encoder", threads: int
) -> tuple[Callable[[Stretches, float, float], "Metrics"], Callable[[], None]]:
    """(update, export) for KernelLearner: input vectors start as the encoder's, output vectors as zeros."""
    import torch

    from sslcore.kernels import cpu, draws, reference

    network, counts = encoder.network, word_counts(encoder.tokenizer)
    inputs = np.zeros((len(counts), cpu.padded(objective.dimensions)), dtype=np.float32)
    inputs[:, : objective.dimensions] = network.word_vectors()
    outputs = np.zeros_like(inputs)
    keep = reference.keep_probabilities(counts, objective.subsampling)
    noise = draws.alias_table(reference.noise_distribution(counts))
    pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def update(batch: Stretches, rate_begin: float, rate_end: float) -> "Metrics":
        fall = (rate_end - rate_begin) / len(batch.stretches)

        def train(number: int) -> tuple[float, int]:
            stretch, rate = batch.stretches[number], rate_begin + fall * number
            return cpu.train_stretch(
                np.ascontiguousarray(stretch.ids),
                stretch.boundaries,
                keep,
                noise,
                objective.window,
                objective.negatives,
                np.uint64(stretch.seed),
                inputs,
                outputs,
                rate,
                rate + fall,
            )

        results = list((pool.map if pool else map)(train, range(len(batch.stretches))))
        pairs = sum(n for _, n in results)
        return {"loss": sum(loss for loss, _ in results) / max(1, pairs)}

    def export() -> None:
        with torch.no_grad():
            network.vectors.copy_(torch.from_numpy(inputs[:, : objective.dimensions]))

    return update, export
