"""Several objectives at once: one encoder learns from the weighted sum of their losses.

Doersch, Zisserman 2017, "Multi-task Self-Supervised Visual Learning": one trunk, a head and a batch for each task, and
each step descends Σ_m w_m L_m. BERT's loss is such a sum (Devlin et al. 2019, section 3.1), and SimCSE's with masked
tokens beside it, ℓ + λ ℓ_mlm (Gao, Yao, Chen 2021). A step is one batch of each member. The member with the most steps
in an epoch leads: `epochs` are its passes over the corpus, and its tokens are those that are counted. The others begin
anew, in another order and with other draws, as often as it takes, so each sees every text `epochs` times or more.

Wants: what its members want. Requires: two members that train one model, so causal_lm is none of them.
Costs: the sum of its members, of which those that do not lead make more passes than `epochs`.
Relation: next_sentence and sentence_order have masked tokens of their own; s4l puts labels beside one pretext task.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import ConfigDict, Field, model_validator

from sslcore.objectives.family import Family
from sslcore.objectives.members import AnyMember, OfTwoSides
from sslcore.objectives.text_views import TextBatch
from sslcore.objectives.transformer_objective import TransformerObjective
from sslcore.randomness import derive_seed
from sslcore.training.learner import Batches

if TYPE_CHECKING:
    import torch

    from sslcore.models.encoder import Encoder
    from sslcore.tokenization.encoding import EncodedCorpus

log = logging.getLogger("sslcore.objectives")


class CombinedBatch(NamedTuple):
    """A batch of each member, or what a part of the step has of it; None where it has nothing.

    The members' means are over different things (tokens, pairs, texts), so each takes its own share of the step's mean,
    and the parts themselves all weigh 1.
    """

    members: tuple[Any, ...]
    weights: tuple[float, ...]  # of each member's batch in the whole step
    tokens: int
    begin: float
    end: float

    @property
    def weight(self) -> int:
        return 1

    @property
    def shares(self) -> list[float]:
        """What each member's mean here contributes to its mean over the whole step."""
        pairs = zip(self.members, self.weights, strict=True)
        return [0.0 if member is None else member.weight / max(whole, 1) for member, whole in pairs]

    def share(self, rank: int, size: int) -> "CombinedBatch":
        return self._replace(members=tuple(member.share(rank, size) for member in self.members))

    def split(self, parts: int) -> "list[CombinedBatch]":
        """In the last part is something of every member: processes exchange their gradients there.

        Texts that are compared with each other are not parted.
        """
        pieces = [(m.split(parts) if hasattr(m, "split") else []) or [m] for m in self.members]
        most = max(map(len, pieces))
        rows = zip(*([None] * (most - len(its)) + its for its in pieces), strict=True)
        return [self._replace(members=row) for row in rows]


class Combined(TransformerObjective):
    """A transformer by several objectives at once."""

    model_config = ConfigDict(title="Several objectives at once")

    family: ClassVar[Family] = "combination"
    kind: Literal["combined"] = "combined"
    members: tuple[AnyMember, ...] = Field(
        default=[{"kind": "masked_lm"}, {"kind": "sim_cse", "weight": 0.1}],
        validate_default=True,
        min_length=2,
        description="Two objectives or more, each with its kind, its weight and its own fields.",
    )

    @model_validator(mode="after")
    def _members_fit(self) -> Any:
        kinds = [member.kind for member in self.members]
        if twice := next((kind for kind in kinds if kinds.count(kind) > 1), None):
            raise ValueError(f"members: {twice} is there twice, and the curves would have one name: give it once")
        assert self.objectives  # raises ValueError for what does not go together
        return self

    @property
    def objectives(self) -> list[OfTwoSides]:
        """The members themselves."""
        return [member.objective(self) for member in self.members]

    @property
    def rate_share(self) -> float:
        """That of the member which bears least."""
        return min(objective.rate_share for objective in self.objectives)

    def check(self, corpus: "EncodedCorpus", device: str) -> None:
        super().check(corpus, device)
        for objective in self.objectives:
            objective.check(corpus, device)

    def batches(self, corpus: "EncodedCorpus", seed: int) -> "CombinedBatches":
        seeds = [derive_seed(seed, member.kind) for member in self.members]
        made = [o.batches(corpus, s) for o, s in zip(self.objectives, seeds, strict=True)]
        steps = max(map(len, made))
        for objective, batches in zip(self.objectives, made, strict=True):
            log.info("%s: %.3g passes over the corpus", objective.kind, self.epochs * steps / len(batches))
        enough = [going_along(o, b, corpus, s, steps) for o, b, s in zip(self.objectives, made, seeds, strict=True)]
        return CombinedBatches(enough, leader=[len(batches) for batches in made].index(steps))

    def loss(self, encoder: "Encoder", generator: "torch.Generator") -> "torch.nn.Module":
        from sslcore.objectives._combined import WeightedSum

        losses: dict[str, torch.nn.Module] = {
            objective.kind: objective.loss(encoder, generator) for objective in self.objectives
        }
        return WeightedSum(losses, [member.weight for member in self.members])


def going_along(objective: OfTwoSides, batches: Batches, corpus: "EncodedCorpus", seed: int, steps: int) -> Batches:
    """These batches of the objective, or the same of so many epochs that there is one for each step."""
    if len(batches) >= steps:
        return batches
    epochs = -(-steps * objective.epochs // len(batches))
    return objective.model_copy(update={"epochs": epochs}).batches(corpus, seed)


class CombinedBatches:
    """One batch of each member; the leader's steps are those of the run."""

    def __init__(self, members: Sequence[Batches], leader: int) -> None:
        self._members = members
        self._leader = leader

    def __len__(self) -> int:
        return len(self._members[self._leader])

    def __getitem__(self, step: int) -> CombinedBatch:
        batches = [member[step] for member in self._members]
        leading = batches[self._leader]
        members = tuple(_placed(batch, leading.begin, leading.end) for batch in batches)
        weights = tuple(float(member.weight) for member in members)
        return CombinedBatch(members, weights, leading.tokens, leading.begin, leading.end)


def _placed(batch: Any, begin: float, end: float) -> Any:
    """The same batch where the run is: BYOL's momentum follows that, and no loss of another batch asks."""
    return replace(batch, begin=begin, end=end) if isinstance(batch, TextBatch) else batch
