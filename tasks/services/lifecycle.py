"""`sslcore up` and `sslcore down`: a Prefect server, an MLflow server and a worker on this machine.

All state is under `home`: both databases, MLflow's artifacts, the logs, and `services.json`, which says what runs.
Servers listen on the loopback interface only. Each server creates or migrates its own database before it answers, and
nobody else is let near it until then: SQLite does not survive two processes migrating one file.
"""

import importlib
import os
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from sslcore.errors import UserError
from sslcore.progress import Progress, silent
from tasks.services import prefect_side, processes
from tasks.services.processes import Process

DEPLOYMENTS = Path(__file__).parents[2] / "prefect.yaml"
HOST = "127.0.0.1"
STARTS_WITHIN_SECONDS = 120.0
PATIENCE_SECONDS = 15.0
CANCELS_WITHIN_SECONDS = 30.0


class Services(BaseModel):
    """What `up` started. Written to `services.json` as soon as anything runs, so that `down` knows of a half start."""

    model_config = ConfigDict(frozen=True)

    prefect_url: str
    mlflow_url: str
    store: Path
    mark: str  # carried in the environment by everything that was started
    processes: tuple[Process, ...] = ()

    def process(self, name: str) -> Process:
        return next(process for process in self.processes if process.name == name)

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process use these servers and this store."""
        return {
            "PREFECT_API_URL": f"{self.prefect_url}/api",
            "MLFLOW_TRACKING_URI": self.mlflow_url,
            "SSLCORE_STORE": str(self.store),
        }


def running(home: Path) -> Services | None:
    """The services of this home if all of them are alive."""
    known = _read(home)
    return known if known and known.processes and all(process.alive for process in known.processes) else None


def up(
    home: Path,
    *,
    store: Path,
    prefect_port: int = 4200,
    mlflow_port: int = 5000,
    deployments: Path = DEPLOYMENTS,
    progress: Progress = silent,
) -> Services:
    """Start everything and return once both servers answer, the deployments are made and the worker listens.

    Raises UserError, with nothing left running, when it runs already, a port is taken, or something does not start.
    """
    if prefect_port == mlflow_port:
        raise UserError(f"Prefect and MLflow cannot both listen on port {prefect_port}; give two different ones")
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {home}: {error.strerror}; choose another place with --store FOLDER") from error
    try:
        with FileLock(home / ".up-lock", timeout=0):
            if already := running(home):
                raise UserError(
                    f"already up: Prefect at {already.prefect_url}, MLflow at {already.mlflow_url}. Nothing was "
                    "started; `sslcore down` ends them."
                )
            if left := _read(home):  # one of them died: what is left of them would be in the way
                progress(0.0, "ending what is left of an earlier `up`")
                _end(left)
            processes.check_port_free(prefect_port, "the Prefect server", "--prefect-port")
            processes.check_port_free(mlflow_port, "the MLflow server", "--mlflow-port")
            return _start_all(home, store, prefect_port, mlflow_port, deployments, progress)
    except Timeout:
        raise UserError(f"another `sslcore up` is starting the services in {home}; wait for it") from None


def _start_all(
    home: Path, store: Path, prefect_port: int, mlflow_port: int, deployments: Path, progress: Progress
) -> Services:
    services = Services(
        prefect_url=f"http://{HOST}:{prefect_port}",
        mlflow_url=f"http://{HOST}:{mlflow_port}",
        store=store,
        mark=uuid.uuid4().hex,
    )
    settings = _prefect_settings(home, prefect_port)
    try:
        progress(0.05, "starting the Prefect and MLflow servers")
        services = _start(services, home, "Prefect server", _prefect_command(prefect_port), settings)
        services = _start(services, home, "MLflow server", _mlflow_command(home, mlflow_port), _MLFLOW_SETTINGS)
        importlib.import_module("prefect.workers.process")  # seconds, better spent while the servers come up
        _wait(services, "Prefect server", f"{services.prefect_url}/api/health")
        progress(0.4, "creating the work pool")
        prefect_side.set_up(f"{services.prefect_url}/api")
        prefect_side.close_orphans(f"{services.prefect_url}/api")
        progress(0.5, "deploying, and starting a worker")
        worker = f"sslcore {services.mark[:6]}"
        client = {**settings, **services.environment}
        services = _start(services, home, "worker", _worker_command(worker), client)
        with ThreadPoolExecutor(1) as pool:
            deployed = pool.submit(
                prefect_side.deploy, deployments, {**os.environ, **client}, home / "logs" / "deploy.log"
            )
            _wait(services, "MLflow server", f"{services.mlflow_url}/health")
            deployed.result()
        progress(0.9, "waiting for the worker")
        _wait_for_worker(services, worker)
        for process in services.processes:
            processes.check_alive(process)
        progress(1.0, "ready")
        return services
    except BaseException:
        _end(services)
        (home / _STATE).unlink(missing_ok=True)
        raise


def down(home: Path) -> list[str]:
    """End what `up` started, and nothing else; the names of what was ended. Flows that run are cancelled first."""
    known = _read(home)
    if known is None:
        return []
    ended = [process.name for process in known.processes if process.alive]
    orphans = len(processes.marked(known.mark)) if not ended else 0
    if {"Prefect server", "worker"} <= set(ended):
        cancelled = prefect_side.cancel_flow_runs(f"{known.prefect_url}/api", within_seconds=CANCELS_WITHIN_SECONDS)
        ended += [f"{cancelled} flow run{'s' if cancelled > 1 else ''} (cancelled)"] if cancelled else []
    if orphans:
        ended.append(f"{orphans} processes whose parent had died")
    _end(known)
    (home / _STATE).unlink(missing_ok=True)
    return ended


def _end(services: Services) -> None:
    """The worker first and the flows it runs, then the servers, which those still talk to while they stop."""
    servers = {process.pid for process in services.processes if process.name != "worker"}
    ours = processes.marked(services.mark)
    servers |= {child.pid for process in ours if process.pid in servers for child in _children(process)}
    processes.end([p for p in ours if p.pid not in servers], patience_seconds=PATIENCE_SECONDS)
    processes.end(processes.marked(services.mark), patience_seconds=PATIENCE_SECONDS)


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


# -- what is run -------------------------------------------------------------------------------------------------------

_QUIET = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
_MLFLOW_SETTINGS = {
    **_QUIET,
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}  # its job runner costs 2 GB and we have ours


def _prefect_settings(home: Path, port: int) -> dict[str, str]:
    return {
        **_QUIET,
        "PREFECT_LOGGING_EXTRA_LOGGERS": "sslcore",  # its warnings stand on the flow run's page
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(port),  # without it the UI calls port 4200, whatever --port says
        "PREFECT_SERVER_UI_API_URL": f"http://{HOST}:{port}/api",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",  # runs older than 90 days go
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(prefect_side.HEARTBEAT_SECONDS),
    }


def _prefect_command(port: int) -> list[str]:
    return [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]


def _mlflow_command(home: Path, port: int) -> list[str]:
    folder = home / "mlflow"
    (folder / "artifacts").mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    # Clients write artifacts to the folder themselves: runs stay readable when the server is down.
    return [*command, "--no-serve-artifacts", "--default-artifact-root", (folder / "artifacts").as_uri()]


def _worker_command(name: str) -> list[str]:
    pool = ["--pool", prefect_side.WORK_POOL, "--type", "process", "--name", name]
    return [sys.executable, "-m", "prefect", "worker", "start", *pool]


def _start(services: Services, home: Path, name: str, command: list[str], environment: dict[str, str]) -> Services:
    log = home / "logs" / f"{name.lower().replace(' ', '-')}.log"
    started = processes.start(name, command, environment, services.mark, log, DEPLOYMENTS.parent)
    services = services.model_copy(update={"processes": (*services.processes, started)})
    written = home / f".{_STATE}"
    written.write_text(services.model_dump_json(indent=1), encoding="utf-8")
    written.replace(home / _STATE)
    return services


def _wait(services: Services, name: str, url: str) -> None:
    processes.wait_until_answers(
        services.process(name), url, within_seconds=STARTS_WITHIN_SECONDS, beside=services.processes
    )


def _wait_for_worker(services: Services, name: str) -> None:
    worker, limit = services.process("worker"), time.monotonic() + STARTS_WITHIN_SECONDS
    while not prefect_side.worker_is_online(f"{services.prefect_url}/api", name):
        processes.check_alive(worker)
        if time.monotonic() > limit:
            raise UserError(f"the worker does not report. The end of its log, {worker.log}:\n{worker.last_words()}")
        time.sleep(processes.LOOK_AGAIN_SECONDS)


# -- what is known -----------------------------------------------------------------------------------------------------

_STATE = "services.json"


def _read(home: Path) -> Services | None:
    try:
        return Services.model_validate_json((home / _STATE).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValidationError as error:
        raise UserError(f"{home / _STATE} is damaged; end the services by hand and remove it") from error
