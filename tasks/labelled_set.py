"""Labelled files → the labelled set that models are trained and scored on."""

import hashlib
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from sslcore.artifacts import FileEntry, Ref, raw_input
from sslcore.finetuning.labelled_set import LabelledFiles, files_of, write_labelled_set
from sslcore.finetuning.shapes.registry import AnyShape
from tasks import runtime

VERSION = 2


@task(name="read labelled rows", cache_policy=NO_CACHE)
def read_labelled_rows(source: LabelledFiles, shape: AnyShape) -> Ref:
    """Read, check and split the rows. Where their files lie does not name the set; their bytes do."""
    files: dict[str, FileEntry] = {split: _entry(file) for split, file in files_of(source).items()}
    return runtime.build(
        "read labelled rows",
        "labelled_set",
        VERSION,
        {**source.model_dump(mode="json", exclude={"path"}), "shape": shape.model_dump(mode="json")},
        {"source": raw_input(files)},
        lambda folder, progress, _: write_labelled_set(source, shape, folder),
    )


def _entry(file: Path) -> FileEntry:
    with file.open("rb") as opened:
        return FileEntry(bytes=file.stat().st_size, sha256=hashlib.file_digest(opened, "sha256").hexdigest())
