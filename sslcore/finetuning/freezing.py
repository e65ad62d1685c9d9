"""Which parameters a fine-tuning run may move: pure functions of the encoder's ordered layer groups.

A policy takes `[(group name, [parameter names])]`, from the input upwards, and returns the parameter names that stay as
they are. The head is never among the groups and always learns. A new policy is one function and one line in FREEZING.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

LayerGroups = Sequence[tuple[str, Sequence[str]]]
Freezing = Literal["none", "embeddings", "encoder"]


def frozen_by_none(groups: LayerGroups) -> frozenset[str]:
    """Nothing is frozen: the whole encoder learns with the head."""
    return frozenset()


def frozen_by_embeddings(groups: LayerGroups) -> frozenset[str]:
    """The lowest group (the token embeddings) keeps what pretraining gave it; everything above learns."""
    return frozenset(groups[0][1]) if groups else frozenset()


def frozen_by_encoder(groups: LayerGroups) -> frozenset[str]:
    """All but the head: a linear probe trained by gradient descent."""
    return frozenset(name for _, names in groups for name in names)


FREEZING: Mapping[Freezing, Callable[[LayerGroups], frozenset[str]]] = {
    "none": frozen_by_none,
    "embeddings": frozen_by_embeddings,
    "encoder": frozen_by_encoder,
}
"""The registry: policy name → function."""
