"""`sslcore.load` finds out what a folder holds."""

from pathlib import Path

import pytest

import sslcore
from sslcore.errors import UserError
from sslcore.models.encoder import Encoder


def test_a_folder_with_an_encoder_gives_an_encoder(tmp_path: Path) -> None:
    sslcore.pretrain(sslcore.SkipGram(dimensions=3, epochs=1), [["a", "b"] * 9], seed=0).save(
        tmp_path / "new" / "folder"
    )
    assert isinstance(sslcore.load(str(tmp_path / "new" / "folder")), Encoder)


def test_what_holds_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a folder"):
        sslcore.load(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"holds neither encoder\.json nor model\.json"):
        sslcore.load(tmp_path)
