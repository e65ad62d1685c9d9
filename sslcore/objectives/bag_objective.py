"""What the autoencoders over bags of words share: their batches, the fields of all of them, and how they are trained.

The loss is the multinomial log-likelihood of Liang, Krishnan, Hoffman, Jebara 2018, "Variational Autoencoders for
Collaborative Filtering", equation 2. In the bag to be restored a word that occurs n times weighs log(1 + n), damped as
word2vec's subsampling thins out frequent words: else "the" and "of" are most of it.
"""

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from sslcore.errors import UserError
from sslcore.models.framing import places_of
from sslcore.models.word_weights import damping, sif_weights, word_counts
from sslcore.objectives.family import Family
from sslcore.randomness import numpy_generator
from sslcore.training.epochs import EpochOrder
from sslcore.training.schedules import Schedule, warmup_cosine

if TYPE_CHECKING:
    import torch

    from sslcore.models.encoder import Encoder
    from sslcore.tokenization.encoding import EncodedCorpus
    from sslcore.tokenization.registry import Tokenization
    from sslcore.tokenization.tokenizer import Tokenizer
    from sslcore.training.learner import TorchLearner

DAMPING = 1e-5  # of frequent words in the bag that is restored; with every word counting in full, the probe halved


class Bags(NamedTuple):
    """A batch of B documents: the corrupted texts, and the clean bags as a sparse matrix of M entries."""

    ids: np.ndarray  # int64 [N]: the tokens that were not deleted
    offsets: np.ndarray  # int64 [B + 1]
    bag_documents: np.ndarray  # int64 [M]: row of each entry of the clean bags
    bag_words: np.ndarray  # int64 [M]: token id
    bag_weights: np.ndarray  # float32 [M]
    tokens: int
    begin: float
    end: float

    @property
    def weight(self) -> int:
        """Documents."""
        return len(self.offsets) - 1

    def share(self, rank: int, size: int) -> "Bags":
        """Every size-th document from rank on, for one of `size` processes."""
        rows = np.arange(rank, self.weight, size)
        ids, of_row = gather(self.ids, self.offsets, rows)
        place = np.full(self.weight, -1)
        place[rows] = np.arange(len(rows))
        here = place[self.bag_documents] >= 0
        return self._replace(
            ids=ids,
            offsets=np.searchsorted(of_row, np.arange(len(rows) + 1)),
            bag_documents=place[self.bag_documents[here]],
            bag_words=self.bag_words[here],
            bag_weights=self.bag_weights[here],
        )


class DocumentOrder:
    """Which documents a step takes: all in a new order each epoch; those without a token are left out."""

    def __init__(self, corpus: "EncodedCorpus", epochs: int, batch_size: int, seed: int) -> None:
        self._documents = np.flatnonzero(np.diff(np.asarray(corpus.document_offsets)) > 0)
        self._epochs, self._batch_size = epochs, batch_size
        self._order = EpochOrder(len(self._documents), seed)
        self._per_epoch = -(-len(self._documents) // batch_size)

    def __len__(self) -> int:
        return self._per_epoch * self._epochs

    def __call__(self, step: int) -> tuple[np.ndarray, float, float]:
        """(documents, begin, end)"""
        epoch, number = divmod(step, self._per_epoch)
        start = number * self._batch_size
        chosen = self._documents[self._order(epoch)[start : start + self._batch_size]]
        done, total = epoch * len(self._documents) + start, len(self._documents) * self._epochs
        return chosen, done / total, (done + len(chosen)) / total


class BagBatches:
    """Documents and their clean bags; `deletion` says of a share of the run what share of a text's words to hide."""

    def __init__(self, corpus: "EncodedCorpus", epochs: int, batch_size: int, deletion: Schedule, seed: int) -> None:
        self._corpus = corpus
        self._offsets = np.asarray(corpus.document_offsets)
        self._importance_V = damping(word_counts(corpus.tokenizer), DAMPING)
        self._deletion, self._seed = deletion, seed
        self._order = DocumentOrder(corpus, epochs, batch_size, seed)

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, step: int) -> Bags:
        chosen, begin, end = self._order(step)
        ids, rows = gather(self._corpus.ids, self._offsets, chosen)
        tokens, known = len(ids), ids >= self._corpus.tokenizer.first_word_id
        ids, rows = ids[known].astype(np.int64), rows[known]
        size = len(self._importance_V)
        keys, entry, counts = np.unique(rows * size + ids, return_inverse=True, return_counts=True)
        draws = numpy_generator(self._seed, "deletion", step).random(len(keys))
        kept = (draws >= self._deletion(begin))[entry]
        return Bags(
            ids[kept],
            np.searchsorted(rows[kept], np.arange(len(chosen) + 1)),
            keys // size,
            keys % size,
            (np.log1p(counts) * self._importance_V[keys % size]).astype(np.float32),
            tokens,
            begin,
            end,
        )


