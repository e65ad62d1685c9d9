"""Two segments of text in one sequence, [CLS] a [SEP] b [SEP], and whether b is what follows a: what the objectives of
order share.

A pair is a piece of a document cut in two at a sentence's end, a new one each time. A piece that is one sentence is cut
in the middle, if it has four tokens or more; the few that are shorter make no pair, and serve the masked tokens alone.
"""

from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from sslcore.errors import UserError
from sslcore.models.framing import places_of
from sslcore.objectives.family import Family
from sslcore.objectives.masked_lm import NOT_PREDICTED, mask
from sslcore.objectives.transformer_objective import TransformerObjective
from sslcore.randomness import numpy_generator
from sslcore.training.pieces import PieceOrder, cut_documents

if TYPE_CHECKING:
    import torch

    from sslcore.models.encoder import Encoder
    from sslcore.models.transformer import TransformerEncoder
    from sslcore.tokenization.encoding import EncodedCorpus
    from sslcore.tokenization.tokenizer import Tokenizer

SHORTEST = 4  # tokens of one sentence that still make two segments
FRAME = 3  # tokens around a and b


class PairedTexts(NamedTuple):
    """Sequences of two segments, one after another; a part knows what there is to say in a sequence of its step."""

    ids: np.ndarray  # int64 [M], with the masks
    kinds: np.ndarray  # int64 [M]: 0 for [CLS] a [SEP], 1 for b [SEP]
    targets: np.ndarray  # int64 [M]: what stood there; NOT_PREDICTED where nothing is asked
    offsets: np.ndarray  # int64 [B + 1]
    wrong: np.ndarray  # int64 [B]: 1 where b does not follow a; NOT_PREDICTED without b
    pairs: float  # of the whole step, by its sequences
    masked: float  # tokens that are asked for in the whole step, by its sequences
    tokens: int
    begin: float
    end: float

    @property
    def weight(self) -> int:
        """Sequences."""
        return len(self.wrong)

    def rows(self, chosen: np.ndarray) -> "PairedTexts":
        places, offsets = places_of(self.offsets, chosen)
        of_tokens = {name: getattr(self, name)[places] for name in ("ids", "kinds", "targets")}
        return self._replace(**of_tokens, offsets=offsets, wrong=self.wrong[chosen])

    def share(self, rank: int, size: int) -> "PairedTexts":
        return self.rows(np.arange(rank, self.weight, size))

    def split(self, parts: int) -> "list[PairedTexts]":
        return [self.rows(rows) for rows in np.array_split(np.arange(self.weight), parts) if len(rows)]


class PairObjective(TransformerObjective):
    """A transformer by the order of two segments, and by restoring hidden tokens of the same."""

    family: ClassVar[Family] = "order"
    fewest_documents: ClassVar[int]

    masked_share: float = Field(
        default=0.15, ge=0, lt=1, description="Share of the tokens that are to be restored as well; 0: order alone."
    )

    def check(self, corpus: "EncodedCorpus", device: str) -> None:
        super().check(corpus, device)
        segments = Segments(corpus, self.maximum_tokens - FRAME)
        found = len(np.unique(segments.documents[segments.in_pairs]))
        if found < self.fewest_documents:
            raise UserError(
                f"{self.kind} needs {self.fewest_documents} or more documents of at least two sentences, or of "
                f"{SHORTEST} tokens; this corpus has {found}: give longer texts, or choose masked_lm"
            )

    def network(self, tokenizer: "Tokenizer", generator: "torch.Generator") -> "TransformerEncoder":
        network = super().network(tokenizer, generator)
        if not network.tells_apart:
            raise UserError(
                f"{self.kind} needs a model that tells two segments apart (type_vocab_size 2, as BERT has), and "
                f"{network.model.config.model_type} does not: choose another checkpoint, or masked_lm"
            )
        return network

    def wrong_segments(
        self, segments: "Segments", pieces: np.ndarray, generator: np.random.Generator
    ) -> "tuple[np.ndarray, np.ndarray]":
        """The bounds [2, K] of a and of b for these pieces where b is not to follow a."""
        raise NotImplementedError

    def batches(self, corpus: "EncodedCorpus", seed: int) -> "PairBatches":
        return PairBatches(self, corpus, seed)

    def loss(self, encoder: "Encoder", generator: "torch.Generator") -> "torch.nn.Module":
        from sslcore.objectives._pair_objective import OrderedPairs

        return OrderedPairs(encoder.network, generator, restores=self.masked_share > 0)


