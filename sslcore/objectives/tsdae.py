"""TSDAE: delete most words of a sentence, and restore the whole sentence from the one vector of what is left.

Wang, Reimers, Gurevych 2021, "TSDAE: Using Transformer-based Sequential Denoising Auto-Encoder for Unsupervised
Sentence Embedding Learning", equations 1 to 3: −Σ log p(x_t | x_<t, vector of the damaged text). The decoder is the
encoder's own layers, seeing only what comes before, with attention to the single vector after each layer's own
attention. Softmax over one key is 1, so that attention is a linear map of the vector and needs neither query nor key:
the same numbers as transformers' BertLMHeadModel with cross-attention, cheaper.

Wants: ten thousand sentences or more; the paper's begin from a pretrained encoder. Requires: nothing else.
Costs: one pass of the encoder over what is left of a text, one of a decoder as deep over all of it, and the vocabulary
for every token.
Relation: denoising_autoencoder restores a bag of words, masked_lm single tokens from their neighbours; this one puts
the sentence into its vector. It needs no negatives, so small batches serve.
"""

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import ConfigDict, Field

from sslcore.models.architecture import AS_BERT
from sslcore.models.framing import frame_pieces, places_of
from sslcore.objectives.family import Family
from sslcore.objectives.sentence_objective import SentenceObjective
from sslcore.randomness import numpy_generator

if TYPE_CHECKING:
    import torch

    from sslcore.models.encoder import Encoder
    from sslcore.tokenization.encoding import EncodedCorpus


class DamagedTexts(NamedTuple):
    """B framed texts without some of their words, and as they were."""

    ids: np.ndarray  # int64 [M]
    offsets: np.ndarray  # int64 [B + 1]
    whole_ids: np.ndarray
    whole_offsets: np.ndarray
    tokens: int
    begin: float
    end: float

    @property
    def weight(self) -> int:
        """Predictions: each token but the first of each frame."""
        return int(self.whole_offsets[-1]) - len(self.whole_offsets) + 1

    def rows(self, chosen: np.ndarray) -> "DamagedTexts":
        places, offsets = places_of(self.offsets, chosen)
        whole_places, whole_offsets = places_of(self.whole_offsets, chosen)
        return self._replace(
            ids=self.ids[places], offsets=offsets, whole_ids=self.whole_ids[whole_places], whole_offsets=whole_offsets
        )

    def share(self, rank: int, size: int) -> "DamagedTexts":
        return self.rows(np.arange(rank, len(self.offsets) - 1, size))

    def split(self, parts: int) -> "list[DamagedTexts]":
        rows = np.array_split(np.arange(len(self.offsets) - 1), parts)
        return [self.rows(part) for part in rows if len(part)]


class TSDAE(SentenceObjective):
    """A transformer by restoring sentences from the vector of a few of their words (TSDAE)."""

    model_config = ConfigDict(title="Sequential denoising autoencoder (TSDAE)")

    family: ClassVar[Family] = "reconstruction"
    model_types: ClassVar[tuple[str, ...]] = AS_BERT  # a decoder is made of the encoder's own layers
    kind: Literal["tsdae"] = "tsdae"
    deleted_share: float = Field(default=0.6, ge=0, lt=1, description="Share of the words that are deleted.")
    decoder: Literal["tied", "own"] = Field(
        default="tied", description="Layers of the decoder: the encoder's (as the paper found best), or its own."
    )

    def batches(self, corpus: "EncodedCorpus", seed: int) -> "DamagedBatches":
        return DamagedBatches(self, corpus, seed)

    def loss(self, encoder: "Encoder", generator: "torch.Generator") -> "torch.nn.Module":
        from sslcore.objectives._tsdae import RestoredSentences

        return RestoredSentences(encoder.network, generator, tied=self.decoder == "tied")


class DamagedBatches:
    """Sentences in a new order and with other words deleted in each epoch."""

    def __init__(self, objective: TSDAE, corpus: "EncodedCorpus", seed: int) -> None:
        from sslcore.tokenization.word_starts import WordStarts

        self._corpus = corpus
        self._texts = objective.texts(corpus)
        self._order = objective.order(self._texts, seed)
        self._longest = objective.maximum_tokens - 2
        self._share = objective.deleted_share
        self._word_starts = WordStarts(corpus.tokenizer)
        self._seed = seed

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, step: int) -> DamagedTexts:
        chosen, begin, end = self._order(step)
        bounds = np.stack([self._texts.starts[chosen], self._texts.ends[chosen]], axis=1).ravel()
        places, offsets = places_of(bounds, 2 * np.arange(len(chosen)), self._longest)
        ids = np.asarray(self._corpus.ids[places])
        kept = kept_after_deletion(
            self._word_starts(ids), offsets, self._share, numpy_generator(self._seed, "deleted", step)
        )
        left = np.concatenate([[0], np.cumsum(kept)])[offsets]
        tokenizer, rows = self._corpus.tokenizer, np.arange(len(chosen))
        frame = (tokenizer.classification_id, tokenizer.separator_id)
        damaged = frame_pieces(ids[kept], left, rows, *frame)
        whole = frame_pieces(ids, offsets, rows, *frame)
        return DamagedTexts(*damaged, *whole, int(self._texts.tokens[chosen].sum()), begin, end)


def kept_after_deletion(
    word_starts: np.ndarray, offsets: np.ndarray, share: float, generator: np.random.Generator
) -> np.ndarray:
    """bool [N]: tokens whose word stays. Each goes with probability `share`, but one word of a text always stays."""
    begins = word_starts.copy()
    begins[offsets[:-1]] = True
    word_of_token = np.cumsum(begins) - 1
    first_words = word_of_token[offsets[:-1]]
    words = np.diff(np.append(first_words, word_of_token[-1] + 1))
    stays = generator.random(word_of_token[-1] + 1) >= share
    spared = first_words + generator.integers(0, words)
    none = ~np.logical_or.reduceat(stays, first_words)
    stays[spared[none]] = True
    return stays[word_of_token]
