"""What the job found, for people: a markdown page and a table on the flow run in Prefect, and lines for the screen."""

from typing import Any

from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel

from sslcore.artifacts import Ref
from tasks import runtime, tracking
from tasks.model_registry import RegisteredVersion


class JobResult(BaseModel):
    """The outcome of the end-to-end flow."""

    verdict: str
    sentence: str
    scores: list[dict[str, Any]]  # by contender and number of labels: mean and 95 % interval
    model: str  # registered name
    version: int
    alias: str
    summary: list[str]  # the same for the screen

    def lines(self) -> list[str]:
        uri = f"models:/{self.model}@{self.alias}"
        return [*self.summary, "", f"Registered  {self.model} version {self.version} as {uri}"]


@task(name="summarise", cache_policy=NO_CACHE)
def summarise(report: Ref, version: RegisteredVersion) -> JobResult:
    """Put the report on the flow run's page, and hand it to whoever started the flow."""
    from sslcore.evaluation.report import EvaluationReport

    found = EvaluationReport.load(runtime.current().store.path(report))
    scores = found.score_rows()
    create_markdown_artifact(found.markdown(), key="summary", description=found.verdict.sentence)
    create_table_artifact(scores, key="scores", description="macro-F1 by contender and labels per class")
    if tracking.tracking_uri().startswith("http"):
        create_link_artifact(
            f"{tracking.tracking_uri()}/#/models/{version.name}/versions/{version.version}",
            key="registered-model",
            link_text=f"{version.name} version {version.version}",
            description=f"The model in MLflow, as `models:/{version.name}@{version.alias}`.",
        )
    return JobResult(
        verdict=found.verdict.answer,
        sentence=found.verdict.sentence,
        scores=scores,
        model=version.name,
        version=version.version,
        alias=version.alias,
        summary=found.screen(),
    )
