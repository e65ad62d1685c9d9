"""What a disk does: lists, empties, keeps for good, and refuses."""

import contextlib
import errno
import os
import shutil
from pathlib import Path


def files_under(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def empty_folder(folder: Path, *, but: str) -> None:
    """Remove everything in a folder but one name, and the folder too if that is not there."""
    for path in folder.glob("*"):
        if path.is_dir() and path.name != but:
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != but:
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not empty, or not there
        folder.rmdir()


REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)


def is_full(error: Exception, root: Path) -> bool:
    """Whether the disk of a folder is full. Only Python and Arrow set errno; the Rust writers of safetensors and
    tokenizers say it in words, and numpy says how many items it wrote."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    said = str(error)
    if "No space left on device" in said:
        return True
    return isinstance(error, OSError) and "requested and" in said and shutil.disk_usage(root).free < 2**20


def write_durably(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
