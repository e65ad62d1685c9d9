"""A public checkpoint → encoder, in the store as what it is: something that no corpus here has made."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from sslcore.artifacts import FileEntry, Ref, raw_input
from sslcore.huggingface import FILES, folder_of
from sslcore.progress import Progress
from tasks import runtime
from tasks.runtime import OnMetrics

VERSION = 1


@task(name="take up checkpoint", cache_policy=NO_CACHE)
def take_up(checkpoint: str) -> Ref:
    """The encoder of a Hugging Face folder or hub name."""
    folder = folder_of(checkpoint)

    def write(into: Path, progress: Progress, _: OnMetrics) -> Mapping[str, Any]:
        from sslcore.models.encoder import Encoder

        progress(0.0, "reading the weights")
        encoder = Encoder.from_huggingface(folder, progress=progress)
        encoder.save(into)
        return {
            "dimensions": encoder.dimensions,
            "parameters": sum(p.numel() for p in encoder.network.parameters()),
            "vocabulary": encoder.tokenizer.vocabulary_size,
            "seconds": 0.0,  # of pretraining, by us
        }

    files = {name: _entry(folder / name) for name in sorted({p.name for glob in FILES for p in folder.glob(glob)})}
    return runtime.build(
        "take up checkpoint", "encoder", VERSION, {"kind": "checkpoint"}, {"files": raw_input(files)}, write
    )


def _entry(file: Path) -> FileEntry:
    with file.open("rb") as opened:
        return FileEntry(bytes=file.stat().st_size, sha256=hashlib.file_digest(opened, "sha256").hexdigest())
