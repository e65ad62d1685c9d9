"""The vectors of a batch's texts, for losses that compare all of them, and what those losses share.

Gradient caching (Gao, Zhang, Han, Callan 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited
Setup"): a chunk at a time is embedded, forgotten, and embedded again on the way back, with the same dropout.

S sequences of the whole batch, s of them in this process, D dimensions.
"""

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed
from torch.utils.checkpoint import checkpoint

from sslcore.models.ragged import Sequences
from sslcore.randomness import drawn_from, drawn_seed

if TYPE_CHECKING:
    from sslcore.models.transformer import TransformerEncoder
    from sslcore.objectives.text_views import TextBatch


class _Gathered(torch.autograd.Function):
    """[S, D] in every process of its rows [s, D]; a gradient comes from the losses of all processes."""

    @staticmethod
    def forward(ctx: Any, vectors_sD: torch.Tensor, rows_s: torch.Tensor, whole: int) -> torch.Tensor:
        ctx.save_for_backward(rows_s)
        vectors_SD = vectors_sD.new_zeros(whole, vectors_sD.shape[1])
        vectors_SD[rows_s] = vectors_sD
        distributed.all_reduce(vectors_SD)  # the others' rows are zeros: a sum takes shares of any sizes
        return vectors_SD

    @staticmethod
    def backward(ctx: Any, gradient_SD: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        gradient_SD = gradient_SD.clone()
        distributed.all_reduce(gradient_SD)
        return gradient_SD[ctx.saved_tensors[0]], None, None


def vectors_of(encoder: "TransformerEncoder", batch: "TextBatch", chunk: int) -> torch.Tensor:
    """float32 [S, D]: of every text of the batch, in whichever process it was embedded."""
    device = next(encoder.parameters()).device

    def embed(first: int, last: int) -> torch.Tensor:
        offsets = batch.offsets[first : last + 1]
        ids = torch.from_numpy(batch.ids[offsets[0] : offsets[-1]]).to(device)
        sequences = Sequences(ids, offsets - offsets[0])
        return encoder.pooled(encoder.states(sequences), sequences).float()

    here = len(batch.rows)
    if 0 < chunk < here:
        ends = [(first, min(first + chunk, here)) for first in range(0, here, chunk)]
        vectors_sD = torch.cat([checkpoint(embed, *bounds, use_reentrant=False) for bounds in ends])
    else:
        vectors_sD = embed(0, here)
    if batch.processes == 1:
        return vectors_sD
    return _Gathered.apply(vectors_sD, torch.from_numpy(batch.rows).to(device), batch.whole)


def drawing_from(generator: torch.Generator) -> contextlib.AbstractContextManager[None]:
    """New layers, which draw from torch's own generator, follow from this one."""
    return drawn_from(drawn_seed(generator))


def perceptron(inputs: int, hidden: int, outputs: int) -> torch.nn.Sequential:
    """The projector and predictor of BYOL and SimSiam: batch normalisation and ReLU between two linear layers."""
    return torch.nn.Sequential(
        torch.nn.Linear(inputs, hidden, bias=False),
        torch.nn.BatchNorm1d(hidden, track_running_stats=False),
        torch.nn.ReLU(),
        torch.nn.Linear(hidden, outputs),
    )


@torch.no_grad()
def update_towards(target: torch.nn.Module, source: torch.nn.Module, momentum: float) -> None:
    """Each weight of the target becomes momentum · it + (1 − momentum) · the source's."""
    for slow, fast in zip(target.parameters(), source.parameters(), strict=True):
        slow.lerp_(fast, 1 - momentum)
