"""The finished model → a version in the MLflow registry, under an alias."""

from collections.abc import Mapping

from prefect import task
from prefect.cache_policies import NO_CACHE

from sslcore.artifacts import Ref
from tasks import model_registry, runtime
from tasks.model_registry import RegisteredVersion
from tasks.scores import FineTuned


def chosen_encoder(report: Ref, encoders: Mapping[str, Ref]) -> Ref:
    """The encoder the report selected on validation rows; the first one where there were no labels to select by."""
    from sslcore.evaluation.report import EvaluationReport

    chosen = EvaluationReport.load(runtime.current().store.path(report)).chosen_encoder
    return encoders[chosen] if chosen else next(iter(encoders.values()))


@task(name="register model", cache_policy=NO_CACHE)
def register_model(result: FineTuned, name: str, alias: str = "champion") -> RegisteredVersion:
    """The best of several seeds as a version of `name`."""
    store = runtime.current().store
    manifest = store.manifest(store.resolve(result.best))
    lines = "\n".join(f"    {line}" for line in result.lines())
    description = f"{lines}\n\nArtefact `{manifest.ref}`; `sslcore lineage models:/{name}@{alias}` shows its origin."
    return model_registry.register(manifest, name, alias, description, {"sslcore.shape": result.shape})


@task(name="register", cache_policy=NO_CACHE)
def register(model: Ref, report: Ref, name: str, alias: str) -> RegisteredVersion:
    """The same model twice is one version: only the alias is set again."""
    from sslcore.evaluation.report import EvaluationReport

    store = runtime.current().store
    found = EvaluationReport.load(store.path(report))
    description = (
        f"{found.markdown()}\n\nArtefact `{model}`; `sslcore lineage models:/{name}@{alias}` shows its origin."
    )
    tags = {"sslcore.verdict": found.verdict.answer, "sslcore.report": str(report)}
    return model_registry.register(store.manifest(model), name, alias, description, tags)
