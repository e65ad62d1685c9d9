"""The queue and the loss of MoCo, apart from its configuration. K keys in the queue."""

import copy
import math
from typing import TYPE_CHECKING

import torch

from sslcore.objectives._sim_cse import found
from sslcore.objectives._vectors import update_towards, vectors_of
from sslcore.training.collapse import collapse, unit
from sslcore.training.precision import exact

if TYPE_CHECKING:
    from sslcore.models.transformer import TransformerEncoder
    from sslcore.objectives.text_views import TextBatch


def moco_loss(
    queries_BD: torch.Tensor, queue_KD: torch.Tensor, places_B: torch.Tensor, temperature: float, filled: int
) -> dict[str, torch.Tensor]:
    """Unit queries against the first `filled` keys of the queue, the right one of each at its place.

    Each wrong key counts for (K − 1) / (filled − 1).
    """
    logits_BF = queries_BD @ queue_KD[:filled].T / temperature
    missing = math.log((len(queue_KD) - 1) / max(1, filled - 1))
    right_BF = torch.nn.functional.one_hot(places_B, filled).bool()
    return found(torch.where(right_BF, logits_BF, logits_BF + missing), places_B)


class MomentumContrast(torch.nn.Module):
    """The slow encoder and the queue are part of the module's state: a checkpoint holds them."""

    queue: torch.Tensor  # [K, D]
    enqueued: torch.Tensor

    def __init__(
        self, encoder: "TransformerEncoder", *, temperature: float, queue: int, momentum: float, chunk: int = 0
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.slow = copy.deepcopy(encoder).requires_grad_(False)
        self.register_buffer("queue", torch.zeros(queue, encoder.dimensions))
        self.register_buffer("enqueued", torch.zeros((), dtype=torch.int64))
        self.temperature = temperature
        self.momentum = momentum
        self.chunk = chunk

    def forward(self, batch: "TextBatch") -> dict[str, torch.Tensor]:
        queries_BD = vectors_of(self.encoder, batch.view(0), self.chunk)
        with torch.no_grad():
            update_towards(self.slow, self.encoder, self.momentum)
            keys_BD = vectors_of(self.slow, batch.view(1), self.chunk)
        with exact(queries_BD.device):
            places_B, filled = self.enqueue(unit(keys_BD))
            losses = moco_loss(unit(queries_BD), self.queue, places_B, self.temperature, filled)
            return {**losses, **collapse(queries_BD, keys_BD)}

    @torch.no_grad()
    def enqueue(self, keys_BD: torch.Tensor) -> tuple[torch.Tensor, int]:
        """(their places, keys that are in the queue now); the oldest make room."""
        begin, size = int(self.enqueued), len(self.queue)
        places_B = (begin + torch.arange(len(keys_BD), device=keys_BD.device)) % size
        self.queue[places_B] = keys_BD
        self.enqueued += len(keys_BD)
        return places_B, min(size, begin + len(keys_BD))
