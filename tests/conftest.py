"""What every test may use. Session fixtures start a real thing once; nothing here imitates one."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("sslcore", deadline=None)  # the machine is shared: a slow example is not a failure
settings.load_profile("sslcore")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # begun by a shell's `&`: what tests start would not hear Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # two test processes share the cores: threads must not wait busily
os.environ["DO_NOT_TRACK"] = "1"  # before anything imports prefect or mlflow
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of larger real texts beside the checkout; tests that want it are skipped where it is not."""
    folder = Path(__file__).parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not on this machine")
    return folder


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def migrated_mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database: creating its tables takes seconds, copying the file milliseconds."""
    database = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    subprocess.run(
        [sys.executable, "-m", "mlflow", "db", "upgrade", f"sqlite:///{database}"], check=True, capture_output=True
    )
    return database


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real Prefect server, started once for all tests that run flows; they use it from then on."""
    from tasks.services import processes

    home = tmp_path_factory.mktemp("prefect")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mark, url = uuid.uuid4().hex, f"http://127.0.0.1:{port}/api"
    os.environ["PREFECT_HOME"] = str(home)
    server = processes.start(
        "Prefect server",
        [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        {"PREFECT_SERVER_API_PORT": str(port), "PREFECT_SERVER_UI_ENABLED": "false"},
        mark,
        home / "server.log",
        home,
    )
    try:
        processes.wait_until_answers(server, f"{url}/health", within_seconds=120)
        os.environ["PREFECT_API_URL"] = url  # for subprocesses, and for a prefect that is not imported yet
        from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

        with temporary_settings({PREFECT_API_URL: url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            yield url
    finally:
        os.environ.pop("PREFECT_API_URL", None)
        processes.end(processes.marked(mark), patience_seconds=10)


@pytest.fixture(scope="session")
def migrated_databases(migrated_mlflow_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Prefect and MLflow keep beside a new store, their tables made: commands that run flows start in seconds."""
    services = tmp_path_factory.mktemp("services")
    (services / "mlflow").mkdir()
    shutil.copy(migrated_mlflow_database, services / "mlflow")
    (services / "prefect").mkdir()
    subprocess.run(
        [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"],
        check=True, capture_output=True, env={**os.environ, "PREFECT_HOME": str(services / "prefect")},
    )  # fmt: skip
    return services


@pytest.fixture
def store(tmp_path: Path, migrated_mlflow_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store for one test, with an MLflow database of its own; tasks and commands find both by themselves."""
    root = tmp_path / "store"
    (root / ".services" / "mlflow").mkdir(parents=True)
    shutil.copy(migrated_mlflow_database, root / ".services" / "mlflow" / "mlflow.db")
    monkeypatch.setenv("SSLCORE_STORE", str(root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return root
