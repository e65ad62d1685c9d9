"""A Prefect server for as long as one command takes.

Prefect's own temporary server imports itself twice, one time after the other, and gives up after 20 s. Ours is started
before anything heavy is imported, comes up beside our imports, and inherits a socket that already listens: the first
request waits in the backlog until it is answered, so there is no polling and no port to race for.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sslcore.errors import StoreError
from tasks import runtime

SERVER_STARTS_WITHIN_SECONDS = 120
SERVER_SETTINGS = {
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "0",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}
SERVER_PROGRAM = """
import os, signal, sys, threading

def end_with_parent():
    sys.stdin.read()  # returns when the parent is gone, however it went
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=end_with_parent, daemon=True).start()
import uvicorn

app = "prefect.server.api.server:create_app"
uvicorn.run(app, factory=True, fd=int(sys.argv[1]), log_level="error", lifespan="on")
"""
CLIENT_SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "sslcore",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # the screen is ours; the server still gets every line
}


@contextlib.contextmanager
def prefect_server() -> Iterator[None]:
    """Point Prefect at a server that is starting or running; end it afterwards if it is ours.

    Used before prefect is imported. A known server (`PREFECT_API_URL`, or one that `sslcore up` started for this store)
    comes first.
    """
    from tasks import services

    home = runtime.current().home
    try:
        (home / "logs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot use the store {home.parent}: {error.strerror}. Choose a folder you may write with --store FOLDER."
        ) from error
    for name, value in CLIENT_SETTINGS.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("PREFECT_HOME", str(home / "prefect"))
    if (up := services.running(home)) is not None:
        os.environ.setdefault("PREFECT_API_URL", f"{up.prefect_url}/api")
        os.environ.setdefault("MLFLOW_TRACKING_URI", up.mlflow_url)
    if os.environ.get("PREFECT_API_URL"):
        yield
        return
    with _temporary_server(home / "logs" / "temporary-prefect-server.log"):
        yield


@contextlib.contextmanager
def _temporary_server(log_path: Path) -> Iterator[None]:
    with socket.socket() as listener, log_path.open("w") as log:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER_PROGRAM, str(listener.fileno())],
            env={**os.environ, **SERVER_SETTINGS},
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C reaches only us: the flow is closed first, then the server
        )
        os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
        os.environ["PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED"] = "false"  # it is our own installation
        listener.close()  # the server holds it: should that die, requests are refused at once and do not wait
        try:
            yield
        finally:
            if "prefect" in sys.modules:  # after Ctrl-C; else it would try for a minute to reach a server that is gone
                _send_what_waits()
            server.terminate()
            try:
                server.wait(timeout=10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
            del os.environ["PREFECT_API_URL"]


def wait_for_server() -> None:
    """Return once the server answers. Raises RuntimeError when it does not in time."""
    url = f"{os.environ['PREFECT_API_URL']}/health"
    try:
        with urllib.request.urlopen(url, timeout=SERVER_STARTS_WITHIN_SECONDS):
            return
    except (urllib.error.URLError, OSError) as error:
        raise RuntimeError(
            f"the Prefect server at {url} does not answer ({error}); {runtime.current().home / 'logs'} says why"
        ) from error


def _send_what_waits() -> None:
    """Let Prefect's background threads send their events and log lines."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    EventsWorker.drain_all(timeout=5)
    APILogWorker.drain_all(timeout=5)


def wait_for_records(flow_run_id: Any) -> None:
    """Let the server finish writing: it records task runs from events, and ending it at once would lose them."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    _send_what_waits()
    limit = time.monotonic() + 5
    with get_client(sync_client=True) as client:
        mine = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
        while time.monotonic() < limit:
            task_runs = client.read_task_runs(flow_run_filter=mine)
            if all(run.state is not None and run.state.is_final() for run in task_runs):
                return
            time.sleep(0.1)
