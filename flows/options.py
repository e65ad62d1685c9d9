"""The options that commands share, and what every command does with them. Imports nothing heavy."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

Store = Annotated[Path, typer.Option("--store", envvar="SSLCORE_STORE", help="Folder of all artefacts.")]
Device = Annotated[
    str, typer.Option("--device", envvar="SSLCORE_DEVICE", help="Where to train: cpu, cuda, cuda:1, mps.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output and nothing else there.")]
Text = Annotated[str, typer.Option("--text", help="Column of the text; found by itself when there is no doubt.")]
Label = Annotated[str, typer.Option("--label", help="Column of the label; @folder or @file for the name of either.")]
Set = Annotated[list[str], typer.Option("--set", help="Change a field of the configuration: a.b=c. Repeatable.")]
Model = Annotated[str, typer.Argument(help="A folder, an artefact key, or models:/name@alias.")]
STORE = Path("store")
DEVICE = "cpu"
NO_SETTINGS: list[str] = []


@contextlib.contextmanager
def here(store: Path, device: str = "") -> Iterator[None]:
    """Point this process, and those it starts, at the store and, if one is given, the device.

    Raises UserError for a device that is not there.
    """
    os.environ["SSLCORE_STORE"] = str(store.expanduser().absolute())
    if device:
        os.environ["SSLCORE_DEVICE"] = device
    if device not in ("", DEVICE):
        from sslcore.training.devices import check_device

        check_device(device)
    yield


def say(as_json: bool, value: Any, lines: list[str]) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=1, default=str) if as_json else "\n".join(lines))


def run_step(flow_name: str, parameters: dict[str, Any], as_json: bool) -> None:
    from importlib import import_module

    from flows import running
    from flows.server import prefect_server

    with prefect_server():
        asked = getattr(import_module(f"flows.{flow_name}"), flow_name)
        ref, steps = running.run_flow(asked, parameters, quiet=as_json)
        said = running.described(ref)
        say(as_json, said, running.lines_of(said, steps))
