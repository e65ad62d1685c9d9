"""SIGTERM asks a process to end soon: let a loop hear of it between two steps, save, and then end as it would have."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator


class Termination:
    """Whether the process has been asked to end."""

    def __init__(self) -> None:
        self.asked = False


@contextlib.contextmanager
def termination_deferred() -> Iterator[Termination]:
    """Inside the block SIGTERM only sets `asked`; at its end the signal does what it would have done before.

    Outside of the main thread, where Python has no signals, nothing is deferred.
    """
    heard = Termination()
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return

    def hear(number: int, frame: object) -> None:
        heard.asked = True

    before = signal.signal(signal.SIGTERM, hear)
    try:
        yield heard
    finally:
        signal.signal(signal.SIGTERM, before)
        if heard.asked:
            os.kill(os.getpid(), signal.SIGTERM)
