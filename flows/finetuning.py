"""One step alone: encoder and labelled rows → a model of them, over several seeds, with its scores."""

from functools import cache
from typing import Annotated

from prefect import Flow, flow
from pydantic import Field

from flows.forms import flattened
from sslcore.artifacts import Ref
from sslcore.finetuning.config import FineTuning
from sslcore.finetuning.labelled_set import LabelledFiles, check_sliceable
from sslcore.finetuning.recipe import Rate
from sslcore.finetuning.shapes.classification import Classification
from sslcore.finetuning.shapes.registry import AnyShape, shape_kinds
from sslcore.objectives.masked_lm import MaskedLM
from sslcore.objectives.registry import Objective
from tasks import inputs, runtime
from tasks.finetuning import fine_tune, score
from tasks.flow_runs import HOOKS, open_flow_run
from tasks.labelled_set import read_labelled_rows
from tasks.pretraining import pretrain
from tasks.registration import register_model
from tasks.scores import FineTuned, best_validated, fine_tuned
from tasks.tracking import DEFAULT_EXPERIMENT


@flow(name="finetuning", **HOOKS)
def finetuning(
    rows: str,
    encoder: str = "",
    shape: AnyShape = Classification(),
    finetuning: FineTuning = FineTuning(),
    rates: tuple[Rate, ...] = (),
    columns: dict[str, str] | None = None,
    slices: tuple[str, ...] = (),
    unlabelled: str = "",
    pretext: Objective = MaskedLM(epochs=1),
    outliers: str = "",
    seeds: Annotated[int, Field(ge=1, le=100)] = 1,
    seed: Annotated[int, Field(ge=0)] = 0,
    name: str = "",
) -> FineTuned:
    """Train a model of labelled rows on an encoder, and score it on the test rows.

    Args:
        rows: A file or folder of labelled rows (in a folder, files named train…, validation…, test… are the splits), or
            the key of a corpus or labelled set in the store.
        encoder: Key of an encoder, a registered one (models:/name@alias), or a public checkpoint: a Hugging Face folder
            or hub name. Empty: the default encoder is pretrained on the same text first (text → class only).
        shape: What the rows are.
        finetuning: How the model is trained.
        rates: Peak learning rates of the encoder to choose among by the validation rows, a model each; empty: the one
            of finetuning.
        columns: The file's name of a column, by the one of the shape; empty where they are the same.
        slices: Columns of the files to slice the test scores by, beside length and language; empty: none.
        unlabelled: A path of text of the same kind, or the key of a corpus: the encoder goes on with it before it is
            fine-tuned. Empty: it does not.
        pretext: The pretext task of that.
        outliers: A path of text that is of none of the classes, or the key of a corpus, for a shape with energy
            margins; empty: none.
        seeds: Models that are trained, with seeds that follow from the one below; their scores are given with an
            interval.
        seed: The one seed every other is derived from.
        name: Register the model that the validation rows find best under this name; empty: register none.
    """
    given = {"rows": rows, "encoder": encoder, "shape": shape.kind, "seeds": seeds, "seed": seed}
    open_flow_run(DEFAULT_EXPERIMENT, {**given, **finetuning.model_dump(mode="json")})
    check_sliceable(rows, slices, read=bool(encoder) and runtime.named(rows) is None)
    labelled, start = rows_and_encoder(rows, encoder, shape, columns or {}, seed)
    with_slices = LabelledFiles(path=rows, columns=columns or {}, slices=slices)
    scored = read_labelled_rows(with_slices, shape) if slices else labelled  # other slices do not make other models
    if unlabelled:
        text = inputs.encoded(pretext.tokenization, inputs.corpus(unlabelled), start)
        start = pretrain(pretext, text, seed, start)
    elsewhere = inputs.corpus(outliers) if outliers else None
    recipes = [finetuning.model_copy(update={"learning_rate": rate}) for rate in rates] or [finetuning]
    models = [
        best_validated([fine_tune(recipe, labelled, start, seed + number, shape, elsewhere) for recipe in recipes])
        for number in range(seeds)
    ]
    result = fine_tuned(models, [score(model, scored) for model in models])
    if name:
        register_model(result, name)
    return result


def rows_and_encoder(rows: str, encoder: str, shape: AnyShape, columns: dict[str, str], seed: int) -> tuple[Ref, Ref]:
    """The labelled rows and the encoder to begin with."""
    if not encoder:
        corpus, encoders = inputs.encoders(rows, columns.get("text", ""), columns.get("label", ""), seed)
        return corpus, next(iter(encoders.values()))
    found = runtime.named(rows)
    labelled = found or read_labelled_rows(LabelledFiles(path=rows, columns=columns), shape)
    return labelled, inputs.encoder(encoder)


def __getattr__(name: str) -> "Flow[..., FineTuned]":
    """The flow of one shape: `flows.finetuning:shape_tags`, as prefect.yaml names it."""
    kind = name.removeprefix("shape_")
    if kind == name or kind not in shape_kinds():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return flow_of(kind)


@cache
def flow_of(kind: str) -> "Flow[..., FineTuned]":
    """`finetuning` of one shape."""
    return flattened(finetuning, "shape", shape_kinds()[kind], f"finetuning-{kind}")