class BagObjective(BaseModel):
    """An autoencoder: `_loss` is what it adds, and what it encodes with, if that is not the bag network, `network`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    family: ClassVar[Family] = "reconstruction"
    vocabulary_grows: ClassVar[bool] = False
    kind: str  # each objective's own literal; named here so that it leads in forms and files
    dimensions: int = Field(default=256, ge=1, le=4096, description="Length of a text's vector.")
    reconstructed_words: int = Field(
        default=4096, ge=2, description="How many of the most frequent words are to be restored."
    )
    epochs: int = Field(default=4, ge=1, le=1000, description="Passes over the corpus.")
    batch_size: int = Field(default=128, ge=1, le=65536, description="Documents in a step.")
    learning_rate: float = Field(
        default=5e-3, gt=0, le=1, description="Highest rate of Adam; warm-up, then a cosine to 0."
    )

    deterministic: bool = Field(
        default=True,
        description="Same seed, same bytes: one thread trains. False: torch uses all threads, which helps on a quiet "
        "machine with many cores and hurts on a busy one.",
    )

    @property
    def tokenization(self) -> "Tokenization":
        from sslcore.tokenization.words import Words

        return Words()

    def check(self, corpus: "EncodedCorpus", device: str) -> None:
        words = int((word_counts(corpus.tokenizer) > 0).sum())
        if words < 2:
            raise UserError(
                f"{self.kind} needs a vocabulary of at least 2 different words, this corpus has {words}: "
                "give more text or lower the tokenizer's minimum_count"
            )

    def network(self, tokenizer: "Tokenizer", generator: "torch.Generator") -> Any:
        from sslcore.models.bag_autoencoder import BagEncoder

        return BagEncoder(sif_weights(word_counts(tokenizer)), self.dimensions, generator)

    def going_on_from(self, earlier: "Encoder") -> Self:
        """The same. Raises UserError for an encoder of another kind or other dimensions."""
        if earlier.objective["kind"] != self.kind:
            raise UserError(f"{self.kind} cannot go on from {earlier!r}: it goes on from one of its own kind")
        if earlier.dimensions != self.dimensions:
            raise UserError(f"dimensions is {self.dimensions}, but {earlier!r} is to go on: give the same")
        return self

    def take_up(self, encoder: "Encoder", earlier: "Encoder") -> None:
        """The encoder's weights go on, the decoder starts again."""
        if earlier.tokenizer.tokens != encoder.tokenizer.tokens:
            raise UserError(
                f"{self.kind} cannot go on from {earlier!r} on a corpus with another vocabulary: encode it with that "
                "encoder's tokenizer as it is; its vocabulary does not grow"
            )
        encoder.network.load_state_dict(earlier.network.state_dict())

    def batches(self, corpus: "EncodedCorpus", seed: int) -> Any:
        return BagBatches(corpus, self.epochs, self.batch_size, self._deletion, seed)

    def learner(self, encoder: "Encoder", generator: "torch.Generator", *, device: str, workers: int) -> "TorchLearner":
        import torch

        from sslcore.randomness import drawn_seed
        from sslcore.training.learner import TorchLearner

        loss = self._loss(encoder, generator).to(device)
        return TorchLearner(
            encoder,
            loss,
            [torch.optim.Adam(loss.parameters(), fused=True)],
            self._rate,
            threads=1 if self.deterministic else workers,
            seed=drawn_seed(generator),
        )

    def _loss(self, encoder: "Encoder", generator: "torch.Generator") -> "torch.nn.Module":
        """The module whose `loss` is descended, on the CPU."""
        from sslcore.objectives._bag_reconstruction import BagReconstruction

        return BagReconstruction(*self._restoring(encoder), generator)

    def _rate(self, done: float) -> float:
        return warmup_cosine(self.learning_rate)(done)

    def _deletion(self, done: float) -> float:
        """Share of a text's different words that are hidden from the encoder at this share of the run."""
        return getattr(self, "deletion", 0.0)

    def _restoring(self, encoder: "Encoder") -> tuple[Any, np.ndarray, int]:
        """The encoder's network, the ids of the words that are restored, and the size of the vocabulary."""
        words = most_frequent(word_counts(encoder.tokenizer), self.reconstructed_words)
        return encoder.network, words, encoder.tokenizer.vocabulary_size


def gather(ids: np.ndarray, offsets: np.ndarray, documents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(ids int32 [N], row int64 [N]): the tokens of these documents one after another, and which of them each is of."""
    places, bounds = places_of(offsets, documents)
    return ids[places], np.repeat(np.arange(len(documents)), np.diff(bounds))


def most_frequent(counts: np.ndarray, n: int) -> np.ndarray:
    """int64: the ids of the n most frequent words, most frequent first, ties by id; none that never occurs."""
    order = np.argsort(-counts, kind="stable")[:n]
    return order[counts[order] > 0]
