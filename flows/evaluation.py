"""One step alone: encoders → what pretraining brought."""

from typing import Annotated

from prefect import flow
from pydantic import Field

from sslcore.artifacts import Ref
from sslcore.evaluation.config import Evaluation
from tasks import inputs
from tasks.evaluation import evaluate
from tasks.flow_runs import HOOKS, open_flow_run
from tasks.tracking import DEFAULT_EXPERIMENT


@flow(name="evaluation", **HOOKS)
def evaluation(
    source: str,
    text: str = "",
    label: str = "",
    evaluation: Evaluation = Evaluation(),
    seed: Annotated[int, Field(ge=0)] = 0,
) -> Ref:
    """Measure an encoder against the baselines on the labels of its corpus.

    Args:
        source: Key of an encoder in the store, or a path of text (the default encoders are then pretrained first).
        text: For a path: the column of the text; empty to find it.
        label: For a path: the column of the label; empty for none.
        evaluation: What is measured.
        seed: The one seed every other is derived from.
    """
    open_flow_run(DEFAULT_EXPERIMENT, {"source": source, "seed": seed, **evaluation.model_dump(mode="json")})
    corpus, encoders = inputs.encoders(source, text, label, seed)
    return evaluate(evaluation, corpus, encoders, seed)
