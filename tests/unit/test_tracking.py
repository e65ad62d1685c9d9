"""Calls to MLflow are not cut in two by Ctrl-C."""

import os
import signal

import pytest

from tasks import tracking


def test_ctrl_c_waits_until_mlflow_has_answered() -> None:
    written = []
    with pytest.raises(KeyboardInterrupt), tracking.tolerant("write"):
        os.kill(os.getpid(), signal.SIGINT)
        written.append("the end of the transaction")
    assert written
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_is_heard_at_once() -> None:
    written = []
    with pytest.raises(KeyboardInterrupt), tracking.tolerant("write"):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        written.append("never")
    assert not written
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
