"""The parameters of the main job: one model for the YAML file, the Prefect form and the command line's `--set`."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from sslcore.corpus.ingestion import Ingestion
from sslcore.corpus.sources import FilesSource, InstalledDocumentation
from sslcore.errors import UserError
from sslcore.evaluation.config import Evaluation
from sslcore.finetuning.config import FineTuning
from sslcore.objectives.registry import DEFAULT_OBJECTIVES, Objective
from sslcore.tokenization.registry import Tokenization
from sslcore.tokenization.words import Words
from sslcore.training.probing import Probing


class Registration(BaseModel):
    """Where the fine-tuned model goes in the MLflow model registry."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("", description="Registered name; empty: the job's name.", pattern=r"^[^/:@]*$")
    alias: str = Field("champion", description="The alias that points at the new version.", pattern=r"^[A-Za-z][\w-]*$")


class Job(BaseModel):
    """From raw text to a registered model and a verdict."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        "installed-documentation",
        description="Names the MLflow experiment and the registered model.",
        pattern=r"^[A-Za-z0-9][\w.-]*$",
    )
    corpus: Ingestion = Field(
        Ingestion(source=InstalledDocumentation()), description="What to read, and how to clean it."
    )
    tokenization: Tokenization = Field(Words(), description="How text becomes ids.")
    objectives: tuple[Objective, ...] = Field(
        DEFAULT_OBJECTIVES, min_length=1, description="One encoder is pretrained by each."
    )
    continuing: str = Field(
        "",
        description="Encoder that the objectives go on from: its key, or a Hugging Face folder or hub name. Its "
        "tokenizer is then the corpus's, and it is measured too, as it was.",
    )
    probe: Probing | None = Field(
        None,
        description="Of each pretraining, keep the encoder that a linear probe on the training split's labels finds "
        "best, and stop when it finds no better one; empty: train to the end.",
    )
    stop_on_collapse: bool = Field(
        False, description="End with an error when the vectors of texts become nearly the same, instead of a warning."
    )
    evaluation: Evaluation = Field(Evaluation(), description="How it is measured whether pretraining was worth it.")
    finetuning: FineTuning = Field(FineTuning(), description="How the classifier is trained.")
    registration: Registration = Field(Registration(), description="Where the classifier is registered.")
    seed: int = Field(0, ge=0, description="The one seed every other is derived from.")


def job_from_file(path: str, overrides: tuple[str, ...] = ()) -> Job:
    """The job of a YAML file with `a.b=c` overrides. Raises UserError naming the file, the line or the field."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the configuration {path}: {error}") from error
    try:
        tree = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {error}") from error
    if not isinstance(tree, dict):
        raise UserError(f"{path} holds a {type(tree).__name__}; expected `field: value` lines, as in configs/")
    return parsed(Job, tree, overrides, path)


def job_from_source(path: str, text: str, label: str, overrides: tuple[str, ...] = ()) -> Job:
    """The default job on the user's own file, folder, glob or URL."""
    name = "".join(c if c.isalnum() else "-" for c in Path(path.rstrip("/*")).name.split(".")[0]).strip("-").lower()
    source = FilesSource(paths=(path,), text=text, label=label)
    tree = {"name": name or "corpus", "corpus": {"source": source.model_dump(mode="json")}}
    return parsed(Job, tree, overrides, path)


def deployment_parameters(path: str) -> dict[str, Any]:
    """A build step of prefect.yaml: the whole content of a configuration, so that the form shows every value."""
    return {"job": job_from_file(path).model_dump(mode="json")}


def parsed(annotation: Any, tree: dict[str, Any], overrides: tuple[str, ...], where: str) -> Any:
    """The tree with its overrides as a checked configuration. Raises UserError naming each wrong field."""
    adapter = TypeAdapter(annotation)
    try:
        if overrides:  # they may reach into what the tree leaves to its defaults
            tree = adapter.dump_python(adapter.validate_python(tree), mode="json")
        for override in overrides:
            _set(tree, override)
        return adapter.validate_python(tree)
    except ValidationError as error:
        raise UserError(f"{where}: {said(error)}") from error


def said(error: ValidationError) -> str:
    """Each wrong field with what was given and what was expected, one a line."""
    lines = []
    for item in error.errors():
        field = ".".join(str(part) for part in item["loc"])
        given = "" if item["type"] in ("missing", "extra_forbidden") else f" (given: {str(item['input'])[:80]!r})"
        lines.append(f"{field or 'value'}: {item['msg']}{given}")
    return "\n  ".join(lines)


def _set(tree: dict[str, Any], override: str) -> None:
    """Set `a.b=c` in place: c is read as YAML; a number in the path is a place in a list."""
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise UserError(f"--set {override!r}: write it as field=value, for instance --set seed=3")
    *parents, last = path.split(".")
    here: Any = tree
    for part in parents:
        if isinstance(here, list) and part.isdigit() and int(part) < len(here):
            here = here[int(part)]
        elif isinstance(here, dict):
            here[part] = {} if here.get(part) is None else here[part]  # None: what is left out, and may be given
            here = here[part]
    value = yaml.safe_load(text)
    if isinstance(here, list) and last.isdigit() and int(last) < len(here):
        here[int(last)] = value
    elif isinstance(here, dict):
        if last == "kind" and here.get("kind") != value:
            here.clear()  # another kind has other fields
        here[last] = value
    else:
        raise UserError(f"--set {override!r}: {'.'.join(parents)} has no fields of its own")
