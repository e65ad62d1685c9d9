"""Weighted sums over the tokens of each text: what every bag-of-words network starts with.

Letters: N tokens of a batch, B texts, V vocabulary, H width of a token's row.
"""

import torch

SMALLEST = 1e-12


def bag_sums(
    rows_VH: torch.Tensor, ids_N: torch.Tensor, offsets_B: torch.Tensor, weights_V: torch.Tensor
) -> torch.Tensor:
    """float32 [B, H]: for each text the sum of weight × row of its tokens; offsets are int64 [B + 1]."""
    return torch.nn.functional.embedding_bag(
        ids_N, rows_VH, offsets_B, mode="sum", per_sample_weights=weights_V[ids_N], include_last_offset=True
    )


def bag_totals(values_N: torch.Tensor, offsets_B: torch.Tensor) -> torch.Tensor:
    """float32 [B, 1]: for each text the sum of one value a token."""
    ends = torch.zeros(len(values_N) + 1, dtype=torch.float64, device=values_N.device)
    torch.cumsum(values_N, 0, dtype=torch.float64, out=ends[1:])
    return (ends[offsets_B[1:]] - ends[offsets_B[:-1]]).to(torch.float32).unsqueeze(1)
