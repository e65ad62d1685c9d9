"""Sequence-to-sequence denoising: corrupt a text, and let a decoder say it again from the encoder's states.

Lewis et al. 2020, "BART", section 2.2: sentence permutation, document rotation, text infilling (spans whose lengths are
drawn from Poisson(3), each replaced by one mask; one of length 0 is a mask too many), token masking and token deletion,
in this order here. The loss is −Σ log p(y_t | y_<t, corrupted text). With `style: spans` the decoder says only what the
masks hide, one after another with a mask between: Song et al. 2019, "MASS", section 3; Raffel et al. 2020, "T5",
section 3.1.4. Only the encoder is kept.

Wants: a million words or more of running text. Requires: nothing else; sentence permutation needs several sentences in
`maximum_tokens` to have anything to permute.
Costs: one pass of the encoder, one of a decoder as deep, and the vocabulary for every token.
Relation: masked_lm says each hidden token by itself, this one as a sequence, and how many there are; tsdae gives the
decoder one vector, this one every state, so its vectors of texts have less to hold.
"""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from sslcore.models.architecture import AS_BERT
from sslcore.models.framing import frame_pieces
from sslcore.objectives.family import Family
from sslcore.objectives.transformer_objective import TransformerObjective
from sslcore.objectives.tsdae import DamagedTexts
from sslcore.randomness import numpy_generator
from sslcore.training.pieces import PieceOrder, cut_documents

if TYPE_CHECKING:
    import torch

    from sslcore.models.encoder import Encoder
    from sslcore.tokenization.encoding import EncodedCorpus

MEAN_SPAN = 3.0  # BART's

Span = tuple[int, int]  # where it begins, how many tokens


class SequenceDenoising(TransformerObjective):
    """A transformer by saying a corrupted text again, token by token (denoising autoencoder, as BART)."""

    model_config = ConfigDict(title="Sequence denoising")

    family: ClassVar[Family] = "reconstruction"
    model_types: ClassVar[tuple[str, ...]] = AS_BERT  # so is the decoder

    kind: Literal["sequence_denoising"] = "sequence_denoising"
    style: Literal["restore", "spans"] = Field(
        default="restore",
        description="What the decoder says: the whole text (restore, BART), or what is hidden (spans, MASS and T5).",
    )
    infilling: float = Field(
        default=0.3, ge=0, lt=1, description="Share of the tokens that are hidden in spans, each behind one mask."
    )
    permutation: float = Field(default=1.0, ge=0, le=1, description="Share of the texts whose sentences are shuffled.")
    rotation: float = Field(
        default=0.0, ge=0, le=1, description="Share of the texts that begin at a token drawn at random."
    )
    masking: float = Field(default=0.0, ge=0, lt=1, description="Share of the tokens that are hidden one by one.")
    deletion: float = Field(default=0.0, ge=0, lt=1, description="Share of the tokens that are left out.")
    decoder_layers: int | None = Field(
        default=None, ge=1, le=200, description="Of the decoder; left out: as many as the encoder has."
    )

    @model_validator(mode="after")
    def _leaves_something_to_say(self) -> Any:
        if self.style == "spans" and not (self.infilling or self.masking):
            raise ValueError("style spans says what masks hide: give infilling or masking more than 0")
        if self.style == "spans" and self.deletion:
            raise ValueError("style spans says what masks hide, so a deleted token is never said: give deletion 0")
        return self

    @property
    def rate_share(self) -> float:
        """At twice this `tiny` ends with a higher loss and worse vectors (docs/objectives.md, "Learning rates")."""
        return 0.5

    def batches(self, corpus: "EncodedCorpus", seed: int) -> "CorruptedBatches":
        return CorruptedBatches(self, corpus, seed)

    def loss(self, encoder: "Encoder", generator: "torch.Generator") -> "torch.nn.Module":
        from sslcore.objectives._sequence_denoising import SaidAgain

        return SaidAgain(encoder.network, generator, layers=self.decoder_layers or self.shape.layers)


