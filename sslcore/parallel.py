"""Work in several processes: a map over a stream, in order, with few items in flight; no process left behind."""

import atexit
import gc
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def available_cores() -> int:
    """The cores this process may use, which in a container can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(function: Callable[[Item], Result], items: Iterable[Item], *, workers: int) -> Iterator[Result]:
    """The result for every item, in the order of the items, which are drawn only as fast as they are worked on.

    With one worker everything happens in this process. With more, `function` and items are pickled.
    """
    if workers == 1:
        yield from map(function, items)
        return
    with spawned(workers, one_core_each) as pool:
        running: deque[Future[Result]] = deque()
        try:
            for item in items:
                running.append(pool.submit(function, item))
                if len(running) > workers + 1:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a worker process ended: killed for want of memory (try fewer workers), or it could not start because "
                'the script that was run does its work outside `if __name__ == "__main__":`'
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def one_core_each() -> None:
    """For `spawned`: several workers share the machine best when none of them starts threads of its own."""
    os.environ["RAYON_NUM_THREADS"] = "1"


def spawned(workers: int, begin: Callable[[], None]) -> ProcessPoolExecutor:
    """A pool whose processes call `begin` first, leave Ctrl-C to this one, and die when it does.

    They are spawned, since forking a process that has threads (pyarrow, numba, a server) can hang; so a script that
    comes here must do its work inside `if __name__ == "__main__":`.
    """
    context = multiprocessing.get_context("spawn")
    return _Pool(workers, mp_context=context, initializer=_begin_worker, initargs=(begin,))


class _Pool(ProcessPoolExecutor):
    def submit(self, *arguments: Any, **keywords: Any) -> Future[Any]:
        """Start a missing process with SIGINT blocked: Ctrl-C reaches the whole group, and it imports for seconds."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            return super().submit(*arguments, **keywords)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker(begin: Callable[[], None]) -> None:
    threading.Thread(target=_die_with_parent, daemon=True).start()
    atexit.register(gc.freeze)  # else ending is seconds of collecting all that was imported, and the parent waits
    begin()


def _die_with_parent() -> None:
    """A worker waits for work on a pipe that it holds open itself, so it would outlive a killed parent for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
