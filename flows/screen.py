"""What a person sees while a flow runs: bars on a terminal, a plain line now and then elsewhere, nothing when quiet.

Everything goes to standard error; standard output belongs to the result.
"""

import contextlib
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from tasks import runtime

SECONDS_BETWEEN_LINES = 10.0
WARNINGS = logging.StreamHandler()  # to standard error
WARNINGS.setLevel(logging.WARNING)
WARNINGS.setFormatter(logging.Formatter("warning: %(message)s"))


@contextlib.contextmanager
def shown(*, quiet: bool) -> Iterator[None]:
    """Show the progress of every step until the block ends."""
    logging.getLogger("sslcore").addHandler(WARNINGS)
    if quiet:
        yield
        return
    with _bars() if sys.stderr.isatty() else _lines():
        yield


@contextlib.contextmanager
def _bars() -> Iterator[None]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.fields[step]:<28}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    clocks = (TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    bars: dict[str, TaskID] = {}
    with Progress(*columns, *clocks, console=Console(stderr=True)) as progress:

        def show(step: str, fraction: float, message: str) -> None:
            if step not in bars:
                bars[step] = progress.add_task(message, total=1.0, step=step)
            progress.update(bars[step], completed=min(fraction, 1.0), description=message)

        def finish(report: runtime.StepReport) -> None:
            word = "reused" if report.reused else "done"
            show(report.name, 1.0, word)

        with _listening(show, finish):
            yield


@contextlib.contextmanager
def _lines() -> Iterator[None]:
    said: dict[str, float] = {}

    def show(step: str, fraction: float, message: str) -> None:
        if step not in said or time.monotonic() - said[step] >= SECONDS_BETWEEN_LINES:
            said[step] = time.monotonic()
            print(f"{step}: {100 * min(fraction, 1.0):.0f}% {message}", file=sys.stderr, flush=True)

    def finish(report: runtime.StepReport) -> None:
        word = "reused" if report.reused else f"done in {report.seconds:.1f} s"
        print(f"{report.name}: {word}", file=sys.stderr, flush=True)

    with _listening(show, finish):
        yield


@contextlib.contextmanager
def _listening(show: Any, finish: Any) -> Iterator[None]:
    runtime.listeners.append(show)
    runtime.finished.append(finish)
    try:
        yield
    finally:
        runtime.listeners.remove(show)
        runtime.finished.remove(finish)


def readable(values: Mapping[str, Any], leave_out: tuple[str, ...] = (), indent: str = "  ") -> list[str]:
    """A summary as indented lines: `name value`, nested ones below their name, long lists cut."""
    lines = []
    for name, value in values.items():
        if name in leave_out:
            continue
        label = name.replace("_", " ")
        if isinstance(value, Mapping):
            lines += [f"{indent}{label}", *readable(value, indent=indent + "  ")]
        elif isinstance(value, bool | str):
            lines.append(f"{indent}{label}  {value}")
        elif isinstance(value, int):
            lines.append(f"{indent}{label}  {value:,}")
        elif isinstance(value, float):
            lines.append(f"{indent}{label}  {value:,.4g}")
        elif isinstance(value, list | tuple):
            more = f" … {len(value) - 8} more" if len(value) > 8 else ""
            lines.append(f"{indent}{label}  {', '.join(str(v) for v in value[:8])}{more}")
    return lines