class Segments:
    """The pieces of a corpus, and where each may be cut in two."""

    def __init__(self, corpus: "EncodedCorpus", longest: int) -> None:
        self.longest = longest
        self.offsets = cut_documents(corpus, longest)
        starts, ends = self.offsets[:-1], self.offsets[1:]
        self.documents = np.searchsorted(np.unique(corpus.document_offsets), starts, side="right")
        self._sentences = np.unique(corpus.sentence_offsets)
        self._first = np.searchsorted(self._sentences, starts, side="right")
        self._inner = np.searchsorted(self._sentences, ends, side="left") - self._first
        self.in_pairs = np.flatnonzero((self._inner > 0) | (ends - starts >= SHORTEST))

    def cut(self, pieces: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The bounds [2, K] of a and of b, which follows it."""
        starts, ends = self.offsets[pieces], self.offsets[pieces + 1]
        chosen = self._first[pieces] + generator.integers(np.maximum(1, self._inner[pieces]))
        inner = self._sentences[np.minimum(chosen, len(self._sentences) - 1)]
        middles = np.where(self._inner[pieces] > 0, inner, (starts + ends) // 2)
        return np.stack([starts, middles]), np.stack([middles, ends])

    def of_another_document(self, pieces: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """For each piece one with two segments, at random from all documents but its own."""
        documents = self.documents[self.in_pairs]
        first, last = (np.searchsorted(documents, self.documents[pieces], side=side) for side in ("left", "right"))
        drawn = generator.integers(len(documents) - (last - first))
        return self.in_pairs[drawn + (drawn >= first) * (last - first)]


class PairBatches:
    """Every piece in a new order and cut anew in each epoch; each pair is wrong with a probability of one half."""

    def __init__(self, objective: PairObjective, corpus: "EncodedCorpus", seed: int) -> None:
        self._objective = objective
        self._corpus = corpus
        self._seed = seed
        self._segments = Segments(corpus, objective.maximum_tokens - FRAME)
        self._pieces = PieceOrder(self._segments.offsets, objective.batch_tokens, objective.epochs, seed)

    def __len__(self) -> int:
        return len(self._pieces)

    def __getitem__(self, step: int) -> PairedTexts:
        pieces, begin, end = self._pieces(step)
        generator = numpy_generator(self._seed, "pairs", step)
        wrong = np.where(np.isin(pieces, self._segments.in_pairs), generator.integers(2, size=len(pieces)), -1)
        first, second = self._segments.cut(pieces, generator)
        alone = wrong == NOT_PREDICTED
        first[1, alone] = second[:, alone] = second[1, alone]
        not_next = wrong == 1
        if not_next.any():
            first[:, not_next], second[:, not_next] = self._objective.wrong_segments(
                self._segments, pieces[not_next], generator
            )
        ids, kinds, offsets = self._framed(first, second)
        ids, targets = self._masked(ids, generator)
        pairs, masked = (float(np.mean(~alone)), (targets != NOT_PREDICTED).sum() / len(pieces))
        tokens = int(self._pieces.lengths[pieces].sum())
        return PairedTexts(ids, kinds, targets, offsets, wrong, pairs, masked, tokens, begin, end)

    def _framed(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        tokenizer, corpus_ids = self._corpus.tokenizer, self._corpus.ids
        begin, end = [tokenizer.classification_id], [tokenizer.separator_id]
        parts = [
            np.concatenate([begin, corpus_ids[a:b], end, corpus_ids[c:d], end])
            for (a, b), (c, d) in zip(first.T, second.T, strict=True)
        ]
        before = first[1] - first[0] + 2
        lengths = np.array([len(part) for part in parts])
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        kinds = np.arange(offsets[-1]) - np.repeat(offsets[:-1] + before, lengths) >= 0
        return np.concatenate(parts).astype(np.int64), kinds.astype(np.int64), offsets

    def _masked(self, ids: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        if not self._objective.masked_share:
            return ids, np.full(len(ids), NOT_PREDICTED)
        tokenizer = self._corpus.tokenizer
        return mask(
            ids,
            ids >= tokenizer.first_word_id,
            np.arange(len(ids)),
            self._objective.masked_share,
            generator,
            mask_id=tokenizer.mask_id,
            words=range(tokenizer.first_word_id, tokenizer.vocabulary_size),
            whole=False,
        )
