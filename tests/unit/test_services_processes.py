"""Ending what we started and nothing else; saying who holds a port."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from sslcore.errors import UserError
from tasks import services
from tasks.services import processes
from tasks.services.lifecycle import Services
from tasks.services.processes import Process

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
# Does not heed SIGTERM, and has a child in a session of its own, as Prefect's worker has its flow runs.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
time.sleep(60)
"""


def start(tmp_path: Path, command: list[str], mark: str) -> Process:
    return processes.start("sleeper", command, {}, mark, tmp_path / "log" / "sleeper.log", tmp_path)


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_everything_that_carries_the_mark_is_ended_and_nothing_else(tmp_path: Path) -> None:
    ours, other = start(tmp_path, [sys.executable, "-c", STUBBORN], "ours"), start(tmp_path, SLEEP, "other")
    try:
        until(lambda: len(processes.marked("ours")) == 2)
        sessions = {os.getsid(process.pid) for process in processes.marked("ours")}
        assert len(sessions) == 2
        processes.end(processes.marked("ours"), patience_seconds=1)
        assert processes.marked("ours") == []
        assert not ours.alive
        assert other.alive
    finally:
        processes.end(processes.marked("ours") + processes.marked("other"), patience_seconds=5)
    until(lambda: not other.alive)


def test_a_process_id_that_was_given_to_a_stranger_is_not_ours(tmp_path: Path) -> None:
    stranger = psutil.Process()
    same_id = Process(name="worker", pid=stranger.pid, created=stranger.create_time() - 1, log=tmp_path / "log")
    assert not same_id.alive
    state = Services(
        prefect_url="http://127.0.0.1:1",
        mlflow_url="http://127.0.0.1:2",
        store=tmp_path,
        mark="m",
        processes=(same_id,),
    )
    (tmp_path / "services.json").write_text(state.model_dump_json())
    assert services.running(tmp_path) is None
    assert services.down(tmp_path) == []  # and we, the stranger, are still here
    assert not (tmp_path / "services.json").exists()


def test_interrupt_reaches_what_is_started_by_a_process_that_ignores_it(tmp_path: Path) -> None:
    program = (
        "import signal, sys; from pathlib import Path; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from tasks.services import processes\n"
        "ask = 'import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)'\n"
        "folder = Path(sys.argv[1])\n"
        "started = processes.start('asks', [sys.executable, '-c', ask], {}, 'asks', folder / 'asks.log', folder)\n"
        "while started.alive: pass\n"
        "assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    assert (tmp_path / "asks.log").read_text() == "False\n"


def test_a_port_in_use_is_named_with_its_holder_and_the_way_out() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port}, wanted for the Prefect server, is in use by .*") as error:
            processes.check_port_free(port, "the Prefect server", "--prefect-port")
    assert f"(process {os.getpid()})" in str(error.value)
    proposed = int(str(error.value).rpartition("--prefect-port ")[2])
    processes.check_port_free(proposed, "the Prefect server", "--prefect-port")


def test_only_one_up_at_a_time(tmp_path: Path) -> None:
    with FileLock(tmp_path / ".up-lock"), pytest.raises(UserError, match="another `sslcore up` is starting"):
        services.up(tmp_path, store=tmp_path)


def test_ports_that_cannot_be_are_refused_before_anything_starts(tmp_path: Path, free_port: int) -> None:
    home = tmp_path / "home"
    with pytest.raises(UserError, match="cannot both listen on port 4300"):
        services.up(home, store=tmp_path, prefect_port=4300, mlflow_port=4300)
    with pytest.raises(UserError, match=r"70000 is not a port; .* with --mlflow-port"):
        services.up(home, store=tmp_path, prefect_port=free_port, mlflow_port=70000)
    assert not (home / "services.json").exists()


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*/file/home: Not a directory"):
        services.up(tmp_path / "file" / "home", store=tmp_path)


def test_a_service_that_dies_shows_the_end_of_its_log(tmp_path: Path, free_port: int) -> None:
    program = "print('first', flush=True); raise SystemExit('no such database')"
    died = start(tmp_path, [sys.executable, "-c", program], "died")
    with pytest.raises(UserError, match=r"(?s)sleeper ended at once.*sleeper\.log:\nfirst\nno such database"):
        processes.wait_until_answers(died, f"http://127.0.0.1:{free_port}/", within_seconds=30)


def test_a_service_that_does_not_answer_is_not_waited_for_for_ever(tmp_path: Path, free_port: int) -> None:
    silent = start(tmp_path, SLEEP, "silent")
    try:
        with pytest.raises(UserError, match=r"did not answer at http://.* within 1 s"):
            processes.wait_until_answers(silent, f"http://127.0.0.1:{free_port}/", within_seconds=1)
    finally:
        processes.end(processes.marked("silent"), patience_seconds=5)


def test_down_where_nothing_runs_says_so(tmp_path: Path) -> None:
    assert services.down(tmp_path / "nothing") == []
    assert services.running(tmp_path / "nothing") is None


def test_a_damaged_state_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "services.json").write_text("{")
    with pytest.raises(UserError, match=r"services\.json is damaged"):
        services.down(tmp_path)
