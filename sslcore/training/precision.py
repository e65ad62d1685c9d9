"""In which floating point numbers products are computed; weights, sums and losses stay float32."""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Precision = Literal["float32", "bfloat16", "float16"]


def computing(device: "torch.device", precision: Precision) -> "torch.autocast":
    """Products inside the block are of this precision."""
    import torch

    reduced = None if precision == "float32" else getattr(torch, precision)
    return torch.autocast(device.type, reduced, enabled=reduced is not None)


def exact(device: "torch.device") -> "torch.autocast":
    """Products inside the block are of float32, whatever holds around it: for losses, which small errors harm."""
    import torch

    return torch.autocast(device.type, enabled=False)
