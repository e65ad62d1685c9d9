"""One step alone: encoded corpus → encoder."""

from functools import cache
from typing import Annotated

from prefect import Flow, flow
from pydantic import Field

from flows.forms import flattened
from sslcore.artifacts import Ref
from sslcore.objectives.registry import Objective, objective_kinds
from sslcore.objectives.skip_gram import SkipGram
from sslcore.training.probing import Probing
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
    text: str = "",
    label: str = "",
    sequences: str = "",
    continuing: str = "",
    probe: Probing | None = None,
    stop_on_collapse: bool = False,
) -> Ref:
    """Train an encoder by one self-supervised objective.

    Args:
        corpus: Key of a corpus or an encoded corpus in the store, or a path of text.
        objective: The pretext task.
        seed: The one seed every other is derived from.
        text: For a path: the column of the text; empty to find it.
        label: For a path: the column of the label, which a probe and a few objectives use; empty for none.
        sequences: Column of lists (products of a basket, pages of a visit) in a Parquet file or folder given as corpus:
            its entities are trained on as they are, without text.
        continuing: What training goes on from with this text: the key of an encoder (new words join the vocabulary of
            word vectors), or a public checkpoint: a folder, or a name on the Hugging Face hub.
        probe: Keep the encoder that a linear probe on the corpus's labels finds best, and stop when it finds no better
            one; empty to train to the end.
        stop_on_collapse: End with an error when the vectors of texts become nearly the same, instead of a warning.
    """
    open_flow_run(
        DEFAULT_EXPERIMENT,
        {
            "corpus": corpus,
            "seed": seed,
            "sequences": sequences,
            "continuing": continuing,
            "probe": probe.model_dump(mode="json") if probe else None,
            **objective.model_dump(mode="json"),
        },
    )
    earlier = inputs.encoder(continuing) if continuing else None
    if sequences:
        encoded = encode_sequences(corpus, sequences, earlier)
    else:
        encoded = inputs.encoded_corpus(corpus, text, label, spec=objective.tokenization, earlier=earlier)
    return pretrain(objective, encoded, seed, earlier, probe=probe, stop_on_collapse=stop_on_collapse)


def __getattr__(name: str) -> "Flow[..., Ref]":
    """The flow of one objective by its kind: `flows.pretraining:masked_lm`, as prefect.yaml names it."""
    if name not in objective_kinds():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return flow_of(name)


@cache
def flow_of(kind: str) -> "Flow[..., Ref]":
    """`pretraining` by one objective."""
    return flattened(pretraining, "objective", objective_kinds()[kind], f"pretraining-{kind.replace('_', '-')}")
