"""Which parameters a fine-tuning run may move: pure functions of the encoder's ordered layer groups and of the moment.

A policy takes `[(group name, [parameter names])]`, from the input upwards, and where in the run it is, and returns the
names of the encoder's parameters that stay as they are. The head is never among the groups and always learns. Nothing
is frozen again later: what is frozen at the last step has never moved. A new policy is one function and one line in
FREEZING.

| | what stays as pretrained |
|---|---|
| none | nothing |
| embeddings | the lowest group |
| first_4 | the lowest group and the four layers above it; any number |
| encoder | all but the head: a linear probe by gradient descent |
| biases | all but the biases and the head: BitFit (Ben Zaken, Ravfogel, Goldberg 2022) |
| gradual | in the first epoch all but the head, in each that follows one group less, from the top (ULMFiT: Howard, Ruder 2018, section 3.3) |
| two_stage | all but the head for a third of the run, then nothing (Kumar et al. 2022: a head that knows nothing spoils the features) |
| lora | all; beside each projection of attention a product of two narrow matrices learns (Hu et al. 2022), see adapters.py |
| dora | the same, and the length of each row of the projections learns by itself (Liu et al. 2024) |
| ia3 | all; keys, values and what the feed-forward's activation gives are scaled, number by number (Liu et al. 2022) |
"""  # noqa: E501

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from sslcore.errors import UserError

LayerGroups = Sequence[tuple[str, Sequence[str]]]
Freezing = Annotated[
    str, Field(pattern=r"^(none|embeddings|first_[1-9][0-9]*|encoder|biases|gradual|two_stage|lora|dora|ia3)$")
]

HEAD_SHARE = 1 / 3  # of a run in two stages, for the head alone
FIRST = "first_"


class Moment(NamedTuple):
    """Where in a run a step is: the passes before it, and the share of the run."""

    epoch: int
    done: float


class LoRA(BaseModel):
    """Low-rank adaptation: W x + (alpha / rank) · B A x, of which A and B learn; B starts at zero (Hu et al. 2022)."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="LoRA")

    rank: int = Field(8, ge=1, le=1024, description="Rows of A, columns of B.")
    alpha: int = Field(16, ge=1, description="The product is scaled by alpha / rank.")


Policy = Callable[[LayerGroups, Moment], frozenset[str]]


def frozen_by_none(groups: LayerGroups, moment: Moment) -> frozenset[str]:
    """Nothing is frozen: the whole encoder learns with the head."""
    return frozenset()


def frozen_by_embeddings(groups: LayerGroups, moment: Moment) -> frozenset[str]:
    """The lowest group (the token embeddings) keeps what pretraining gave it; everything above learns."""
    return names_of(groups[:1])


def frozen_by_encoder(groups: LayerGroups, moment: Moment) -> frozenset[str]:
    """All but the head: a linear probe trained by gradient descent."""
    return names_of(groups)


def frozen_by_biases(groups: LayerGroups, moment: Moment) -> frozenset[str]:
    """All but the biases, those of norms among them."""
    return frozenset(name for name in names_of(groups) if not is_bias(name))


def frozen_by_gradual(groups: LayerGroups, moment: Moment) -> frozenset[str]:
    """All groups but as many from the top as epochs have passed."""
    return names_of(groups[: max(0, len(groups) - moment.epoch)])


def frozen_by_two_stage(groups: LayerGroups, moment: Moment) -> frozenset[str]:
    """The whole encoder, while the head learns alone; then nothing."""
    return names_of(groups) if moment.done < HEAD_SHARE else frozenset()


FREEZING: Mapping[str, Policy] = {
    "none": frozen_by_none,
    "embeddings": frozen_by_embeddings,
    "encoder": frozen_by_encoder,
    "biases": frozen_by_biases,
    "gradual": frozen_by_gradual,
    "two_stage": frozen_by_two_stage,
    "lora": frozen_by_encoder,
    "dora": frozen_by_encoder,
    "ia3": frozen_by_encoder,
}
"""The registry: policy name → function; `first_` and a number beside them."""

CHANGING = ("gradual", "two_stage")
ADAPTED = ("lora", "dora", "ia3")


def frozen(freezing: str, groups: LayerGroups, moment: Moment) -> frozenset[str]:
    """The names of the encoder's parameters that the policy keeps as they are at this moment."""
    if freezing.startswith(FIRST):
        return names_of(groups[: 1 + int(freezing.removeprefix(FIRST))])
    return FREEZING[freezing](groups, moment)


def check(freezing: str, groups: LayerGroups) -> None:
    """Raise UserError when these groups have nothing that the policy could freeze or let learn."""
    if freezing.startswith(FIRST) and int(freezing.removeprefix(FIRST)) >= len(groups):
        raise UserError(
            f"freezing={freezing}: the encoder has {len(groups) - 1} layers above its lowest group; its groups are "
            f"{spelt(groups)}. Give a smaller number, or freezing=encoder to train the head alone"
        )
    if freezing == "biases" and not any(map(is_bias, names_of(groups))):
        raise UserError(
            f"freezing=biases: the encoder has no biases, so that nothing of it would learn; its groups are "
            f"{spelt(groups)}. Choose none, or encoder to train the head alone"
        )


def frozen_groups(groups: LayerGroups, names: frozenset[str]) -> int:
    """How many groups, counted from the input without a gap, have none but these names."""
    return next((place for place, (_, own) in enumerate(groups) if not names.issuperset(own)), len(groups))


def rate_shares(groups: LayerGroups, decay: float) -> dict[str, float]:
    """Parameter name → its share of the encoder's learning rate: 1 in the top group, `decay` times less in each below.

    Howard, Ruder 2018, section 3.2, with 1 / 2.6; Sun, Qiu, Xu, Huang 2019, section 5.3.4, with 0.95.
    """
    return {name: decay**depth for depth, (_, own) in enumerate(reversed(groups)) for name in own}


def names_of(groups: LayerGroups) -> frozenset[str]:
    return frozenset(name for _, names in groups for name in names)


def is_bias(name: str) -> bool:
    return name.rpartition(".")[2] == "bias"


def spelt(groups: LayerGroups) -> str:
    return ", ".join(group for group, _ in groups)
