"""The sum of several losses, apart from its configuration: reading that needs no torch."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from sslcore.objectives.combined import CombinedBatch


class WeightedSum(torch.nn.Module):
    """loss: Σ_m w_m × the loss of member m; and what each member says, its loss too, as KIND.loss, KIND.accuracy …

    Of a part of a step all of that is the part's contribution to the step's mean. Queues, slow copies and heads are the
    members' and so part of this module's state.
    """

    def __init__(self, losses: Mapping[str, torch.nn.Module], weights: Sequence[float]) -> None:
        super().__init__()
        self.losses = torch.nn.ModuleDict(losses)
        self.weights = weights
        self.trains_in_turns = any(getattr(loss, "trains_in_turns", False) for loss in losses.values())

    def heads(self) -> dict[str, torch.Tensor]:
        """Those of the members, for training that goes on from the encoder."""
        found: list[dict[str, torch.Tensor]] = [getattr(loss, "heads", dict)() for loss in self.losses.values()]
        return {name: tensor for heads in found for name, tensor in heads.items()}

    def forward(self, batch: "CombinedBatch") -> dict[str, torch.Tensor]:
        said: dict[str, torch.Tensor] = {}
        terms = []
        for (kind, loss), weight, member, share in zip(
            self.losses.items(), self.weights, batch.members, batch.shares, strict=True
        ):
            if member is not None:
                said |= {f"{kind}.{name}": value * share for name, value in loss(member).items()}
                terms.append(weight * said[f"{kind}.loss"])
        return {"loss": torch.stack(terms).sum(), **said}
