"""prefect.yaml as it stands, deployed to a real server: one wrong key, and Prefect deploys nothing at all."""

import os
from pathlib import Path

import pytest
import yaml

from tasks import runtime
from tasks.services import prefect_side
from tasks.services.lifecycle import DEPLOYMENTS


def test_every_deployment_of_prefect_yaml_arrives_and_twice_makes_no_second(prefect_api: str, tmp_path: Path) -> None:
    from prefect.client.orchestration import SyncPrefectClient

    wanted = {d["name"]: d for d in yaml.safe_load(DEPLOYMENTS.read_text(encoding="utf-8"))["deployments"]}
    environment = {**os.environ, "PREFECT_API_URL": prefect_api}
    for _ in range(2):
        prefect_side.set_up(prefect_api)
    prefect_side.deploy(DEPLOYMENTS, environment, tmp_path / "deploy.log")
    with SyncPrefectClient(prefect_api) as client:
        made = {d.name: d for d in client.read_deployments()}
        assert set(made) == set(wanted)
        for name, deployment in made.items():
            assert deployment.entrypoint == wanted[name]["entrypoint"]
            assert deployment.work_pool_name == prefect_side.WORK_POOL
            assert len(deployment.schedules) == len(wanted[name].get("schedules", []))
            assert deployment.enforce_parameter_schema  # a bad value is refused before anything runs
        assert client.read_work_pool(prefect_side.WORK_POOL).type == "process"
        limit = client.read_global_concurrency_limit_by_name(runtime.GPU_LIMIT)
        assert (limit.limit, limit.active) == (1, True)
        assert len(client.read_automations_by_name(prefect_side.ZOMBIES)) == 1


def test_training_on_a_gpu_takes_the_only_slot(prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.settings import PREFECT_API_URL, temporary_settings

    prefect_side.limit_gpu(prefect_api)
    monkeypatch.setenv("SSLCORE_DEVICE", "cuda")

    def taken() -> int:
        with SyncPrefectClient(prefect_api) as client:
            return client.read_global_concurrency_limit_by_name(runtime.GPU_LIMIT).active_slots

    with temporary_settings({PREFECT_API_URL: prefect_api}), runtime.device() as device:
        assert device == "cuda"
        assert taken() == 1
    assert taken() == 0
