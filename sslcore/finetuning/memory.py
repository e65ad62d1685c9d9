"""How much memory a piece of work takes at its peak, in a process that has done other work before."""

import contextlib
import ctypes
import gc
from pathlib import Path
from types import TracebackType

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")  # of Linux
FORGET_PEAK = "5"  # man 5 proc: reset the peak resident set size


class PeakMemory:
    """`with PeakMemory(device) as memory: …`, then `memory.peak`: bytes beside those that were held before.

    Of a GPU what torch had allocated at most; of the machine's memory the peak of the resident set, which Linux forgets
    on demand: a process's own peak only grows. None where neither can be told.
    """

    def __init__(self, device: str) -> None:
        self._cuda = device if device.startswith("cuda") else None
        self._before: int | None = None
        self.peak: int | None = None

    def __enter__(self) -> "PeakMemory":
        gc.collect()
        if self._cuda:
            import torch

            torch.cuda.reset_peak_memory_stats(self._cuda)
            self._before = torch.cuda.memory_allocated(self._cuda)
            return self
        with contextlib.suppress(OSError, AttributeError):  # another C library; its heap stays as large as it was
            ctypes.CDLL(None).malloc_trim(0)
        with contextlib.suppress(OSError):
            RESET.write_text(FORGET_PEAK)
            self._before = _resident("VmRSS:")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._before is None:
            return
        if self._cuda:
            import torch

            held = torch.cuda.max_memory_allocated(self._cuda)
        else:
            held = _resident("VmHWM:")
        self.peak = max(0, held - self._before)


def _resident(field: str) -> int:
    lines = STATUS.read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))
