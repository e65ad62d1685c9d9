"""The objectives that can train one encoder together, and each as a member of several: its own fields and a weight.

All of them train a transformer that sees both sides of a token. What such a one shares with the others (size, epochs,
learning rate …) is said once, beside the members.
"""

from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model

from sslcore.objectives.byol import BYOL
from sslcore.objectives.cpc import CPC
from sslcore.objectives.info_nce import InfoNCE
from sslcore.objectives.masked_lm import MaskedLM
from sslcore.objectives.moco import MoCo
from sslcore.objectives.next_sentence import NextSentence
from sslcore.objectives.replaced_tokens import ReplacedTokens
from sslcore.objectives.sentence_order import SentenceOrder
from sslcore.objectives.sequence_denoising import SequenceDenoising
from sslcore.objectives.sim_cse import SimCSE
from sslcore.objectives.sim_siam import SimSiam
from sslcore.objectives.transformer_objective import TransformerObjective
from sslcore.objectives.tsdae import TSDAE

OfTwoSides = (
    MaskedLM
    | SequenceDenoising
    | SentenceOrder
    | NextSentence
    | ReplacedTokens
    | TSDAE
    | SimSiam
    | SimCSE
    | MoCo
    | InfoNCE
    | CPC
    | BYOL
)
OBJECTIVES: dict[str, type[OfTwoSides]] = {o.model_fields["kind"].default: o for o in OfTwoSides.__args__}
SHARED = TransformerObjective.model_fields.keys() - {"kind"}


class Member(BaseModel):
    """One objective among several."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: str
    weight: float = Field(default=1.0, gt=0, le=10_000, description="Its loss is multiplied by it.")

    def objective(self, beside: TransformerObjective) -> OfTwoSides:
        """The objective itself, with what stands beside the members. Raises ValueError where the two contradict."""
        model = OBJECTIVES[self.kind]
        shared = {name: getattr(beside, name) for name in SHARED & model.model_fields.keys()}
        try:
            made = model(**shared, **self.model_dump(exclude={"weight"}))
        except ValidationError as error:
            first = error.errors()[0]
            said = first["msg"].removeprefix("Value error, ")
            raise ValueError(": ".join([self.kind, *map(str, first["loc"]), said])) from error
        made._goes_on = beside._goes_on
        return made


def _member(model: type[OfTwoSides]) -> type[Member]:
    """The objective's own fields beside a weight."""
    own: dict[str, Any] = {n: (f.annotation, f) for n, f in model.model_fields.items() if n not in SHARED}
    return create_model(f"{model.__name__}Member", __base__=Member, __doc__=model.__doc__, **own)


def _own_fields_only(given: Any) -> Any:
    """Raise ValueError for what can be no member, and for what is not a member's to say."""
    kind = given.get("kind") if isinstance(given, dict) else getattr(given, "kind", None)
    if kind == "causal_lm":
        raise ValueError(
            "causal_lm cannot train the same encoder as others: no token of its model sees those after it, and in "
            "theirs every token does"
        )
    if isinstance(given, dict) and (shared := sorted(SHARED & given.keys())):
        raise ValueError(f"{shared[0]} is of the one encoder and its training: give it beside {kind}, not inside")
    return given


if TYPE_CHECKING:
    AnyMember = Member
else:
    AnyMember = Annotated[
        Union[tuple(map(_member, OBJECTIVES.values()))],  # noqa: UP007  # of as many as there are
        Field(discriminator="kind"),
        BeforeValidator(_own_fields_only),
    ]
