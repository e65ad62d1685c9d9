"""Cross-entropy of a linear map to the vocabulary, with a few rows of logits in memory at a time.

Gradients are made beside the loss, while a chunk's probabilities are there, so nothing of the vocabulary's width is
kept for the way back, and nothing is computed twice (Hsu et al. 2024, "Liger Kernel"; Wijmans et al. 2025, "Cut Your
Losses in Large-Vocabulary Language Models"). torch.nn.functional.linear_cross_entropy, from 2.13 on, does not say which
token it found likeliest, and took four times as long on a CPU.

N predictions, D dimensions, V vocabulary, R rows of a chunk.
"""

from collections.abc import Callable
from typing import Any

import torch

AT_ONCE = 2**22  # logits in a chunk: 16 MB
ROWS = 256  # of a chunk at least: with fewer, reading the table and adding to its gradient would take the time

Choose = Callable[[torch.Tensor], torch.Tensor]  # a token [R] by its probabilities [R, V]


def likeliest(probabilities_RV: torch.Tensor) -> torch.Tensor:
    return probabilities_RV.argmax(dim=1)


def linear_cross_entropy(
    states_ND: torch.Tensor,
    table_VD: torch.Tensor,
    targets_N: torch.Tensor,
    bias_V: torch.Tensor | None = None,
    choose: Choose = likeliest,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(Σ −log p(target) in nats, the chosen tokens int64 [N]), p the softmax of states · tableᵀ + bias.

    Products are of autocast's precision, sums and the softmax float32 or what the table has.
    """
    if bias_V is None:
        bias_V = table_VD.new_zeros(len(table_VD))
    total, chosen_N = _LinearCrossEntropy.apply(states_ND, table_VD, bias_V, targets_N, choose)
    return total, chosen_N


def token_loss(
    states_ND: torch.Tensor, table_VD: torch.Tensor, targets_N: torch.Tensor, bias_V: torch.Tensor | None = None
) -> dict[str, torch.Tensor]:
    """loss: mean of −log p(target); accuracy: share of targets that are the likeliest. Both are 0 of no predictions."""
    total, likeliest_N = linear_cross_entropy(states_ND, table_VD, targets_N, bias_V)
    predictions = max(1, len(targets_N))
    return {"loss": total / predictions, "accuracy": (likeliest_N == targets_N).float().sum() / predictions}


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states_ND: torch.Tensor,
        table_VD: torch.Tensor,
        bias_V: torch.Tensor,
        targets_N: torch.Tensor,
        choose: Choose,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        device, exact = states_ND.device.type, table_VD.dtype
        precision = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else exact
        rows = max(ROWS, AT_ONCE // len(table_VD))
        total, chosen_N = table_VD.new_zeros(()), torch.empty_like(targets_N)
        of_table_VD, of_bias_V = torch.zeros_like(table_VD), torch.zeros_like(bias_V)
        with torch.autocast(device, enabled=False):
            states, table, bias = (x.to(precision) for x in (states_ND, table_VD, bias_V))
            of_states_ND, of_chunk_VD = torch.empty_like(states), torch.empty_like(table)
            logits_RV = table.new_empty(min(rows, len(states)), len(table))  # one for all chunks: it leaves no gaps
            for begin in range(0, len(states), rows):
                chunk = slice(begin, begin + rows)
                targets_R = targets_N[chunk]
                torch.addmm(bias, states[chunk], table.T, out=logits_RV[: len(targets_R)])
                # In place from here on: logits, probabilities, gradients of the logits.
                chunk_RV = logits_RV[: len(targets_R)].to(exact)
                chunk_RV -= chunk_RV.amax(dim=1, keepdim=True)
                total -= chunk_RV.gather(1, targets_R[:, None]).sum()
                sums_R = chunk_RV.exp_().sum(dim=1)
                total += sums_R.log().sum()
                chunk_RV /= sums_R[:, None]
                chosen_N[chunk] = choose(chunk_RV)
                chunk_RV[torch.arange(len(targets_R), device=targets_R.device), targets_R] -= 1
                of_bias_V += chunk_RV.sum(dim=0)
                of_logits_RV = chunk_RV.to(precision)
                torch.mm(of_logits_RV, table, out=of_states_ND[chunk])
                of_table_VD += torch.mm(of_logits_RV.T, states[chunk], out=of_chunk_VD)
        ctx.save_for_backward(of_states_ND.to(states_ND.dtype), of_table_VD, of_bias_V)
        ctx.mark_non_differentiable(chosen_N)
        return total, chosen_N

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        of_states_ND, of_table_VD, of_bias_V = ctx.saved_tensors
        return gradient * of_states_ND, gradient * of_table_VD, gradient * of_bias_V, None, None
