"""The commands of the command line that train and use models of labelled rows."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.options import DEVICE, NO_SETTINGS, STORE, Device, Json, Model, Set, Store, here, say
from sslcore.errors import UserError

app = typer.Typer()
Rows = Annotated[str, typer.Argument(help="Labelled rows: a file, a folder of splits, or a key in the store.")]
Shape = Annotated[str, typer.Option(help="class, tags, pair or span.")]
From = Annotated[str, typer.Option(help="A key, models:/name@alias, or a Hugging Face folder or hub name.")]
Column = Annotated[list[str], typer.Option("--column", help="OURS=THEIRS: label=topic. Repeatable.")]
Slice = Annotated[list[str], typer.Option("--slice", help="Column of the files to slice scores by. Repeatable.")]
NO_COLUMNS: list[str] = []


@app.command()
def finetune(
    rows: Rows,
    shape: Shape = "class",
    encoder: From = "",
    preset: Annotated[str, typer.Option(help="A published recipe: bert, roberta, few_rows, linear_probe …")] = "",
    freeze: Annotated[str, typer.Option(help="What stays as pretrained; docs/freezing.md has the policies.")] = "",
    seeds: Annotated[int, typer.Option(help="How many models, a seed each.")] = 1,
    unlabelled: Annotated[str, typer.Option(help="Text to go on with first: a path, or a corpus's key.")] = "",
    outliers: Annotated[str, typer.Option(help="Text of none of the classes, for shape.energy_margins.")] = "",
    columns: Column = NO_COLUMNS,
    slices: Slice = NO_COLUMNS,
    name: Annotated[str, typer.Option(help="Register the best model under this name.")] = "",
    seed: int = 0,
    settings: Set = NO_SETTINGS,
    device: Device = DEVICE,
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Train a model of labelled rows on an encoder, over seeds, and score it."""
    from flows.job import parsed
    from sslcore.finetuning.presets import PRESETS
    from sslcore.finetuning.presets import preset as published
    from sslcore.finetuning.recipe import Recipe

    tree: dict[str, Any] = {"shape": {"kind": shape}, "finetuning": {}}
    if preset:
        tree |= {"finetuning": published(preset).model_dump(mode="json"), "rates": PRESETS[preset].rates}
    if freeze:
        tree["finetuning"]["freezing"] = freeze
    recipe = parsed(Recipe, tree, tuple(settings), "finetune")
    theirs = columns_of(columns)
    given = {
        "rows": rows,
        "encoder": encoder,
        "columns": theirs,
        "slices": tuple(slices),
        "unlabelled": unlabelled,
        "outliers": outliers,
    }
    with here(store, device):
        check_rows(rows, encoder, theirs, recipe.shape, tuple(slices))
        from flows import running
        from flows.finetuning import finetuning
        from flows.server import prefect_server

        with prefect_server():
            parameters = {**given, **dict(recipe), "seeds": seeds, "seed": seed, "name": name}
            result, steps = running.run_flow(finetuning, parameters, quiet=as_json)
            say(as_json, {**result.model_dump(mode="json"), **running.accounted(steps)}, result.lines())


@app.command("freeze-study")
def freeze_study(
    rows: Rows,
    shape: Shape = "class",
    encoder: From = "",
    seeds: Annotated[int, typer.Option(help="Runs of each freeze depth.")] = 5,
    minimum_effect: Annotated[float, typer.Option(help="How much of the score is worth nothing.")] = 0.01,
    columns: Column = NO_COLUMNS,
    seed: int = 0,
    settings: Set = NO_SETTINGS,
    device: Device = DEVICE,
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Fine-tune with every freeze depth; name the cheapest that is not worse."""
    from flows.job import parsed
    from sslcore.finetuning.recipe import Recipe

    recipe = parsed(Recipe, {"shape": {"kind": shape}}, tuple(settings), "freeze-study")
    theirs = columns_of(columns)
    given = {"rows": rows, "encoder": encoder, "columns": theirs, "minimum_effect": minimum_effect}
    with here(store, device):
        check_rows(rows, encoder, theirs, recipe.shape)
        from flows import running
        from flows.freeze_study import freeze_study as study
        from flows.server import prefect_server

        with prefect_server():
            parameters = {**given, "shape": recipe.shape, "finetuning": recipe.finetuning, "seeds": seeds, "seed": seed}
            ref, _ = running.run_flow(study, parameters, quiet=as_json)
            said = running.described(ref)
            say(as_json, said, [str(said["table"]), f"{said['kind']}/{said['key']}  {said['path']}"])


def columns_of(given: list[str]) -> dict[str, str]:
    """Raises UserError for what is not OURS=THEIRS."""
    pairs = [column.partition("=") for column in given]
    for ours, equals, theirs in pairs:
        if not (ours and equals and theirs):
            raise UserError(
                f"--column {ours + equals + theirs!r}: write it as OURS=THEIRS, for instance label=category"
            )
    return {ours: theirs for ours, _, theirs in pairs}


def check_rows(rows: str, encoder: str, columns: dict[str, str], shape: Any, slices: tuple[str, ...] = ()) -> None:
    """Raise UserError for what is wrong with rows or a key, before a server is started for it."""
    from sslcore.finetuning.labelled_set import LabelledFiles, check_sliceable, read_labelled
    from sslcore.huggingface import folder_of, is_checkpoint
    from tasks import runtime

    read = bool(encoder) and runtime.named(rows) is None
    check_sliceable(rows, slices, read=read)
    if read:  # without an encoder they become a corpus, which has columns of its own
        read_labelled(LabelledFiles(path=rows, columns=columns, slices=slices), shape)
    if encoder and is_checkpoint(encoder):
        folder_of(encoder)
    elif encoder and not encoder.startswith("models:/"):
        runtime.current().store.resolve(encoder)


@app.command()
def predict(
    model: Model,
    file: Annotated[str, typer.Argument(help="Rows of a table, or texts, one a line; - for standard input.")] = "-",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this .parquet, .csv or .jsonl, as it goes.")
    ] = None,
    columns: Column = NO_COLUMNS,
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Say what a fine-tuned model answers to each row."""
    with here(store):
        from flows import using

        said = using.predict(model, file, columns_of(columns), output)
        say(as_json, said, prediction_lines(said))


def prediction_lines(said: dict[str, Any]) -> list[str]:
    """Row by row for the screen, or an account of what was written."""
    if "predictions" not in said:
        left = [f"  {count:,} rows not answered: {reason}" for reason, count in said["not_answered"].items()]
        return [f"{said['rows']:,} rows in {said['output']}", *left]
    lines = []
    for row in said["predictions"]:
        shown = {name: round(v, 3) if isinstance(v, float) else v for name, v in row.items() if v is not None}
        shown = {name: value for name, value in shown.items() if not name.startswith("probability of")}
        lines.append("\t".join(f"{value}" for value in shown.values()))
    return lines
