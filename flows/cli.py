"""The command line. Imports nothing heavy until a command knows what it needs, so that `--help` answers at once."""

import gc
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from flows import downstream
from flows.options import DEVICE, NO_SETTINGS, STORE, Device, Json, Label, Model, Set, Store, Text, here, run_step, say
from sslcore.errors import UserError

app = typer.Typer(
    help="Turns unlabelled text and a few labels into a registered encoder and classifier, "
    "and says with numbers whether the pretraining was worth it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
store_app = typer.Typer(help="List, verify and clean up what has been made.")
app.add_typer(store_app, name="store", no_args_is_help=True)
app.add_typer(downstream.app)

INTERRUPTED = 130


def main() -> None:
    """Entry point of the console script. Exit codes: 0 done, 1 failed, 2 the user's mistake, 128 + a signal's."""
    heard = _hear_signals()
    try:
        code = app(standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except Exception as error:  # of a signal too: a library may have made its own error of it
        code = INTERRUPTED if heard else _explained(error)
    if code == INTERRUPTED:
        code = 128 + heard[0] if heard else INTERRUPTED
        print("stopped; what is finished is kept, and the same command goes on from there", file=sys.stderr)
    gc.freeze()  # else leaving is two seconds of collecting all that was imported
    sys.exit(code)


def _hear_signals() -> list[int]:
    """Ctrl-C interrupts as ever, SIGTERM does the same, and the list that is given says which came."""
    heard: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        signal.default_int_handler(number, frame)

    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) == usual:  # not where a shell said to ignore it
            signal.signal(number, interrupt)
    return heard


def _explained(error: Exception) -> int:
    """Print one error as a person wants it; the exit code."""
    if isinstance(error, typer.BadParameter.mro()[1]):  # usage: an unknown command, option or value
        error.show()  # type: ignore[attr-defined]
        return 2
    if isinstance(error, UserError):
        print(f"error: {error}", file=sys.stderr)
        return 2
    if os.environ.get("SSLCORE_DEBUG"):
        raise error
    print(f"failed: {type(error).__name__}: {error}\n(SSLCORE_DEBUG=1 shows where)", file=sys.stderr)
    return 1


# -- the job and its steps ---------------------------------------------------------------------------------------------


@app.command()
def run(
    source: Annotated[str, typer.Argument(help="CONFIG.yaml, or a path of your text: file, folder, glob or URL.")],
    text: Text = "",
    label: Label = "",
    settings: Set = NO_SETTINGS,
    device: Device = DEVICE,
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """The whole job, from raw text to the registry and a verdict."""
    with here(store, device):
        from flows.job import job_from_file, job_from_source
        from flows.server import prefect_server
        from sslcore.corpus.sources import readable_files

        is_configuration = source.endswith((".yaml", ".yml"))
        if is_configuration and (text or label):
            raise UserError("--text and --label belong to a path of text; a configuration has corpus.source.text")
        job = (
            job_from_file(source, tuple(settings))
            if is_configuration
            else job_from_source(source, text, label, tuple(settings))
        )
        readable_files(job.corpus.source)  # a wrong path or column is said at once, before a server is started
        with prefect_server():
            from flows import running
            from flows.end_to_end import end_to_end

            result, steps = running.run_flow(end_to_end, {"job": job}, quiet=as_json)
            said = {**result.model_dump(mode="json"), **running.accounted(steps)}
            say(as_json, said, running.story(result, steps))


def _check(source: str, text: str = "", label: str = "", sequences: str = "", continuing: str = "") -> None:
    """Raise UserError for what is wrong with a path or a key, before a server is started for it."""
    from sslcore.corpus.sources import FilesSource, readable_files
    from tasks import runtime

    if sequences:
        from sslcore.tokenization.sequences import list_column

        list_column(Path(source), sequences)
    elif runtime.named(source) is None:
        readable_files(FilesSource(paths=(source,), text=text, label=label))
    if continuing:
        from sslcore.huggingface import folder_of, is_checkpoint

        if is_checkpoint(continuing):
            folder_of(continuing)
        else:
            runtime.current().store.resolve(continuing)


@app.command()
def ingest(
    path: Annotated[str, typer.Argument(help="File, folder, glob or URL.")],
    text: Text = "",
    label: Label = "",
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Read, clean, deduplicate and split text into a corpus."""
    from sslcore.corpus.ingestion import Ingestion
    from sslcore.corpus.sources import FilesSource, readable_files

    corpus = Ingestion(source=FilesSource(paths=(path,), text=text, label=label))
    with here(store):
        readable_files(corpus.source)
        run_step("ingestion", {"corpus": corpus}, as_json)


@app.command()
def tokenize(
    corpus: Annotated[str, typer.Argument(help="A path of text, or the key of a corpus.")],
    kind: Annotated[str, typer.Option(help="words, jieba_words, bpe, word_piece or unigram.")] = "words",
    settings: Set = NO_SETTINGS,
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Fit a tokenizer on a corpus; report how it fits."""
    from flows.job import parsed
    from sslcore.tokenization.registry import Tokenization

    spec = parsed(Tokenization, {"kind": kind}, tuple(settings), "tokenize")
    with here(store):
        _check(corpus)
        run_step("tokenization", {"corpus": corpus, "tokenization": spec}, as_json)


@app.command()
def pretrain(
    corpus: Annotated[str, typer.Argument(help="A path of text, or the key of a corpus or an encoded corpus.")],
    objective: Annotated[str, typer.Option(help="Its kind; `sslcore objectives` lists them.")] = "skip_gram",
    seed: int = 0,
    sequences: Annotated[
        str, typer.Option(help="Column of lists in a Parquet file or folder: train on its entities, without text.")
    ] = "",
    continuing: Annotated[
        str, typer.Option(help="Go on from an encoder's key, or from a Hugging Face folder or hub name.")
    ] = "",
    text: Text = "",
    label: Label = "",
    probe: Annotated[
        bool, typer.Option("--probe", help="Keep the encoder that a linear probe on the labels finds best; stop there.")
    ] = False,
    stop_on_collapse: Annotated[
        bool, typer.Option("--stop-on-collapse", help="An error, not a warning, when the vectors become the same.")
    ] = False,
    settings: Set = NO_SETTINGS,
    device: Device = DEVICE,
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Train an encoder by one self-supervised objective."""
    from flows.job import parsed
    from sslcore.objectives.registry import Objective
    from sslcore.training.probing import Probing

    spec = parsed(Objective, {"kind": objective}, tuple(settings), "pretrain")
    stopping = {"probe": Probing() if probe else None, "stop_on_collapse": stop_on_collapse}
    source = {"corpus": corpus, "text": text, "label": label, "sequences": sequences, "continuing": continuing}
    parameters = {**source, "objective": spec, "seed": seed, **stopping}
    with here(store, device):
        _check(corpus, text, label, sequences=sequences, continuing=continuing)
        run_step("pretraining", parameters, as_json)


@app.command()
def evaluate(
    source: Annotated[str, typer.Argument(help="A path of text, or the key of an encoder.")],
    label: Label = "",
    text: Text = "",
    seed: int = 0,
    settings: Set = NO_SETTINGS,
    device: Device = DEVICE,
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Measure what pretraining brought, and say the verdict."""
    from flows.job import parsed
    from sslcore.evaluation.config import Evaluation

    config = parsed(Evaluation, {}, tuple(settings), "evaluate")
    parameters = {"source": source, "text": text, "label": label, "evaluation": config, "seed": seed}
    with here(store, device):
        _check(source, text, label)
        run_step("evaluation", parameters, as_json)


# -- servers -----------------------------------------------------------------------------------------------------------


@app.command()
def up(
    prefect_port: Annotated[int, typer.Option(help="Port of the Prefect server and UI.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(help="Port of the MLflow server and UI.")] = 5000,
    device: Device = DEVICE,
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Start Prefect, MLflow, a worker and the deployments."""
    with here(store, device):
        from flows.screen import shown
        from tasks import runtime, services

        with shown(quiet=as_json):
            services_up = services.up(
                runtime.current().home,
                store=store.expanduser().absolute(),
                prefect_port=prefect_port,
                mlflow_port=mlflow_port,
                progress=runtime.as_progress("up"),
            )
        lines = [f"Prefect UI  {services_up.prefect_url}", f"MLflow UI   {services_up.mlflow_url}"]
        say(as_json, services_up.model_dump(mode="json"), [*lines, "`sslcore down` stops both and the worker."])


@app.command()
def down(store: Store = STORE, as_json: Json = False) -> None:
    """End what `up` started, and nothing else."""
    with here(store):
        from tasks import runtime, services

        stopped = services.down(runtime.current().home)
        say(as_json, {"stopped": stopped}, [f"stopped {name}" for name in stopped] or ["nothing was running"])


# -- looking and using -------------------------------------------------------------------------------------------------


@app.command()
def doctor(
    path: Annotated[str, typer.Argument(help="File, folder, glob or URL.")],
    text: Text = "",
    label: Label = "",
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Say what a text is, what is wrong and how to mend it."""
    from sslcore.corpus.doctor import examine
    from sslcore.corpus.sources import FilesSource

    diagnosis = examine(FilesSource(paths=(path,), text=text, label=label))
    say(as_json, diagnosis.model_dump(mode="json"), diagnosis.lines())


@app.command()
def encode(
    model: Model,
    file: Annotated[str, typer.Argument(help="Text, one a line, or a table; standard input when left out.")] = "-",
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet file of text and vector.")] = Path(
        "vectors.parquet"
    ),
    text: Text = "",
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Write the vector of each text to a Parquet file."""
    with here(store):
        from flows import using

        said = using.encode(model, file, text, output)
        say(as_json, said, [f"{said['texts']:,} vectors of {said['dimensions']} numbers in {said['output']}"])


@app.command()
def export(
    model: Model,
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    kind: Annotated[
        str, typer.Option("--format", help="huggingface, sentence-transformers or onnx.")
    ] = "sentence-transformers",
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Write a transformer as a folder that other libraries load: its encoder; in onnx all of a fine-tuned model."""
    with here(store):
        from flows import using

        said = using.export(model, folder, kind)
        say(as_json, said, [f"{said['format']} in {said['folder']}: {', '.join(said['files'])}"])


@app.command()
def objectives(as_json: Json = False) -> None:
    """Every pretext objective: its family and paper, what it wants and needs."""
    from sslcore.objectives.description import descriptions

    found = descriptions()
    say(as_json, {"objectives": [d._asdict() for d in found]}, [line for d in found for line in d.lines()])


@app.command()
def lineage(model: Model, store: Store = STORE, as_json: Json = False) -> None:
    """Walk from a model back to the hashes of the raw files."""
    with here(store):
        from flows import using

        tree, lines = using.lineage(model)
        say(as_json, tree, lines)


@store_app.command("list")
def store_list(store: Store = STORE, as_json: Json = False) -> None:
    """Every artefact, oldest first."""
    from sslcore.artifacts import ArtifactStore

    found = ArtifactStore(store).manifests()
    lines = [f"{m.created}  {sum(f.bytes for f in m.files.values()) / 1e6:9.1f} MB  {m.kind}/{m.key}" for m in found]
    value = {"artefacts": [m.model_dump(mode="json", exclude={"files"}) for m in found]}
    say(as_json, value, lines or [f"the store {store} is empty; `sslcore run` fills it"])


@store_app.command("verify")
def store_verify(store: Store = STORE, as_json: Json = False) -> None:
    """Read every byte again and compare. Exit code 1 if anything differs."""
    from sslcore.artifacts import ArtifactStore

    opened = ArtifactStore(store)
    problems = opened.verify()
    lines = [f"{p.ref} {p.file}: {p.what}" for p in problems]
    value = {"problems": [{"artefact": str(p.ref), "file": p.file, "what": p.what} for p in problems]}
    say(as_json, value, lines or [f"{len(opened.manifests())} artefacts, every byte as it was written"])
    if problems:
        raise typer.Exit(1)


@store_app.command("gc")
def store_gc(
    days: Annotated[float, typer.Option(help="Remove what has not been used for this long.")] = 30.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Remove artefacts unused for --days that no newer or registered one needs, and what killed runs left."""
    with here(store):
        from sslcore.artifacts import ArtifactStore
        from tasks.model_registry import registered_artifacts

        gone = ArtifactStore(store).gc(unused_days=days, keep=registered_artifacts(), dry_run=dry_run)
        verb = "would remove" if dry_run else "removed"
        say(as_json, {"removed": gone, "dry_run": dry_run}, [f"{verb} {n}" for n in gone] or ["nothing to remove"])
