"""What the command line does with a model: find it, encode, predict, trace it. No flow, no server."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sslcore.artifacts import MANIFEST, Manifest, Ref
from sslcore.errors import UserError
from tasks import runtime

TEXTS_AT_ONCE = 8192


def model_folder(model: str) -> Path:
    """The folder that a person means by a folder, an artefact key or a registry URI."""
    if model.startswith("models:/"):
        from tasks.model_registry import model_folder as registered_folder

        return registered_folder(model)
    if Path(model).is_dir():
        return Path(model)
    store = runtime.current().store
    return store.path(store.resolve(model))


def model_ref(model: str) -> Ref:
    """The artefact behind a model. Raises UserError for a folder that is not an artefact."""
    if model.startswith("models:/"):
        from tasks.model_registry import registered

        return registered(model)
    if (Path(model) / MANIFEST).is_file():
        return Manifest.model_validate_json((Path(model) / MANIFEST).read_bytes()).ref
    if Path(model).is_dir():
        raise UserError(f"{model} holds no {MANIFEST}: it is not an artefact of a store, so nothing tells its origin")
    return runtime.current().store.resolve(model)


def texts_of(file: str, column: str) -> Iterator[list[str]]:
    """Batches of texts: lines of standard input, or the documents of anything `ingest` can read."""
    if file == "-":
        batch = []
        for line in sys.stdin:
            batch.append(line.rstrip("\n"))
            if len(batch) == TEXTS_AT_ONCE:
                yield batch
                batch = []
        if batch:
            yield batch
        return
    from sslcore.corpus.sources import FilesSource, RawDocument, raw_files, read_documents

    source = FilesSource(paths=(file,), text=column, document="line")
    batch = []
    for raw in raw_files(source):
        for document in read_documents(source, raw):
            # A row without text still gets its row in the output.
            batch.append(document.text if isinstance(document, RawDocument) else "")
            if len(batch) == TEXTS_AT_ONCE:
                yield batch
                batch = []
    if batch:
        yield batch


def encode(model: str, file: str, column: str, output: Path) -> dict[str, Any]:
    """Write text and vector of every row to `output`; the file appears only when it is whole."""
    import pyarrow as pa

    import sslcore
    from sslcore.serving.writing import writer_to

    loaded = sslcore.load(model_folder(model))
    encoder = loaded if isinstance(loaded, sslcore.Encoder) else loaded.encoder
    schema = pa.schema([("text", pa.string()), ("vector", pa.list_(pa.float32(), encoder.dimensions))])
    count = 0
    with writer_to(output) as write:
        for texts in texts_of(file, column):
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(encoder.encode(texts).reshape(-1)), encoder.dimensions)
            write(pa.table([pa.array(texts, pa.string()), vectors], schema=schema))
            count += len(texts)
    return {"output": str(output), "texts": count, "dimensions": encoder.dimensions}


def export(model: str, folder: Path, kind: str) -> dict[str, Any]:
    """Write the model in a form that other libraries load."""
    import sslcore
    from sslcore.serving.export import export as write

    write(sslcore.load(model_folder(model)), folder, kind)  # type: ignore[arg-type]
    return {"folder": str(folder), "format": kind, "files": sorted(path.name for path in folder.iterdir())}


def predict(model: str, file: str, columns: dict[str, str], output: Path | None) -> dict[str, Any]:
    """What a fine-tuned model answers to each row: all of it, or where it was written."""
    import sslcore
    from sslcore.corpus.tables import Row
    from sslcore.finetuning.row_files import FileRows
    from sslcore.serving.answering import answered, answered_file, write_answers

    loaded = sslcore.load(model_folder(model))
    if isinstance(loaded, sslcore.Encoder):
        raise UserError(f"{model} is an encoder, which has no labels; `sslcore encode` gives its vectors")
    if file == "-":
        lines = (Row(number, {"text": line.rstrip("\n")}) for number, line in enumerate(sys.stdin, start=1))
        tables = answered(loaded, FileRows(lines, ["text"]), columns, "standard input")
    else:
        tables = answered_file(loaded, Path(file), columns)
    if output is not None:
        return write_answers(tables, output)
    return {"predictions": [row for table in tables for row in table.to_pylist()]}


def lineage(model: str) -> tuple[dict[str, Any], list[str]]:
    """Every artefact behind the model, nearest first, and the raw files at the end of the walk."""
    import pyarrow.parquet as pq

    store = runtime.current().store
    found = store.lineage(model_ref(model))
    lines, raw = [], []
    for manifest in found:
        lines.append(f"{manifest.ref}  {manifest.created}  {manifest.digest[:16]}…")
        lines += [f"    {role}: {source}  {source.digest[:16]}…" for role, source in sorted(manifest.inputs.items())]
        if "sources.parquet" in manifest.files:
            raw += pq.read_table(store.path(manifest.ref) / "sources.parquet").to_pylist()
    lines.append(f"{len(raw):,} raw files")
    lines += [f"    {row['sha256'][:16]}…  {row['bytes']:>12,}  {row['name']}" for row in raw[:10]]
    if len(raw) > 10:
        lines.append(f"    … {len(raw) - 10:,} more; --json lists them all")
    tree = {
        "model": model,
        "artefacts": [m.model_dump(mode="json", include={"kind", "key", "digest", "version", "inputs"}) for m in found],
        "raw_files": raw,
    }
    return tree, lines
