"""Masked language modelling: hide some tokens of a text, and say from all the others what they were.

Devlin, Chang, Lee, Toutanova 2019, "BERT", section 3.1, task 1: of the tokens chosen 80 % become [MASK], 10 % another
token, 10 % stay. Masks are drawn anew in each epoch (Liu et al. 2019, "RoBERTa", section 4.1). Whole words: Cui, Che,
Liu, Qin, Yang 2021, "Pre-Training with Whole Word Masking for Chinese BERT"; spans: Joshi et al. 2020, "SpanBERT",
section 3.1.

Wants: a million words or more of running text, and thousands of steps (`batch_tokens`, `epochs`). Requires: nothing
else; a GPU from `small` on.
Costs: one pass of the encoder over a text, and the vocabulary for a sixth of its tokens.
Relation: sees both sides of a token, where a causal model sees one; learns from a sixth of the tokens of a step, where
replaced-token detection learns from all.
"""

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from pydantic import ConfigDict, Field

from sslcore.models.framing import frame_pieces, places_of
from sslcore.objectives.transformer_objective import TransformerObjective
from sslcore.randomness import numpy_generator
from sslcore.training.pieces import PieceOrder, cut_documents

if TYPE_CHECKING:
    import torch

    from sslcore.models.encoder import Encoder
    from sslcore.objectives.replaced_tokens import ReplacedTokens
    from sslcore.tokenization.encoding import EncodedCorpus

MASKED, RANDOM = 0.8, 0.1  # of the chosen tokens; the rest stays
SPAN_LENGTHS = np.arange(1, 11)  # in words; geometric with 0.2 up to 10, as SpanBERT's: 3.8 on average
SPAN_SHARES = 0.8**SPAN_LENGTHS / (0.8**SPAN_LENGTHS).sum()
NOT_PREDICTED = -1


class MaskedTexts(NamedTuple):
    """Framed sequences, one after another."""

    ids: np.ndarray  # int64 [M], with the masks
    targets: np.ndarray  # int64 [M]: what stood there; NOT_PREDICTED where nothing is asked
    offsets: np.ndarray  # int64 [B + 1]
    tokens: int
    begin: float
    end: float

    @property
    def weight(self) -> int:
        """Predictions."""
        return int((self.targets != NOT_PREDICTED).sum())

    def rows(self, chosen: np.ndarray) -> "MaskedTexts":
        places, offsets = places_of(self.offsets, chosen)
        return self._replace(ids=self.ids[places], targets=self.targets[places], offsets=offsets)

    def share(self, rank: int, size: int) -> "MaskedTexts":
        return self.rows(np.arange(rank, len(self.offsets) - 1, size))

    def split(self, parts: int) -> "list[MaskedTexts]":
        rows = np.array_split(np.arange(len(self.offsets) - 1), parts)
        return [self.rows(part) for part in rows if len(part)]


class MaskedLM(TransformerObjective):
    """A transformer by restoring hidden tokens of a text (masked language model, as BERT)."""

    model_config = ConfigDict(title="Masked language model")

    kind: Literal["masked_lm"] = "masked_lm"
    masks: Literal["tokens", "words", "spans"] = Field(
        default="tokens",
        description="What is hidden as a whole: tokens, words (in Chinese those of jieba), or spans of a few words.",
    )
    masked_share: float = Field(default=0.15, gt=0, lt=1, description="Share of the tokens that are to be restored.")

    def batches(self, corpus: "EncodedCorpus", seed: int) -> "MaskedBatches":
        return MaskedBatches(self, corpus, seed)

    def loss(self, encoder: "Encoder", generator: "torch.Generator") -> "torch.nn.Module":
        from sslcore.objectives._masked_lm import MaskedTokens

        return MaskedTokens(encoder.network, generator, encoder.heads)


