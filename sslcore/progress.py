"""How long work says where it stands, without knowing who listens.

A step calls `progress(fraction, message)` a few times a second at most; the command line draws a bar from it, a Prefect
task updates a progress artifact, a test collects the calls.
"""

from collections.abc import Callable

Progress = Callable[[float, str], None]
"""`(fraction done in 0..1, what is happening, for people)`."""


def silent(fraction: float, message: str) -> None:
    """The listener that ignores everything."""
