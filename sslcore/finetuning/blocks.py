"""How many parameters a run trains, and of how many: by layer group, for a summary and as a table."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from sslcore.finetuning.adapters import is_adapter, owner
from sslcore.finetuning.freezing import LayerGroups

if TYPE_CHECKING:
    from torch import nn

    from sslcore.finetuning.shapes.seam import DownstreamNetwork


class Block(BaseModel):
    """One block of the network and its numbers of parameters."""

    model_config = ConfigDict(frozen=True)

    name: str
    trainable: int
    total: int


def blocks(network: "DownstreamNetwork", whole: "nn.Module", groups: LayerGroups) -> tuple[Block, ...]:
    """Trainable and total parameters of each layer group of the `whole` encoder, input first, and of the head.

    `network` may have a smaller vocabulary than `whole`, and adapters, which count in the group they stand in.
    """
    group_of = {name: group for group, names in groups for name in names}
    trainable, total = (dict.fromkeys((group for group, _ in groups), 0) for _ in range(2))
    sizes = {name: parameter.numel() for name, parameter in whole.named_parameters()}
    for name, parameter in network.encoder.named_parameters():
        group = group_of[owner(name)]
        size = parameter.numel() if is_adapter(name) else sizes[owner(name)]
        total[group] += size
        trainable[group] += size if parameter.requires_grad else 0
    head = sum(parameter.numel() for parameter in network.head_parameters())
    encoder = (Block(name=group, trainable=trainable[group], total=total[group]) for group, _ in groups)
    return (*encoder, Block(name="head", trainable=head, total=head))


def table(rows: Sequence[Block]) -> str:
    """The blocks and their sum as lines of text, numbers right-aligned."""
    whole = Block(name="all", trainable=sum(b.trainable for b in rows), total=sum(b.total for b in rows))
    cells = [("block", "trainable", "total", "")]
    cells += [
        (b.name, f"{b.trainable:,}", f"{b.total:,}", f"{100 * b.trainable / max(1, b.total):.1f} %")
        for b in (*rows, whole)
    ]
    name, *numbers = (max(len(row[column]) for row in cells) for column in range(4))
    lines = [
        "  ".join([row[0].ljust(name), *(cell.rjust(width) for cell, width in zip(row[1:], numbers, strict=True))])
        for row in cells
    ]
    return "\n".join(line.rstrip() for line in lines)