class MaskedBatches:
    """Pieces of documents in a new order and with new masks in each epoch."""

    def __init__(self, objective: "MaskedLM | ReplacedTokens", corpus: "EncodedCorpus", seed: int) -> None:
        from sslcore.tokenization.word_starts import WordStarts

        self._objective = objective
        self._corpus = corpus
        self._seed = seed
        offsets = cut_documents(corpus, objective.maximum_tokens - 2)
        self._pieces = PieceOrder(offsets, objective.batch_tokens, objective.epochs, seed)
        self._word_starts = None if objective.masks == "tokens" else WordStarts(corpus.tokenizer)

    def __len__(self) -> int:
        return len(self._pieces)

    def __getitem__(self, step: int) -> MaskedTexts:
        pieces, begin, end = self._pieces(step)
        tokenizer = self._corpus.tokenizer
        ids, offsets = frame_pieces(
            self._corpus.ids, self._pieces.offsets, pieces, tokenizer.classification_id, tokenizer.separator_id
        )
        generator = numpy_generator(self._seed, "masks", step)
        maskable = ids >= tokenizer.first_word_id
        units = unit_numbers(self._objective.masks, ids, maskable, self._word_starts, generator)
        masked, targets = mask(
            ids,
            maskable,
            units,
            self._objective.masked_share,
            generator,
            mask_id=tokenizer.mask_id,
            words=range(tokenizer.first_word_id, tokenizer.vocabulary_size),
            whole=self._objective.masks == "spans",
        )
        return MaskedTexts(masked, targets, offsets, int(self._pieces.lengths[pieces].sum()), begin, end)


def unit_numbers(
    masks: str, ids: np.ndarray, maskable: np.ndarray, word_starts: Any, generator: np.random.Generator
) -> np.ndarray:
    """int64 [M], never falling: tokens of one number are hidden together. Nothing reaches over a frame's token."""
    if masks == "tokens":
        return np.arange(len(ids))
    starts = word_starts(ids) | ~maskable | np.concatenate([[True], ~maskable[:-1]])
    if masks == "words":
        return np.cumsum(starts) - 1
    places = np.flatnonzero(starts)
    lengths = generator.choice(SPAN_LENGTHS, len(places), p=SPAN_SHARES)
    ends = np.cumsum(lengths)
    begins_span = np.zeros(len(places), bool)
    begins_span[np.concatenate([[0], ends[ends < len(places)]])] = True
    begins_span |= ~maskable[places] | np.concatenate([[True], ~maskable[places[:-1]]])
    spans = np.zeros(len(ids), bool)
    spans[places[begins_span]] = True
    return np.cumsum(spans) - 1


def mask(
    ids: np.ndarray,
    maskable: np.ndarray,
    units: np.ndarray,
    share: float,
    generator: np.random.Generator,
    *,
    mask_id: int,
    words: range,
    whole: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """(ids with masks, targets), int64 [M]: units in random order until `share` of the maskable tokens are chosen.

    The unit that reaches the share is in with the probability that makes it exact on average. What becomes of a chosen
    token is drawn for each, or for all of a unit together (`whole`, as SpanBERT).
    """
    sizes = np.bincount(units, weights=maskable).astype(np.int64)
    order = generator.permutation(np.flatnonzero(sizes))
    after = np.cumsum(sizes[order])
    wanted = share * maskable.sum()
    chosen = np.zeros(len(sizes), bool)
    room = wanted - (after - sizes[order])  # before each unit
    chosen[order] = generator.random() * sizes[order] < room
    chosen[order[:1]] = True  # a few tokens still give something to learn
    hidden = np.flatnonzero(chosen[units] & maskable)
    targets = np.full(len(ids), NOT_PREDICTED)
    targets[hidden] = ids[hidden]
    fate = generator.random(len(sizes))[units[hidden]] if whole else generator.random(len(hidden))
    masked = ids.copy()
    masked[hidden[fate < MASKED]] = mask_id
    random = hidden[(fate >= MASKED) & (fate < MASKED + RANDOM)]
    masked[random] = generator.integers(words.start, words.stop, len(random))
    return masked, targets
