"""Two texts read in one sequence, or each by itself: what the head of a pair sees.

B pairs in a batch, D dimensions of the encoder, C outputs.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from sslcore.finetuning.encoded import EncodedTexts, tensors
from sslcore.finetuning.losses import Criterion, ScoreLoss
from sslcore.finetuning.shapes.linear_head import LinearHead, sample
from sslcore.finetuning.shapes.seam import DownstreamNetwork, PaddedStates
from sslcore.models.transformer import tokens_at_once


@dataclass(frozen=True)
class TextPairs:
    """Two texts of each row, and what is right of them: class numbers int64 [n], or scores float32 [n]."""

    first: EncodedTexts
    second: EncodedTexts
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def texts(self) -> tuple[EncodedTexts, EncodedTexts]:
        return (self.first, self.second)

    def with_texts(self, texts: tuple[EncodedTexts, ...]) -> "TextPairs":
        first, second = texts
        return replace(self, first=first, second=second)

    def take(self, rows: np.ndarray) -> "TextPairs":
        return TextPairs(self.first.take(rows), self.second.take(rows), self.targets[rows])


def cut_together(first: EncodedTexts, second: EncodedTexts, longest: int) -> tuple[EncodedTexts, EncodedTexts]:
    """Both, cut so that each pair has `longest` tokens at most: the longer one is cut until they are equal, then both.

    Of an odd number the longer one keeps one more, of equally long ones the second, as Hugging Face's `longest_first`.
    """
    short = np.minimum(first.lengths, second.lengths)
    kept_short = np.minimum(short, longest // 2)
    kept_long = np.minimum(np.maximum(first.lengths, second.lengths), longest - kept_short)
    # Where the shorter one had to be cut, both share what there is; else it is whole.
    is_short = first.lengths <= second.lengths
    rows = np.arange(len(first))
    return (
        first.take(rows, maximum_tokens=np.where(is_short, kept_short, kept_long)),
        second.take(rows, maximum_tokens=np.where(is_short, kept_long, kept_short)),
    )


def in_parts(pairs: TextPairs, tokens: int) -> list[TextPairs]:
    """The same pairs in their order, each part of about so many tokens."""
    ends = np.cumsum(pairs.first.lengths + pairs.second.lengths)
    numbers = ends // max(1, tokens)
    return [pairs.take(rows) for rows in np.split(np.arange(len(pairs)), np.flatnonzero(np.diff(numbers)) + 1)]


class CrossEncoder(LinearHead):
    """outputs_BC = head(standardised mean of the states of [CLS] a [SEP] b [SEP]).

    Devlin et al. 2019, section 3.2: attention goes from either text to the other in every layer. The sequence is pooled
    as the encoder pools a text.
    """

    reads = "pair"

    def __init__(self, encoder: nn.Module, dimensions: int, outputs: int, criterion: Criterion) -> None:
        super().__init__(encoder, dimensions, outputs, criterion)

    def vectors(self, examples: TextPairs) -> torch.Tensor:
        """[B, D]"""
        if torch.is_grad_enabled():
            return self._vectors(examples)
        return torch.cat([self._vectors(part) for part in in_parts(examples, tokens_at_once(self.feature_mean.device))])

    def _vectors(self, examples: TextPairs) -> torch.Tensor:
        encoder: Any = self.encoder
        first, second = ((texts.ids, texts.offsets) for texts in examples.texts)
        sequences = encoder.framed_pairs(first, second, self.feature_mean.device)
        return encoder.pooled(encoder.states(sequences), sequences).float()

    def padded_vectors(self, *read: PaddedStates) -> torch.Tensor:
        (pairs,) = read
        return pairs.pooled


class BiEncoder(LinearHead):
    """outputs_BC = head(standardised [u; v; |u − v|; u ∗ v]) of the texts' vectors u and v.

    The features are those of Conneau et al. 2017, section 3.1; Reimers and Gurevych 2019 train transformers so.
    """

    reads = "two texts"

    def __init__(self, encoder: nn.Module, dimensions: int, outputs: int, criterion: Criterion) -> None:
        super().__init__(encoder, 4 * dimensions, outputs, criterion)

    def vectors(self, examples: TextPairs) -> torch.Tensor:
        """[B, 4D]"""
        return compared(*vectors_of_both(self.encoder, examples, self.feature_mean.device).unbind(dim=1))

    def padded_vectors(self, *read: PaddedStates) -> torch.Tensor:
        first, second = read
        return compared(first.vectors, second.vectors)


class CosineBiEncoder(DownstreamNetwork):
    """score_B = lowest + width · (a cos(u, v) + b): Reimers and Gurevych 2019, section 3, with a line over the cosine.

    The line (from a = 1, and b that gives the training rows their mean) takes in what the vectors' common offset does
    to cosines, which for word vectors are all near one. The direction of u and v is all that counts, so dropout of
    features, which would change the cosine's scale from training to serving, is left out.
    """

    reads = "two texts"

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.criterion = ScoreLoss()
        self.head = nn.utils.skip_init(nn.Linear, 1, 1)
        nn.init.ones_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def features(self, examples: TextPairs) -> torch.Tensor:
        """[B, 2, D]"""
        return vectors_of_both(self.encoder, examples, self.criterion.lowest.device)

    def dropped_out(self, features: torch.Tensor, share: float) -> torch.Tensor:
        return features

    def decided(self, features_B2D: torch.Tensor, examples: TextPairs) -> torch.Tensor:
        """[B]: scores in the range of the training rows."""
        u_BD, v_BD = features_B2D.unbind(dim=1)
        cosines_B = nn.functional.cosine_similarity(u_BD, v_BD, dim=1)
        return self.criterion.outputs(self.head(cosines_B[:, None]))

    def loss(self, outputs: torch.Tensor, examples: TextPairs) -> torch.Tensor:
        return self.criterion(outputs, examples.targets)

    def prepare(self, examples: TextPairs) -> None:
        self.criterion.prepare(examples.targets)
        training = self.training
        self.eval()
        with torch.no_grad():
            some = examples.take(sample(len(examples)))
            mean = self.criterion.width * self.criterion.first_outputs() + self.criterion.lowest
            self.head.bias.add_((mean - self.decided(self.features(some), some).mean()) / self.criterion.width)
        self.train(training)

    def padded_features(self, *read: PaddedStates) -> torch.Tensor:
        return torch.stack([texts.vectors for texts in read], dim=1)

    def named(self, outputs: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.criterion.named(outputs)


def compared(u_BD: torch.Tensor, v_BD: torch.Tensor) -> torch.Tensor:
    """[B, 4D]: [u; v; |u − v|; u ∗ v]."""
    return torch.cat([u_BD, v_BD, (u_BD - v_BD).abs(), u_BD * v_BD], dim=1)


def vectors_of_both(encoder: nn.Module, examples: TextPairs, device: torch.device) -> torch.Tensor:
    """[B, 2, D]: the vectors of both texts, from one pass of the encoder over 2B texts."""
    ids = np.concatenate([texts.ids for texts in examples.texts])
    first, second = (texts.offsets for texts in examples.texts)
    offsets = np.concatenate([first, first[-1] + second[1:]])
    vectors_2BD = encoder(*tensors(EncodedTexts(ids, offsets), device))
    return torch.stack(vectors_2BD.split(len(examples)), dim=1)
