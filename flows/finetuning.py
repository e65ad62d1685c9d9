"""One step alone: encoder and labels → classifier."""

from typing import Annotated

from prefect import flow
from pydantic import Field

from sslcore.artifacts import Ref
from sslcore.finetuning.config import FineTuning
from tasks import inputs
from tasks.finetuning import fine_tune
from tasks.flow_runs import HOOKS, open_flow_run
from tasks.tracking import DEFAULT_EXPERIMENT


@flow(name="finetuning", **HOOKS)
def finetuning(
    source: str,
    text: str = "",
    label: str = "",
    finetuning: FineTuning = FineTuning(),
    seed: Annotated[int, Field(ge=0)] = 0,
) -> Ref:
    """Train a classifier on an encoder.

    Args:
        source: Key of an encoder in the store, or a path of labelled text (the default encoder is pretrained first).
        text: For a path: the column of the text; empty to find it.
        label: For a path: the column of the label.
        finetuning: How the classifier is trained.
        seed: The one seed every other is derived from.
    """
    open_flow_run(DEFAULT_EXPERIMENT, {"source": source, "seed": seed, **finetuning.model_dump(mode="json")})
    corpus, encoders = inputs.encoders(source, text, label, seed)
    return fine_tune(finetuning, corpus, next(iter(encoders.values())), seed)
