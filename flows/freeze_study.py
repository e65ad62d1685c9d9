"""One step alone: encoder and labelled rows → how much of the encoder has to learn."""

from typing import Annotated

from prefect import flow
from pydantic import Field

from flows.finetuning import rows_and_encoder
from sslcore.artifacts import Ref
from sslcore.finetuning.config import FineTuning
from sslcore.finetuning.shapes.classification import Classification
from sslcore.finetuning.shapes.registry import AnyShape
from tasks.finetuning import freeze_study as study
from tasks.flow_runs import HOOKS, open_flow_run
from tasks.tracking import DEFAULT_EXPERIMENT


@flow(name="freeze-study", **HOOKS)
def freeze_study(
    rows: str,
    encoder: str = "",
    shape: AnyShape = Classification(),
    finetuning: FineTuning = FineTuning(),
    columns: dict[str, str] | None = None,
    minimum_effect: Annotated[float, Field(ge=0)] = 0.01,
    seeds: Annotated[int, Field(ge=1, le=100)] = 5,
    seed: Annotated[int, Field(ge=0)] = 0,
) -> Ref:
    """Fine-tune with every freeze depth, and name the cheapest that is not worse than full tuning.

    Args:
        rows: A file or folder of labelled rows, or the key of a corpus or labelled set in the store.
        encoder: Key of an encoder, a registered one (models:/name@alias), or a public checkpoint: a Hugging Face folder
            or hub name. Empty: the default encoder is pretrained on the same text first (text → class only).
        shape: What the rows are.
        finetuning: How each model is trained; its own freezing is not looked at.
        columns: The file's name of a column, by the one of the shape; empty where they are the same.
        minimum_effect: How much of the score is worth nothing: no more than that may be lost.
        seeds: Runs of each depth.
        seed: The first of their seeds.
    """
    given = {"rows": rows, "encoder": encoder, "shape": shape.kind, "seeds": seeds, "seed": seed}
    open_flow_run(DEFAULT_EXPERIMENT, {**given, **finetuning.model_dump(mode="json")})
    labelled, start = rows_and_encoder(rows, encoder, shape, columns or {}, seed)
    return study(finetuning, labelled, start, tuple(range(seed, seed + seeds)), minimum_effect, shape)
