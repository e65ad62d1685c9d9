"""One seed, many independent generators, none of them global.

A step has one `seed`; each use of randomness inside it takes a generator named after what it is for, so adding a draw
in one place never shifts the draws in another, and the cells of an experiment can run in any order or process.
"""

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


_TURN = threading.RLock()


def derive_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed that depends on `seed` and every name, stable across machines, processes and Python versions."""
    text = "\x1f".join([str(int(seed)), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """A PCG64 generator for the purpose that the names spell."""
    return np.random.Generator(np.random.PCG64(derive_seed(seed, *names)))


@contextlib.contextmanager
def drawn_from(seed: int, device: "str | torch.device" = "cpu") -> Iterator[None]:
    """What modules draw from torch's own generators inside the block, as dropout does, follows from the seed.

    Outside, those generators are what they were. Threads take turns: there is one generator for all of them.
    """
    import torch

    device = torch.device(device)
    with _TURN, torch.random.fork_rng(devices=[device.index or 0] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def drawn_seed(generator: "torch.Generator") -> int:
    """A seed for what takes one, drawn from a generator."""
    import torch

    return int(torch.randint(2**62, (1,), generator=generator, device=generator.device))


def torch_generator(seed: int, *names: str | int, device: str = "cpu") -> "torch.Generator":
    """A torch generator on `device` for the purpose that the names spell."""
    import torch

    return torch.Generator(device=device).manual_seed(derive_seed(seed, *names))
