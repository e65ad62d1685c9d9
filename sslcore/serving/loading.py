"""Load whatever model a folder holds."""

from pathlib import Path
from typing import TYPE_CHECKING

from sslcore.errors import UserError

if TYPE_CHECKING:
    from sslcore.finetuning.model import FineTunedModel
    from sslcore.models.encoder import Encoder


def load(path: str | Path) -> "Encoder | FineTunedModel":
    """The Encoder or FineTunedModel saved in a folder, told apart by its encoder.json or model.json.

    Raises UserError when the folder is not there or holds neither.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give the folder that save or a run of sslcore has written")
    if (folder / "model.json").is_file():
        from sslcore.finetuning.model import FineTunedModel

        return FineTunedModel.load(folder)
    if (folder / "encoder.json").is_file():
        from sslcore.models.encoder import Encoder

        return Encoder.load(folder)
    raise UserError(f"{folder} holds neither encoder.json nor model.json, so it is no model that sslcore wrote")
