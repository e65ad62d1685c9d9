"""One step alone: encoded corpus → encoder."""

from typing import Annotated

from prefect import flow
from pydantic import Field

from sslcore.artifacts import Ref
from sslcore.objectives.registry import Objective
from sslcore.objectives.skip_gram import SkipGram
from tasks import inputs
from tasks.flow_runs import HOOKS, open_flow_run
from tasks.pretraining import pretrain
from tasks.tracking import DEFAULT_EXPERIMENT


@flow(name="pretraining", **HOOKS)
def pretraining(
    corpus: str,
    objective: Objective = SkipGram(),
    seed: Annotated[int, Field(ge=0)] = 0,
) -> Ref:
    """Train an encoder by one self-supervised objective.

    Args:
        corpus: Key of a corpus or an encoded corpus in the store, or a path of text.
        objective: The pretext task.
        seed: The one seed every other is derived from.
    """
    open_flow_run(DEFAULT_EXPERIMENT, {"corpus": corpus, "seed": seed, **objective.model_dump(mode="json")})
    return pretrain(objective, inputs.encoded_corpus(corpus), seed)
