"""Configurations: what YAML, `--set` and a bare path become, and what a mistake in them says."""

from pathlib import Path

import pytest

from flows.job import Job, deployment_parameters, job_from_file, job_from_source
from sslcore.errors import UserError
from sslcore.training.probing import Probing

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_ready_configuration_is_a_job(path: Path) -> None:
    assert job_from_file(str(path)).name


def test_deployment_parameters_hold_every_default(tmp_path: Path) -> None:
    job = deployment_parameters(str(CONFIGS / "installed_documentation.yaml"))["job"]
    assert job == Job().model_dump(mode="json")


def test_set_reaches_nested_fields_lists_and_types() -> None:
    path = str(CONFIGS / "installed_documentation.yaml")
    job = job_from_file(path, ("seed=7", "objectives.0.dimensions=32", "registration.alias=candidate"))
    assert job.seed == 7
    assert job.objectives[0].dimensions == 32
    assert job.registration.alias == "candidate"


def test_set_reaches_into_what_is_left_out() -> None:
    path = str(CONFIGS / "installed_documentation.yaml")
    assert job_from_file(path).probe is None
    assert job_from_file(path, ("probe={}",)).probe == Probing()
    assert job_from_file(path, ("probe.patience=2", "probe.rows=40")).probe == Probing(patience=2, rows=40)
    with pytest.raises(UserError, match=r"probe\.every"):
        job_from_file(path, ("probe.every=0.001",))


def test_another_kind_starts_from_its_own_defaults() -> None:
    job = job_from_source("reviews.csv", "", "", ("tokenization.kind=bpe", "objectives.1.epochs=3"))
    assert job.tokenization.kind == "bpe"
    assert job.objectives[1].epochs == 3


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("seed=-1", "seed"),
        ("sed=1", "sed"),
        ("objectives.0.window=0", "window"),
        ("objectives.0.kind=glove", "glove"),
        ("seed", "field=value"),
        ("seed.deeper=1", "no fields"),
        ("registration.name=a/b", "registration.name"),
    ],
)
def test_a_wrong_override_names_the_field(override: str, named: str) -> None:
    with pytest.raises(UserError, match=named):
        job_from_file(str(CONFIGS / "installed_documentation.yaml"), (override,))


def test_a_path_names_its_job() -> None:
    job = job_from_source("data/My Reviews.csv.gz", "body", "stars")
    assert job.name == "my-reviews"
    assert job.corpus.source.model_dump(include={"paths", "text", "label"}) == {
        "paths": ("data/My Reviews.csv.gz",),
        "text": "body",
        "label": "stars",
    }


@pytest.mark.parametrize(("content", "said"), [("a: [", "not YAML"), ("- 1", "list"), ("name: 'x y'", "name")])
def test_a_broken_file_is_named(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=f"broken.yaml.*{said}"):
        job_from_file(str(path))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml"):
        job_from_file("nowhere.yaml")
