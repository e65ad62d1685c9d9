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
from tasks.tokenization import encode_sequences
from tasks.tracking import DEFAULT_EXPERIMENT


@flow(name="pretraining", **HOOKS)
def pretraining(
    corpus: str,
    objective: Objective = SkipGram(),
    seed: Annotated[int, Field(ge=0)] = 0,
    sequences: str = "",
    continuing: str = "",
) -> Ref:
    """Train an encoder by one self-supervised objective.

    Args:
        corpus: Key of a corpus or an encoded corpus in the store, or a path of text.
        objective: The pretext task.
        seed: The one seed every other is derived from.
        sequences: Column of lists (products of a basket, pages of a visit) in a Parquet file or folder given as corpus:
            its entities are trained on as they are, without text.
        continuing: Key of an encoder from which training goes on with this text; new words join its vocabulary.
    """
    asked = {"corpus": corpus, "seed": seed, "sequences": sequences, "continuing": continuing}
    open_flow_run(DEFAULT_EXPERIMENT, {**asked, **objective.model_dump(mode="json")})
    earlier = inputs.encoder(continuing) if continuing else None
    encoded = (
        encode_sequences(corpus, sequences, earlier) if sequences else inputs.encoded_corpus(corpus, growing=earlier)
    )
    return pretrain(objective, encoded, seed, earlier)
