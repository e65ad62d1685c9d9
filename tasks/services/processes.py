"""Processes that outlive the command that started them, and how to end them and nothing else.

A process id alone is no proof: the system gives it to a stranger once its owner is gone. So a process is remembered
with the moment it was created, and everything we start carries a mark in its environment, which its descendants inherit
even when they open a session of their own (Prefect's flow runs do).
"""

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict

from sslcore.errors import UserError

MARK = "SSLCORE_STARTED_BY"
LOOK_AGAIN_SECONDS = 0.1


class Process(BaseModel):
    """One process that `up` started: how to tell that it is still the same one, and where it writes."""

    model_config = ConfigDict(frozen=True)

    name: str
    pid: int
    created: float  # seconds since 1970, as the system tells it
    log: Path

    @property
    def alive(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            return process.create_time() == self.created and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def last_words(self, lines: int = 15) -> str:
        """The end of its log, for people who ask why it died."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
        return ""


def start(
    name: str, command: Sequence[str], environment: Mapping[str, str], mark: str, log: Path, folder: Path
) -> Process:
    """Start it in the background, writing to its log: it lives on when we and our terminal are gone."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output, _interrupt_not_ignored():
        started = subprocess.Popen(
            list(command),
            env={**os.environ, **environment, MARK: mark},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # A child that is over must not stay behind as a zombie of a long-lived parent: somebody waits for it.
    threading.Thread(target=started.wait, name=f"wait-{name}", daemon=True).start()
    return Process(name=name, pid=started.pid, created=psutil.Process(started.pid).create_time(), log=log)


@contextlib.contextmanager
def _interrupt_not_ignored() -> Iterator[None]:
    """A shell's `&` makes its child ignore SIGINT, and every child of that child; Prefect's worker stops by SIGINT."""
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)  # becomes the default in the child
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    else:
        yield


def marked(mark: str) -> list[psutil.Process]:
    """Every living process that carries the mark: what was started with it, and all that those have started."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # gone meanwhile, or another user's and so not ours
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark:
                found.append(process)
    return found


def end(processes: Sequence[psutil.Process], *, patience_seconds: float) -> None:
    """Ask them to stop, wait, and insist. psutil sends nothing to a process whose id was taken over by another."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(processes, timeout=patience_seconds)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=patience_seconds)


def check_port_free(port: int, what: str, option: str) -> None:
    """Raise UserError, naming who holds the port if the system tells us, and a port that is free."""
    if not 0 < port < 65536:
        raise UserError(f"{port} is not a port; give a number from 1 to 65535 with {option}")
    if _is_free(port):
        return
    holder = _holder(port)
    other = next((p for p in range(port + 1, min(port + 200, 65536)) if _is_free(p)), None)
    advice = f"give another one: {option} {other}" if other else f"give another one with {option}"
    raise UserError(
        f"port {port}, wanted for {what}, is in use{f' by {holder}' if holder else ''}; end that or {advice}"
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that linger do not hold a port
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _holder(port: int) -> str:
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                process = psutil.Process(connection.pid)
                return f"{' '.join(process.cmdline())[:80] or process.name()} (process {connection.pid})"
    return ""


def wait_until_answers(process: Process, url: str, *, within_seconds: float, beside: Sequence[Process] = ()) -> None:
    """Return once the URL answers 200.

    Raises UserError with the end of the log if the process, or one of those beside it, dies, or if it is too slow.
    """
    limit = time.monotonic() + within_seconds
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            if answer.status == 200:
                return
        for each in (process, *beside):
            check_alive(each)
        if time.monotonic() > limit:
            raise UserError(
                f"{process.name} did not answer at {url} within {within_seconds:.0f} s. "
                f"The end of its log, {process.log}:\n{process.last_words()}"
            )
        time.sleep(LOOK_AGAIN_SECONDS)


def check_alive(process: Process) -> None:
    if not process.alive:
        raise UserError(f"{process.name} ended at once. The end of its log, {process.log}:\n{process.last_words()}")
