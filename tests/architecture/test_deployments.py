"""prefect.yaml and configs/: one wrong key in the first, and nothing at all would be deployed."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.flows import Flow, load_flow_from_entrypoint

ROOT = Path(__file__).parents[2]
PREFECT_YAML: dict[str, Any] = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
DEPLOYMENTS: list[dict[str, Any]] = PREFECT_YAML["deployments"]
CONFIGURATIONS = sorted((ROOT / "configs").glob("*.yaml"))


def name(deployment: dict[str, Any]) -> str:
    return str(deployment["name"])


def test_names_are_unique_and_one_deployment_runs_every_night() -> None:
    assert len({name(d) for d in DEPLOYMENTS}) == len(DEPLOYMENTS)
    nightly = [d for d in DEPLOYMENTS if d.get("schedules")]
    assert [d["entrypoint"] for d in nightly] == ["flows.end_to_end:end_to_end"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=name)
def test_entrypoint_resolves_by_module_and_its_form_can_be_drawn(deployment: dict[str, Any]) -> None:
    assert "/" not in deployment["entrypoint"], "a path would load a second copy of the module"
    flow: Flow[..., Any] = load_flow_from_entrypoint(deployment["entrypoint"])
    schema = flow.parameters  # Prefect's own account of the signature, from which the UI draws the form
    assert schema.properties
    given = deployment.get("parameters", {})
    assert set(given) <= set(schema.properties), f"parameters that {flow.name} does not have"
    required = set(schema.required or []) - set(given)
    described = [
        field for field, value in schema.properties.items() if value.get("description") or "$ref" in str(value)
    ]
    assert set(required) <= set(described), "what a person must fill in is described"


def test_every_objective_has_a_deployment_whose_form_explains_its_fields() -> None:
    from sslcore.objectives.registry import objective_kinds

    entrypoints = {d["entrypoint"] for d in DEPLOYMENTS}
    for kind, model in objective_kinds().items():
        assert f"flows.pretraining:{kind}" in entrypoints
        flow: Flow[..., Any] = load_flow_from_entrypoint(f"flows.pretraining:{kind}")
        properties = flow.parameters.properties
        for field, value in model.model_fields.items():
            if field != "kind":
                said = " ".join(properties[field]["description"].split())
                assert said == " ".join((value.description or "").split()), (kind, field)
                assert properties[field].get("default", value.default) == value.default, (kind, field)


def test_every_shape_has_a_deployment_whose_form_explains_its_fields() -> None:
    from sslcore.finetuning.shapes.registry import shape_kinds

    entrypoints = {d["entrypoint"] for d in DEPLOYMENTS}
    for kind, model in shape_kinds().items():
        assert f"flows.finetuning:shape_{kind}" in entrypoints
        flow: Flow[..., Any] = load_flow_from_entrypoint(f"flows.finetuning:shape_{kind}")
        for field in model.model_fields.keys() - {"kind"}:
            assert flow.parameters.properties[field]["description"], (kind, field)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=name)
def test_deployment_runs_in_the_pool_that_up_makes(deployment: dict[str, Any]) -> None:
    from tasks.services.prefect_side import WORK_POOL

    assert deployment["work_pool"] == {"name": WORK_POOL}
    assert deployment["description"]


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda p: p.stem)
def test_configuration_is_valid(path: Path) -> None:
    from flows.job import job_from_file

    assert job_from_file(str(path)).name


def test_there_are_configurations() -> None:
    assert len(CONFIGURATIONS) >= 3
