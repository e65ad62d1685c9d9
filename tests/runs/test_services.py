"""`sslcore up` and `sslcore down` with real servers, a real worker and a flow that runs in it."""

import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from sslcore.errors import UserError
from tasks import services
from tasks.services import processes
from tasks.services.lifecycle import Services

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SLEEPY_FLOW = """
import time
from prefect import flow

@flow
def sleepy(seconds: int = 1) -> None:
    for _ in range(10 * seconds):
        time.sleep(0.1)
"""
SLEEPY_DEPLOYMENT = """
name: sleepy
deployments:
  - name: sleepy
    entrypoint: sleepy_flow:sleepy
    work_pool: {name: sslcore}
"""


@pytest.fixture(scope="module")
def deployments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("sleepy")
    (folder / "sleepy_flow.py").write_text(SLEEPY_FLOW)
    (folder / "prefect.yaml").write_text(SLEEPY_DEPLOYMENT)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(folder)
    yield folder / "prefect.yaml"
    os.environ.pop("PYTHONPATH")
    if before is not None:
        os.environ["PYTHONPATH"] = before


def two_ports() -> dict[str, int]:
    free = [port for port in range(17000, 17200) if processes._is_free(port)]
    return {"prefect_port": free[0], "mlflow_port": free[1]}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    services.down(tmp_path / "home")


def start(home: Path, deployments: Path, **ports: int) -> Services:
    return services.up(home, store=home.parent / "store", deployments=deployments, **(ports or two_ports()))


def flow_run(up: Services, seconds: int, state: str, within_seconds: float = 90) -> Any:
    """Start a run of the sleepy flow in the worker and wait until it has that state."""
    from prefect.client.orchestration import SyncPrefectClient

    with SyncPrefectClient(f"{up.prefect_url}/api") as client:
        deployment = client.read_deployment_by_name("sleepy/sleepy")
        run = client.create_flow_run_from_deployment(deployment.id, parameters={"seconds": seconds})
        limit = time.monotonic() + within_seconds
        while run.state_name != state:
            assert time.monotonic() < limit, f"the run is {run.state_name}, not {state}"
            time.sleep(0.2)
            run = client.read_flow_run(run.id)
        return run


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_up_serves_and_works_until_down_which_cancels_what_runs(home: Path, deployments: Path, tmp_path: Path) -> None:
    started, said = time.monotonic(), []
    up = services.up(
        home,
        store=tmp_path / "store",
        deployments=deployments,
        progress=lambda fraction, message: said.append((fraction, message)),
        **two_ports(),
    )
    assert time.monotonic() - started < 60
    assert said[-1] == (1.0, "ready")
    assert [fraction for fraction, _ in said] == sorted(fraction for fraction, _ in said)
    assert answers(f"{up.prefect_url}/api/health")
    assert answers(f"{up.prefect_url}/")  # the UI
    assert answers(f"{up.mlflow_url}/health")
    assert services.running(home) == up
    for process in up.processes:  # nothing listens to the outside
        for connection in psutil.Process(process.pid).net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN:
                assert connection.laddr.ip == "127.0.0.1"

    with pytest.raises(UserError, match=f"already up: Prefect at {up.prefect_url}, MLflow at {up.mlflow_url}"):
        start(home, deployments)
    port = int(up.prefect_url.rpartition(":")[2])
    with pytest.raises(UserError, match=f"port {port}, wanted for the Prefect server, is in use by .*prefect server"):
        start(tmp_path / "elsewhere", deployments, prefect_port=port, mlflow_port=port + 50)
    assert services.running(home) == up
    assert services.down(tmp_path / "elsewhere") == []

    flow_run(up, 1, "Completed")
    flow_run(up, 300, "Running")
    flow_process = [p for p in processes.marked(up.mark) if "prefect.engine" in p.cmdline()]
    assert len(flow_process) == 1
    stopped = services.down(home)
    assert stopped == ["Prefect server", "MLflow server", "worker", "1 flow run (cancelled)"]
    assert processes.marked(up.mark) == []
    assert services.running(home) is None
    assert services.down(home) == []
    assert not answers(f"{up.prefect_url}/api/health")
    assert "was cancelled" in (home / "logs" / "worker.log").read_text()


def test_up_after_a_killed_worker_ends_what_is_left_and_starts_again(home: Path, deployments: Path) -> None:
    from prefect.client.orchestration import SyncPrefectClient

    first = start(home, deployments)
    orphan = flow_run(first, 300, "Running")
    os.kill(first.process("worker").pid, signal.SIGKILL)
    while first.process("worker").alive:
        time.sleep(0.05)
    assert services.running(home) is None
    second = start(home, deployments, **_ports_of(first))
    assert processes.marked(first.mark) == []  # also the flow, whose worker could no longer end it
    assert services.running(home) == second
    with SyncPrefectClient(f"{second.prefect_url}/api") as client:
        assert client.read_flow_run(orphan.id).state_name == "Crashed"
    flow_run(second, 1, "Completed")


def test_what_cannot_be_deployed_is_said_and_nothing_is_left_running(home: Path, tmp_path: Path) -> None:
    broken = tmp_path / "prefect.yaml"
    broken.write_text(
        "name: x\ndeployments:\n  - {name: x, entrypoint: no_such_module:flow, work_pool: {name: sslcore}}\n"
    )
    with pytest.raises(UserError, match=r"(?s)prefect\.yaml could not be deployed.*no_such_module"):
        start(home, broken)
    assert _started_from(home) == []
    assert not (home / "services.json").exists()


def test_a_server_that_dies_at_start_shows_why_and_takes_the_others_along(home: Path, deployments: Path) -> None:
    (home / "mlflow").mkdir(parents=True)
    (home / "mlflow" / "mlflow.db").write_text("This is not a database. " * 100)
    with pytest.raises(UserError, match=r"(?s)MLflow server ended at once.*file is not a database"):
        start(home, deployments)
    assert _started_from(home) == []


def _ports_of(up: Services) -> dict[str, int]:
    return {
        "prefect_port": int(up.prefect_url.rpartition(":")[2]),
        "mlflow_port": int(up.mlflow_url.rpartition(":")[2]),
    }


def _started_from(home: Path) -> list[str]:
    """Every process whose environment or command names this home."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("PREFECT_HOME", "").startswith(str(home)) or str(home) in str(process.cmdline()):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found
