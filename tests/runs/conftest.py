"""The command line as a user calls it, in a store of its own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SSLCORE = Path(sys.executable).parent / "sslcore"


def sslcore(*arguments: str, store: Path, **options: Any) -> "subprocess.CompletedProcess[str]":
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT", "MLFLOW"))}
    command = [str(SSLCORE), *arguments, "--store", str(store)]
    return subprocess.run(command, capture_output=True, text=True, cwd=store.parent, env=environment, **options)


def answer(*arguments: str, store: Path, **options: Any) -> Any:
    """The one JSON object on standard output."""
    done = sslcore(*arguments, "--json", store=store, **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def new_store(folder: Path, databases: Path) -> Path:
    """An empty store in which Prefect and MLflow find their tables."""
    shutil.copytree(databases, folder / "store" / ".services")
    return folder / "store"


@pytest.fixture
def store(tmp_path: Path, migrated_databases: Path) -> Path:
    return new_store(tmp_path, migrated_databases)
