"""A public checkpoint as a folder on this machine: named as one, or had from the Hugging Face hub."""

import re
from pathlib import Path

from sslcore.errors import UserError

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]  # no pickle and no code


def is_checkpoint(source: str) -> bool:
    """Whether a person means a checkpoint, and not a key of the store: a folder, or owner/name."""
    owner, _, name = source.partition("/")
    return Path(source).expanduser().is_dir() or bool(name and owner != "encoder" and HUB_NAME.fullmatch(source))


def folder_of(checkpoint: str | Path) -> Path:
    """The folder, or that of a hub name's newest version, downloaded unless it is in the cache.

    Raises UserError for what is neither, and when the hub cannot be reached or does not have it.
    """
    folder = Path(checkpoint).expanduser()
    if folder.is_dir():
        return folder
    if not HUB_NAME.fullmatch(str(checkpoint)) or folder.exists():
        raise UserError(
            f"{checkpoint} is no folder, and no name on the Hugging Face hub either: give the folder that "
            "save_pretrained wrote, or a name such as google-bert/bert-base-uncased"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(checkpoint), allow_patterns=FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise UserError(
            f"there is no folder {checkpoint}, and the Hugging Face hub did not give a model of that name: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error
