"""The MLflow model registry: finished models as versions of a name, found again by alias."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from sslcore.artifacts import Manifest, Ref
from sslcore.errors import UserError
from tasks import runtime
from tasks.recording import record, settle
from tasks.tracking import client, find_run, interrupted_afterwards, tracking_uri


class RegisteredVersion(NamedTuple):
    name: str
    version: int
    alias: str
    new: bool  # False: this very model was registered before


@interrupted_afterwards()
def register(model: Manifest, name: str, alias: str, description: str, tags: Mapping[str, str]) -> RegisteredVersion:
    """Make the model a version of `name` unless these very bytes are one already, and point the alias at it."""
    import prefect.runtime.flow_run as flow_run
    from mlflow.exceptions import MlflowException

    settle()
    record(model, flow_run_id=str(flow_run.id))  # has been written, unless MLflow was away
    run = find_run("sslcore.key", str(model.ref))
    if run is None or "sslcore.model_uri" not in run.data.tags:
        raise UserError(
            f"{model.ref} could not be registered because MLflow at {tracking_uri()} does not answer. "
            "The model is finished and kept in the store: start MLflow and run again, nothing is computed twice."
        )
    with contextlib.suppress(MlflowException):  # it exists already
        client().create_registered_model(name, description="Made by sslcore; each version's page says from what.")
    versions = client().search_model_versions(f"name = '{name}'")
    known = [version for version in versions if version.tags.get("sslcore.digest") == model.digest]
    if known:
        version = known[0]
    else:
        uri = run.data.tags["sslcore.model_uri"]
        version = client().create_model_version(
            name,
            uri,
            run.info.run_id,
            tags={**tags, "sslcore.key": str(model.ref), "sslcore.digest": model.digest},
            description=description,
            model_id=uri.removeprefix("models:/"),
        )
    client().set_registered_model_alias(name, alias, version.version)
    return RegisteredVersion(name, int(version.version), alias, not known)


def model_folder(uri: str) -> Path:
    """The folder of a registered model (`models:/name@alias`, `models:/name/3`): the store's own, or a download."""
    import mlflow
    from mlflow.exceptions import MlflowException

    version = registered(uri)
    store = runtime.current().store
    with contextlib.suppress(UserError):
        return store.path(version)
    try:
        return Path(mlflow.artifacts.download_artifacts(uri)) / "artifacts" / version.key
    except MlflowException as error:
        raise UserError(f"{uri} is registered, but its files cannot be fetched: {error}") from error


def registered(uri: str) -> Ref:
    """Which artefact a registry URI stands for. Raises UserError when the registry has no such model or alias."""
    from mlflow.exceptions import MlflowException

    name, at, alias = uri.removeprefix("models:/").partition("@")
    try:
        if at:
            version = client().get_model_version_by_alias(name, alias)
        else:
            name, _, number = name.partition("/")
            version = client().get_model_version(name, number)
    except MlflowException as error:
        known = ", ".join(m.name for m in client().search_registered_models()) or "none"
        raise UserError(
            f"the registry at {tracking_uri()} has no {uri}; registered models: {known}. "
            "Write models:/NAME@ALIAS or models:/NAME/VERSION."
        ) from error
    if "sslcore.key" not in version.tags:
        raise UserError(f"{uri} was not registered by sslcore; give one of its models, or load it with MLflow itself")
    kind, _, key = version.tags["sslcore.key"].partition("/")
    return Ref(kind=kind, key=key, digest=version.tags["sslcore.digest"])


def registered_artifacts() -> frozenset[Ref]:
    """Every artefact a registered version stands for: what `store gc` must keep."""
    versions = client().search_model_versions() if _exists() else []
    refs = set()
    for version in versions:
        kind, _, key = version.tags.get("sslcore.key", "").partition("/")
        if key:
            refs.add(Ref(kind=kind, key=key, digest=version.tags["sslcore.digest"]))
    return frozenset(refs)


def _exists() -> bool:
    uri = tracking_uri()
    return not uri.startswith("sqlite:///") or Path(uri.removeprefix("sqlite:///")).exists()
