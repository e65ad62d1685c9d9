"""A convolutional autoencoder over sequences of words: say from a text's vector which word stood where.

    p(word at t = v) = softmax_v(cos(s_t, e_v) / τ),   s = the decoder's states, e_v the encoder's vector of word v

Zhang, Shen, Wang, Gan, Henao, Carin 2017, "Deconvolutional Paragraph Representation Learning", section 2.2: transposed
convolutions unfold the vector into a state for every place, and the word is found by its cosine. Here the loss is the
mean over texts of the mean over restored places, which are drawn as word2vec's subsampling keeps words: else nearly all
of it is "the" and "of". A text is its first `maximum_tokens` known words; nothing behind its end is restored.

Wants: tens of thousands of documents. Requires: nothing else; many times the time of the bags' autoencoders.
Costs: a convolution over every token each way, and the vocabulary for every token.
Relation: sees the order of words, which the others here do not. On 20 Newsgroups and R52 its vectors are better than
untrained ones (macro F1 of 8 labels a class .24 and .25, untrained .08 and .18), but far below `autoencoder`'s (.63 and
.63): a few hundred steps do not teach it which word stood where, and the order of words says little of a topic.
"""

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from pydantic import ConfigDict, Field, field_validator

from sslcore.models.word_weights import damping, sif_weights, word_counts
from sslcore.objectives.bag_objective import DAMPING, BagObjective, DocumentOrder, gather, most_frequent
from sslcore.randomness import numpy_generator

if TYPE_CHECKING:
    import torch

    from sslcore.models.convolutional import ConvolutionalEncoder
    from sslcore.models.encoder import Encoder
    from sslcore.tokenization.encoding import EncodedCorpus
    from sslcore.tokenization.tokenizer import Tokenizer


class CutTexts(NamedTuple):
    """A batch of B texts, cut, and which of their places are to be restored."""

    ids: np.ndarray  # int64 [N]
    offsets: np.ndarray  # int64 [B + 1]
    restored: np.ndarray  # bool [N]
    tokens: int
    begin: float
    end: float

    @property
    def weight(self) -> int:
        """Documents."""
        return len(self.offsets) - 1

    def share(self, rank: int, size: int) -> "CutTexts":
        """Every size-th document from rank on, for one of `size` processes."""
        rows = np.arange(rank, self.weight, size)
        ids, of_row = gather(self.ids, self.offsets, rows)
        restored, _ = gather(self.restored, self.offsets, rows)
        return self._replace(ids=ids, offsets=row_offsets(of_row, len(rows)), restored=restored)


class SequenceBatches:
    """Texts in a new order each epoch, other places of them restored in each step."""

    def __init__(self, objective: "ConvolutionalAutoencoder", corpus: "EncodedCorpus", seed: int) -> None:
        self._corpus = corpus
        self._offsets = np.asarray(corpus.document_offsets)
        self._longest, self._seed = objective.maximum_tokens, seed
        self._order = DocumentOrder(corpus, objective.epochs, objective.batch_size, seed)
        counts = word_counts(corpus.tokenizer)
        self._chance_V = np.zeros(len(counts), np.float32)
        words = most_frequent(counts, objective.reconstructed_words)
        self._chance_V[words] = damping(counts, DAMPING)[words]

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, step: int) -> CutTexts:
        chosen, begin, end = self._order(step)
        ids, rows = gather(self._corpus.ids, self._offsets, chosen)
        tokens, known = len(ids), ids >= self._corpus.tokenizer.first_word_id
        ids, rows = ids[known].astype(np.int64), rows[known]
        offsets = row_offsets(rows, len(chosen))
        first = np.arange(len(ids)) - offsets[rows] < self._longest
        ids, rows = ids[first], rows[first]
        draws = numpy_generator(self._seed, "restored", step).random(len(ids))
        restored = draws < self._chance_V[ids]
        return CutTexts(ids, row_offsets(rows, len(chosen)), restored, tokens, begin, end)


class ConvolutionalAutoencoder(BagObjective):
    """Text vectors by restoring which word stood where, with convolutions (convolutional autoencoder)."""

    model_config = ConfigDict(title="Convolutional autoencoder")

    kind: Literal["convolutional_autoencoder"] = "convolutional_autoencoder"
    maximum_tokens: int = Field(default=64, ge=2, le=4096, description="Longest text, in words; texts are cut there.")
    word_dimensions: int = Field(default=128, ge=1, le=4096, description="Length of a word's vector.")
    channels: int = Field(default=128, ge=1, le=4096, description="Width of the convolutions.")
    layers: int = Field(
        default=2,
        ge=1,
        le=8,
        description="Convolutions, of the encoder and of the decoder, where each doubles the length.",
    )
    kernel: int = Field(default=3, ge=3, le=31, description="Words that a convolution sees; an odd number.")
    temperature: float = Field(default=0.1, gt=0, le=10, description="Of the softmax over cosines (τ).")

    @field_validator("kernel")
    @classmethod
    def _odd(cls, kernel: int) -> int:
        if kernel % 2 == 0:
            raise ValueError(f"kernel is {kernel}; give an odd number, with a middle")
        return kernel

    def network(self, tokenizer: "Tokenizer", generator: "torch.Generator") -> "ConvolutionalEncoder":
        from sslcore.models.convolutional import ConvolutionalEncoder

        return ConvolutionalEncoder(
            sif_weights(word_counts(tokenizer)),
            generator,
            word_dimensions=self.word_dimensions,
            channels=self.channels,
            layers=self.layers,
            kernel=self.kernel,
            dimensions=self.dimensions,
            maximum_tokens=self.maximum_tokens,
        )

    def batches(self, corpus: "EncodedCorpus", seed: int) -> SequenceBatches:
        return SequenceBatches(self, corpus, seed)

    def _loss(self, encoder: "Encoder", generator: "torch.Generator") -> "torch.nn.Module":
        from sslcore.objectives._sequence_reconstruction import SequenceReconstruction

        return SequenceReconstruction(self, *self._restoring(encoder), generator)


def row_offsets(rows: np.ndarray, count: int) -> np.ndarray:
    """int64 [count + 1]: where each row begins among tokens of which `rows`, never falling, says the row."""
    return np.searchsorted(rows, np.arange(count + 1))
