"""Texts as token ids, tokenised once and then cut into batches without a Python loop per token."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import nn

    from sslcore.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True)
class EncodedTexts:
    """Token ids of n texts, one after the other: text i is ids[offsets[i]:offsets[i+1]]."""

    ids: np.ndarray  # int32 [tokens]
    offsets: np.ndarray  # int64 [n + 1], offsets[0] = 0

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def of(
        cls, texts: Sequence[str], tokenizer: "Tokenizer", network: "nn.Module", *, maximum_tokens: int
    ) -> "EncodedTexts":
        """The first `maximum_tokens` ids of each text, as the encoder's network wants them; texts may be empty."""
        from sslcore.models.encoder import token_ids

        ids, offsets = token_ids(tokenizer, network, list(texts))
        return cls(np.asarray(ids), np.asarray(offsets)).take(np.arange(len(texts)), maximum_tokens=maximum_tokens)

    def take(self, rows: np.ndarray, *, maximum_tokens: int | np.ndarray | None = None) -> "EncodedTexts":
        """The texts of these rows, in their order, each cut to a maximum: one for all, or int [rows]."""
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        if maximum_tokens is not None:
            lengths = np.minimum(lengths, maximum_tokens)
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        places = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        return EncodedTexts(self.ids[places], offsets)

    def followed_by(self, others: "EncodedTexts") -> "EncodedTexts":
        """These texts, then the others."""
        return EncodedTexts(
            np.concatenate([self.ids, others.ids]),
            np.concatenate([self.offsets, self.offsets[-1] + others.offsets[1:]]),
        )

    @property
    def lengths(self) -> np.ndarray:
        """int64 [n]"""
        return np.diff(self.offsets)


def tensors(texts: EncodedTexts, device: "str | torch.device") -> "tuple[torch.Tensor, torch.Tensor]":
    """The ids and offsets as the networks take them."""
    import torch

    return (
        torch.from_numpy(texts.ids.astype(np.int64)).to(device),
        torch.from_numpy(texts.offsets).to(device),
    )


def outputs(network: "nn.Module", texts: EncodedTexts, *, batch_size: int = 1024) -> np.ndarray:
    """float32 [len(texts), dimensions] of an encoder's network in evaluation mode, on its own device."""
    import torch

    device = next(network.parameters()).device
    training = network.training
    network.eval()
    with torch.no_grad():
        parts = [
            network(*tensors(texts.take(np.arange(start, min(start + batch_size, len(texts)))), device)).cpu()
            for start in range(0, len(texts), batch_size)
        ]
    network.train(training)
    return torch.cat(parts).numpy() if parts else np.empty((0, 0), np.float32)
