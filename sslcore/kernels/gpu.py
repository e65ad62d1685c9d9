"""Skip-gram and CBOW with negative sampling on a GPU: the mathematics of `reference`, in Triton.

One program takes one group of windows after the other. The rows of the negatives that a group shares stay in registers
until the group is done (window reuse and shared negatives: Randall et al. 2021, "FULL-W2V"); of CBOW a group is one
matrix product. What a row is to move by is added atomically, so programs that meet at a row lose nothing. Windows of a
group lie far apart in the text, as on the CPU. Subsampling, windows and negatives are drawn on the device with a
generator of its own, so a batch is nothing but its token ids.

Runs in Triton's interpreter on a machine without a GPU (TRITON_INTERPRET=1), one program after the other.

Letters: N tokens, n windows, V words, D dimensions, K negatives, M contexts and J outputs of a window, both padded.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl

from sslcore.kernels.cpu import CBOW_MEAN, CBOW_SUM, SHARING, SKIP_GRAM

LEAST = 16  # rows of the smallest matrix product
PROGRAMS = 2048  # at work at once: the windows in flight must stay a small share of the batch's

__all__ = ["CBOW_MEAN", "CBOW_SUM", "SKIP_GRAM", "Noise", "Windows", "draw_negatives", "draw_windows", "update_windows"]


class Windows(NamedTuple):
    """As `draws.Windows`, on the device: words[first[i]:last[i]] without words[i] are the contexts of words[i]."""

    words: torch.Tensor  # int32 [n]
    first: torch.Tensor  # int32 [n]
    last: torch.Tensor  # int32 [n]


class Noise(NamedTuple):
    """The alias table of `draws.alias_table`, on the device."""

    thresholds: torch.Tensor  # int64 [V]
    aliases: torch.Tensor  # int64 [V]

    @classmethod
    def of(cls, table: np.ndarray, device: str) -> "Noise":
        columns = torch.from_numpy(table.astype(np.int64)).to(device)
        return cls(columns[:, 0].contiguous(), columns[:, 1].contiguous())


def draw_windows(
    ids: torch.Tensor, boundaries: torch.Tensor, keep: torch.Tensor, window: int, generator: torch.Generator
) -> Windows:
    """Draw the windows of whole documents: as `draws.draw_windows`, with other random numbers.

    ids int32 [N] are the tokens of the documents, boundaries int64 their offsets; keep float32 [V].
    """
    device = ids.device
    document = torch.searchsorted(boundaries, torch.arange(len(ids), device=device), right=True)
    kept = torch.rand(len(ids), generator=generator, device=device) < keep[ids.long()]
    words, document = ids[kept], document[kept]
    n = len(words)
    place = torch.arange(n, device=device)
    begins = torch.searchsorted(document, document, right=False)
    ends = torch.searchsorted(document, document, right=True)
    reach = torch.randint(1, window + 1, (n,), generator=generator, device=device)
    first, last = torch.maximum(begins, place - reach), torch.minimum(ends, place + reach + 1)
    return Windows(words, first.int(), last.int())


def draw_negatives(noise: Noise, groups: int, K: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """negatives int32 and times float32 [groups, K], as `draws.draw_negatives`, with other random numbers."""
    device, shape = noise.aliases.device, (groups, K)
    row = torch.randint(len(noise.aliases), shape, generator=generator, device=device)
    bits = torch.randint(2**32, shape, generator=generator, device=device)
    negatives = torch.where(bits < noise.thresholds[row], row, noise.aliases[row])
    same = negatives[:, :, None] == negatives[:, None, :]
    earlier = torch.tril(same, diagonal=-1).any(dim=2)
    return negatives.int(), torch.where(earlier, 0, same.sum(dim=2)).float()


def update_windows(
    kind: int,
    inputs: torch.Tensor,
    outputs: torch.Tensor,
    windows: Windows,
    negatives: torch.Tensor,
    times: torch.Tensor,
    rate_begin: float,
    rate_end: float,
    *,
    widest: int,
    programs: int = PROGRAMS,
) -> torch.Tensor:
    """The loss in nats, float64 on the device, of `reference.update_windows` on the same draws; both matrices in place.

    inputs, outputs float32 [V, D] contiguous; negatives, times [groups, K]. `widest` is the most words a window takes
    in, 2 * window + 1. One program makes the reference's updates, in its order.
    """
    groups, K = negatives.shape
    grid = min(programs, groups)
    losses = torch.zeros(grid, dtype=torch.float64, device=inputs.device)
    n, D = len(windows.words), inputs.shape[1]
    if n:
        arguments = (
            inputs, outputs, windows.words, windows.first, windows.last, negatives, times, losses,
            n, groups, rate_begin, rate_end, D, K,
        )  # fmt: skip
        outputs_padded, padded = max(LEAST, _power(1 + K)), max(LEAST, _power(D))
        if kind == SKIP_GRAM:
            _skip_gram[(grid,)](*arguments, max(LEAST, _power(widest)), outputs_padded, padded)
        else:
            _cbow[(grid,)](*arguments, kind == CBOW_MEAN, widest, SHARING, LEAST, outputs_padded, padded)
    return losses.sum()


def pairs(kind: int, windows: Windows) -> torch.Tensor:
    """How many pairs the loss is summed over, int64 on the device."""
    contexts = (windows.last - windows.first - 1).long()
    return contexts.sum() if kind == SKIP_GRAM else (contexts > 0).sum()


def groups_of(windows: Windows) -> int:
    """How many groups share their negatives."""
    return -(-len(windows.words) // SHARING)


def _power(n: int) -> int:
    """The next power of two."""
    return 1 << (n - 1).bit_length()


@triton.jit
def _skip_gram(  # type: ignore[no-untyped-def]
    inputs,
    outputs,
    words,
    first,
    last,
    negatives,
    times,
    losses,
    n,
    groups,
    rate_begin,
    rate_end,
    D,
    K,
    M: tl.constexpr,
    J: tl.constexpr,
    PADDED: tl.constexpr,
) -> Any:
    """A window after the other: its contexts are the M rows, its center is the first of the J outputs."""
    d, j, m = tl.arange(0, PADDED), tl.arange(0, J), tl.arange(0, M)
    is_center = (j == 0)[:, None]
    sign = tl.where(j == 0, 1.0, -1.0)[None, :]
    loss = 0.0
    for group in range(tl.program_id(0), groups, tl.num_programs(0)):
        rate = rate_begin + (rate_end - rate_begin) * (group / groups)
        drawn = (j > 0) & (j <= K)
        negative = tl.load(negatives + group * K + j - 1, mask=drawn, other=-1)
        count = tl.load(times + group * K + j - 1, mask=drawn, other=0.0)
        there = (count > 0)[:, None] & (d < D)[None, :]
        of_negatives = outputs + negative.to(tl.int64)[:, None] * D + d[None, :]
        Y_negatives = tl.load(of_negatives, mask=there, other=0.0)
        moved = tl.zeros([J, PADDED], tl.float32)
        for i in range(group, n, groups):
            center = tl.load(words + i).to(tl.int64)
            begin, end = tl.load(first + i), tl.load(last + i)
            place = begin + m
            inside = (place < end) & (place != i)
            context = tl.load(words + place, mask=inside, other=0).to(tl.int64)
            of_contexts = inputs + context[:, None] * D + d[None, :]
            taken = inside[:, None] & (d < D)[None, :]
            X = tl.load(of_contexts, mask=taken, other=0.0)
            of_center = outputs + center * D + d
            y = tl.load(of_center, mask=d < D, other=0.0)
            same = (negative == center)[:, None]  # the group's own row of the center, if it was drawn: both must agree
            y += tl.sum(tl.where(same, moved, 0.0), axis=0)
            Y = tl.where(is_center, y[None, :], Y_negatives + moved)
            weight = tl.where(j == 0, 1.0, tl.where(negative == center, 0.0, count))
            weights = weight[None, :] * inside.to(tl.float32)[:, None]
            logits = sign * tl.dot(X, tl.trans(Y), input_precision="ieee")
            E = rate * weights * sign / (1.0 + tl.exp(logits))
            loss += tl.sum(weights * (tl.maximum(-logits, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(logits)))))
            to_Y = tl.dot(tl.trans(E), X, input_precision="ieee")
            tl.atomic_add(of_contexts, tl.dot(E, Y, input_precision="ieee"), mask=taken)
            to_y = tl.sum(tl.where(is_center, to_Y, 0.0), axis=0)
            tl.atomic_add(of_center, to_y, mask=d < D)
            Y_negatives += tl.where(same & (count > 0)[:, None], to_y[None, :], 0.0)
            moved += tl.where(is_center, 0.0, to_Y)
        tl.atomic_add(of_negatives, moved, mask=there)
    tl.store(losses + tl.program_id(0), loss)


@triton.jit
def _cbow(  # type: ignore[no-untyped-def]
    inputs,
    outputs,
    words,
    first,
    last,
    negatives,
    times,
    losses,
    n,
    groups,
    rate_begin,
    rate_end,
    D,
    K,
    mean: tl.constexpr,
    widest: tl.constexpr,
    sharing: tl.constexpr,
    M: tl.constexpr,
    J: tl.constexpr,
    PADDED: tl.constexpr,
) -> Any:
    """The windows of a group at once: the M rows are windows, each with its own center, the J outputs the negatives."""
    d, j, m = tl.arange(0, PADDED), tl.arange(0, J), tl.arange(0, M)
    within = (d < D)[None, :]
    loss = 0.0
    for group in range(tl.program_id(0), groups, tl.num_programs(0)):
        rate = rate_begin + (rate_end - rate_begin) * (group / groups)
        i = group + m * groups
        is_window = (m < sharing) & (i < n)
        center = tl.load(words + i, mask=is_window, other=0).to(tl.int64)
        begin = tl.load(first + i, mask=is_window, other=0)
        end = tl.load(last + i, mask=is_window, other=0)
        contexts = end - begin - 1
        used = contexts > 0
        X = tl.zeros([M, PADDED], tl.float32)
        for step in range(widest):
            place = begin + step
            inside = used & (place < end) & (place != i)
            context = tl.load(words + place, mask=inside, other=0).to(tl.int64)
            X += tl.load(inputs + context[:, None] * D + d[None, :], mask=inside[:, None] & within, other=0.0)
        share = 1.0 / tl.maximum(contexts, 1).to(tl.float32)
        if mean:
            X = X * share[:, None]
        drawn = j < K
        negative = tl.load(negatives + group * K + j, mask=drawn, other=-1)
        count = tl.load(times + group * K + j, mask=drawn, other=0.0)
        there = (count > 0)[:, None] & within
        of_negatives = outputs + negative.to(tl.int64)[:, None] * D + d[None, :]
        Y = tl.load(of_negatives, mask=there, other=0.0)
        of_centers = outputs + center[:, None] * D + d[None, :]
        Y_centers = tl.load(of_centers, mask=used[:, None] & within, other=0.0)
        weights = tl.where(negative[None, :] == center[:, None], 0.0, count[None, :]) * used.to(tl.float32)[:, None]
        logits = -tl.dot(X, tl.trans(Y), input_precision="ieee")
        of_center = tl.sum(X * Y_centers, axis=1)
        weight = used.to(tl.float32)
        loss += tl.sum(weights * (tl.maximum(-logits, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(logits)))))
        loss += tl.sum(weight * (tl.maximum(-of_center, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(of_center)))))
        E = -rate * weights / (1.0 + tl.exp(logits))
        e = (rate * weight / (1.0 + tl.exp(of_center)))[:, None]
        to_X = tl.dot(E, Y, input_precision="ieee") + e * Y_centers
        if not mean:
            to_X = to_X * share[:, None]
        for step in range(widest):
            place = begin + step
            inside = used & (place < end) & (place != i)
            context = tl.load(words + place, mask=inside, other=0).to(tl.int64)
            tl.atomic_add(inputs + context[:, None] * D + d[None, :], to_X, mask=inside[:, None] & within)
        tl.atomic_add(of_negatives, tl.dot(tl.trans(E), X, input_precision="ieee"), mask=there)
        tl.atomic_add(of_centers, e * X, mask=used[:, None] & within)
    tl.store(losses + tl.program_id(0), loss)
