"""Calls to MLflow are not cut in two by Ctrl-C or SIGTERM."""

import os
import signal
from collections.abc import Iterator
from types import FrameType

import pytest

from tasks import tracking

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def _sigterm_interrupts() -> Iterator[None]:
    """As in a flow run: Prefect raises an error of its own there."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    yield
    signal.signal(signal.SIGTERM, before)


def interrupted_while_writing(number: int, times: int, written: list[str]) -> None:
    with tracking.tolerant("write"):
        for _ in range(times):
            os.kill(os.getpid(), number)
        written.append("the end of the transaction")


@pytest.mark.parametrize("number", SIGNALS)
def test_it_waits_until_mlflow_has_answered(number: int) -> None:
    written: list[str] = []
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        interrupted_while_writing(number, 1, written)
    assert written
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_second_one_is_heard_at_once(number: int) -> None:
    written: list[str] = []
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        interrupted_while_writing(number, 2, written)
    assert not written
    assert signal.getsignal(number) is before
