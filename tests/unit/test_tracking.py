"""Calls to MLflow are not cut in two by Ctrl-C."""

import os
import signal

import pytest

from tasks import tracking


def interrupted_while_writing(times: int, written: list[str]) -> None:
    with tracking.tolerant("write"):
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)
        written.append("the end of the transaction")


def test_ctrl_c_waits_until_mlflow_has_answered() -> None:
    written: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted_while_writing(1, written)
    assert written
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_is_heard_at_once() -> None:
    written: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted_while_writing(2, written)
    assert not written
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
