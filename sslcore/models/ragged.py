"""Sequences of different lengths side by side without padding, and attention that stays within each.

All layers but attention work token by token, so they see the N real tokens of a batch and nothing else. Attention pads
within groups of sequences of about one length: at 128 tokens and a width of 256 it is a twelfth of a layer's work, so
what is wasted there hardly counts. transformers' models take it as one of their attention functions, under `NAME`.

Letters: N tokens of all sequences, B sequences, G of a group, L positions of the longest, H heads, D width of a head.
"""

from typing import Any, NamedTuple

import numpy as np
import torch

NAME = "sslcore_ragged"
SPREAD = 1.25  # the longest of a group by its shortest: more groups are more calls, fewer more padding
SLOW_IN_HALF = 256  # tokens up to which torch's way back through attention is slower in half precision, on a CPU


class Group(NamedTuple):
    """Sequences of about one length, as a padded block."""

    shape: tuple[int, int]  # G, L
    mask: torch.Tensor | None  # bool [G, 1, 1, L]: what is no padding; None without any


class Sequences:
    """B sequences of token ids, one after another: sequence b is ids[offsets[b]:offsets[b + 1]].

    `kinds` says of each token which of two texts in one sequence it is of, as BERT's token types.
    """

    def __init__(
        self, ids: torch.Tensor, offsets: np.ndarray, kinds: torch.Tensor | None = None, causal: bool = False
    ) -> None:
        self.ids = ids
        self.offsets = offsets
        self.kinds = kinds
        self.causal = causal
        lengths = np.diff(offsets)
        self.positions = torch.from_numpy(np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)).to(ids.device)
        rows_of_groups = rows_of_one_length(lengths)
        self.groups = [padded_group(lengths[rows], ids.device) for rows in rows_of_groups]
        self.places = torch.from_numpy(self._places(rows_of_groups)).to(ids.device)

    @property
    def padded(self) -> int:
        """Places in the blocks of all groups, one after another."""
        return sum(g * longest for (g, longest), _ in self.groups)

    @property
    def bounds(self) -> torch.Tensor:
        """The offsets, beside the ids."""
        return torch.from_numpy(self.offsets).to(self.ids.device)

    @property
    def starts(self) -> torch.Tensor:
        """int64 [B]: the place of each sequence's first token."""
        return torch.from_numpy(self.offsets[:-1]).to(self.ids.device)

    def _places(self, rows_of_groups: list[np.ndarray]) -> np.ndarray:
        """int64 [N]: where each token stands in the blocks."""
        lengths = np.diff(self.offsets)
        begins, base = np.zeros(len(lengths), np.int64), 0
        for rows, ((g, longest), _) in zip(rows_of_groups, self.groups, strict=True):
            begins[rows] = base + np.arange(g) * longest
            base += g * longest
        return np.repeat(begins - self.offsets[:-1], lengths) + np.arange(self.offsets[-1])


def padded_group(lengths: np.ndarray, device: torch.device) -> Group:
    longest = int(lengths.max())
    if lengths.min() == longest:
        return Group((len(lengths), longest), None)
    inside = torch.from_numpy(np.arange(longest) < lengths[:, None])
    return Group((len(lengths), longest), inside[:, None, None].to(device))


def rows_of_one_length(lengths: np.ndarray) -> list[np.ndarray]:
    """The rows with a token, by length, cut where one is SPREAD times as long as its group's first."""
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    groups = []
    while len(order):
        end = int(np.searchsorted(lengths[order], SPREAD * lengths[order[0]], side="right"))
        groups.append(order[:end])
        order = order[end:]
    return groups


class _Padded(torch.autograd.Function):
    """[places, …] of [N, …], zeros where no token stands. No two share a place, so the gradient is taken back."""

    @staticmethod
    def forward(ctx: Any, rows_N: torch.Tensor, places_N: torch.Tensor, places: int) -> torch.Tensor:
        ctx.save_for_backward(places_N)
        return rows_N.new_zeros(places, *rows_N.shape[1:]).index_copy_(0, places_N, rows_N)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (places_N,) = ctx.saved_tensors
        return gradient.index_select(0, places_N), None, None


class _Unpadded(torch.autograd.Function):
    """[N, …] of [places, …]: what `_Padded` did, undone."""

    @staticmethod
    def forward(ctx: Any, block: torch.Tensor, places_N: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(places_N)
        ctx.places = len(block)
        return block.index_select(0, places_N)

    @staticmethod
    def backward(ctx: Any, gradient_N: torch.Tensor) -> tuple[torch.Tensor, None]:
        (places_N,) = ctx.saved_tensors
        block = gradient_N.new_zeros(ctx.places, *gradient_N.shape[1:])
        return block.index_copy_(0, places_N, gradient_N), None


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    sequences: Sequences,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """[1, N, H, D] of query, key and value [1, H, N, D]: scaled dot-product attention within each sequence.

    With a sliding window a token sees those that are less than so many places away, to both sides.
    """
    if not sequences.groups:  # a process's share of a small batch
        return value.transpose(1, 2), None
    sizes = [g * longest for (g, longest), _ in sequences.groups]
    blocks = [
        _Padded.apply(x[0].transpose(0, 1), sequences.places, sequences.padded).split(sizes)
        for x in (query, key, value)
    ]
    attended = []
    for (shape, mask), *group_blocks in zip(sequences.groups, *blocks, strict=True):
        query, key, value = (block.unflatten(0, shape).transpose(1, 2) for block in group_blocks)
        if sliding_window is not None and shape[1] > sliding_window:
            mask = within(sliding_window, shape[1], mask, query.device)
        block = _attended(
            query,
            key,
            value,
            attn_mask=None if sequences.causal else mask,  # a token never sees what follows it: padding comes last
            dropout_p=dropout,
            is_causal=sequences.causal,
            scale=scaling,
        )
        attended.append(block.transpose(1, 2).flatten(0, 1))
    return _Unpadded.apply(torch.cat(attended), sequences.places)[None], None


def within(window: int, longest: int, mask: torch.Tensor | None, device: torch.device) -> torch.Tensor:
    """bool [1 or G, 1, L, L]: the keys of a query. Padding sees itself: a query without a key has no number."""
    places = torch.arange(longest, device=device)
    away_LL = (places[:, None] - places).abs()
    near_LL = away_LL < window
    return near_LL[None, None] if mask is None else (near_LL & mask) | (away_LL == 0)


def _attended(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **options: Any) -> torch.Tensor:
    """Torch's attention, by way of float32 where that is faster.

    There and back, 12 heads of 32, sixteen sequences of 128 tokens, one core of an Intel Xeon with AMX: 84 ms in
    bfloat16 and 30 in float32, the conversions among them; four sequences of 512 are as fast either way.
    """
    attention = torch.nn.functional.scaled_dot_product_attention
    half = query.dtype.itemsize < 4
    if not (half and query.requires_grad and query.device.type == "cpu" and query.shape[2] <= SLOW_IN_HALF):
        return attention(query, key, value, **options)
    with torch.autocast("cpu", enabled=False):
        return attention(query.float(), key.float(), value.float(), **options).to(query.dtype)


def register() -> None:
    """Make the function known to transformers' models."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, lambda *_, **__: None)
