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
) -> Ref:
    """Train an encoder by one self-supervised objective.

    Args:
        corpus: Key of a corpus or an encoded corpus in the store, or a path of text.
        objective: The pretext task.
        seed: The one seed every other is derived from.
        sequences: Column of lists (products of a basket, pages of a visit) in a Parquet file or folder given as corpus:
            its entities are trained on as they are, without text.
    """
    asked = {"corpus": corpus, "seed": seed, "sequences": sequences, **objective.model_dump(mode="json")}
    open_flow_run(DEFAULT_EXPERIMENT, asked)
    encoded = encode_sequences(corpus, sequences) if sequences else inputs.encoded_corpus(corpus)
    return pretrain(objective, encoded, seed)
