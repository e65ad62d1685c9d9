"""Where to compute: asked for by name, checked before any work."""

import contextlib
from collections.abc import Iterator

from sslcore.errors import UserError


def check_device(device: str) -> None:
    """Raise UserError unless torch can compute on `device` ("cpu", "cuda", "cuda:1", "mps") on this machine."""
    import torch

    try:
        torch.empty(1, device=torch.device(device))
    except (RuntimeError, AssertionError, ValueError) as error:
        known = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise UserError(
            f"device {device!r} cannot be used on this machine ({str(error).splitlines()[0]}); here: {', '.join(known)}"
        ) from error


def peak_memory(device: str) -> int:
    """Bytes this process has held at most: of the GPU, if it computes on one, else of the machine's memory."""
    import resource
    import sys
    from pathlib import Path

    import torch

    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "linux":  # there, getrusage also counts what the process that started this one held
        status = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@contextlib.contextmanager
def torch_threads(workers: int) -> Iterator[None]:
    """Let torch use this many threads inside the block."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(workers)
    try:
        yield
    finally:
        torch.set_num_threads(before)