class CorruptedBatches:
    """Pieces of documents in a new order and corrupted anew in each epoch."""

    def __init__(self, objective: SequenceDenoising, corpus: "EncodedCorpus", seed: int) -> None:
        self._objective = objective
        self._corpus = corpus
        self._seed = seed
        offsets = cut_documents(corpus, objective.maximum_tokens - 2)
        self._pieces = PieceOrder(offsets, objective.batch_tokens, objective.epochs, seed)
        self._sentences = np.unique(corpus.sentence_offsets)

    def __len__(self) -> int:
        return len(self._pieces)

    def __getitem__(self, step: int) -> DamagedTexts:
        pieces, begin, end = self._pieces(step)
        generator = numpy_generator(self._seed, "corruption", step)
        restores, mask_id = self._objective.style == "restore", self._corpus.tokenizer.mask_id
        read, said = [], []
        for piece in pieces:
            start, stop = self._pieces.offsets[piece : piece + 2]
            tokens = np.asarray(self._corpus.ids[start:stop], np.int64)
            first, last = np.searchsorted(self._sentences, [start, stop], side="right")
            corrupted, hidden = corrupt(
                tokens, self._sentences[first : last - 1] - start, self._objective, generator, mask_id
            )
            read.append(corrupted)
            said.append(tokens if restores else _with_masks_between(hidden, mask_id))
        longest = self._objective.maximum_tokens - 2  # masks too many may make a text longer than it was
        ids, offsets = self._framed(read, longest)
        whole_ids, whole_offsets = self._framed(said, 2 * longest)
        tokens_read = int(self._pieces.lengths[pieces].sum())
        return DamagedTexts(ids, offsets, whole_ids, whole_offsets, tokens_read, begin, end)

    def _framed(self, texts: list[np.ndarray], longest: int) -> tuple[np.ndarray, np.ndarray]:
        tokenizer = self._corpus.tokenizer
        bounds = np.concatenate([[0], np.cumsum([len(text) for text in texts])])
        frame = (tokenizer.classification_id, tokenizer.separator_id)
        return frame_pieces(np.concatenate(texts), bounds, np.arange(len(texts)), *frame, longest=longest)


def corrupt(
    tokens: np.ndarray,
    inner: np.ndarray,
    shares: SequenceDenoising,
    generator: np.random.Generator,
    mask_id: int,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """(the corrupted text, what each of its masks hides) of a text whose sentences after the first begin at `inner`."""
    if generator.random() < shares.permutation:
        tokens = permuted(tokens, inner, generator)
    if generator.random() < shares.rotation:
        tokens = np.roll(tokens, -int(generator.integers(len(tokens))))
    spans = drawn_spans(len(tokens), shares.infilling, generator)
    covered = np.zeros(len(tokens), bool)
    for start, length in spans:
        covered[start : start + length] = True
    masked = ~covered & (generator.random(len(tokens)) < shares.masking)
    deleted = ~covered & ~masked & (generator.random(len(tokens)) < shares.deletion)
    return hidden_behind_masks(tokens, spans + [(int(p), 1) for p in np.flatnonzero(masked)], deleted, mask_id)


def permuted(tokens: np.ndarray, inner: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The sentences in a random order."""
    sentences = np.split(tokens, inner)
    return np.concatenate([sentences[i] for i in generator.permutation(len(sentences))])


def drawn_spans(count: int, share: float, generator: np.random.Generator) -> list[Span]:
    """Spans of Poisson(3) tokens that hide `share` of a text of `count` tokens, on average; no two of them touch.

    The last is cut where it would hide more.
    """
    wanted = int(share * count + generator.random())
    if wanted == 0:
        return []
    lengths = generator.poisson(MEAN_SPAN, wanted + 8)
    before = np.cumsum(lengths) - lengths
    lengths = np.minimum(lengths, wanted - before)[before < wanted]
    kept = count - int(lengths.sum())
    lengths = lengths[: kept + 1]
    # Each span stands before another of the tokens that stay, or at the end.
    slots = np.sort(generator.choice(kept + 1, len(lengths), replace=False))
    starts = slots + np.cumsum(lengths) - lengths
    return list(zip(starts.tolist(), lengths.tolist(), strict=True))


def hidden_behind_masks(
    tokens: np.ndarray, spans: list[Span], deleted: np.ndarray, mask_id: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """(the text with one mask for each span and without the deleted tokens, the tokens of each span, in order)."""
    read, hidden, done = [], [], 0
    for start, length in sorted(spans):
        read += [tokens[done:start][~deleted[done:start]], [mask_id]]
        hidden.append(tokens[start : start + length])
        done = start + length
    return np.concatenate([*read, tokens[done:][~deleted[done:]]]).astype(np.int64), hidden


def _with_masks_between(hidden: list[np.ndarray], mask_id: int) -> np.ndarray:
    parts = [part for span in hidden for part in ([mask_id], span)][1:]
    return np.concatenate([np.zeros(0, np.int64), *parts]).astype(np.int64)
