"""What to say when there is not enough memory: what was asked for, and what would fit.

Only an allocation that is refused can be answered so: a GPU's, and on the CPU one beyond a limit of the process
(ulimit) or beyond all there is. Linux promises more than it has, and kills the process that takes it (exit status 137);
then nobody is left to say anything, and the last checkpoint stays.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from sslcore.errors import UserError
from sslcore.training.devices import peak_memory

REFUSALS = (  # what the errors say, which but for CUDA's are plain RuntimeErrors
    "can't allocate memory",  # torch on the CPU
    "not enough memory",  # the same on Windows
    "out of memory",  # on a GPU
    "could not create a primitive",  # oneDNN
    "bad_alloc",  # C++
    "STATUS_ALLOC_FAILED",  # cuBLAS, cuDNN
)


class OutOfMemoryError(UserError):
    """There is not enough memory for what was asked."""


def is_refusal(error: BaseException) -> bool:
    """Whether an allocation was refused."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(refusal in str(error) for refusal in REFUSALS)
    )


def too_large_a_step(objective: dict[str, Any], device: str, said: str, fitting: dict[str, int]) -> OutOfMemoryError:
    """`objective` by its fields; `said` by the allocator; `fitting`: values of fields that make a step small enough."""
    size = "batch_tokens" if "batch_tokens" in objective else "batch_size"
    asked = ", ".join(f"{n}={objective[n]}" for n in (size, "maximum_tokens", "precision", "parts") if n in objective)
    wanted = re.search(r"tried to allocate [\d.]+ \w+", said, re.IGNORECASE)
    same = [f"{name}={value}, the same training, only slower" for name, value in fitting.items() if name != size]
    other = [f"{size}={value}, another training" for name, value in fitting.items() if name == size]
    fits = "What fits: " + ", or ".join(same + other)
    if not fitting:
        more = [way for name, way in (("parts", "more parts"), ("chunk", "a chunk")) if name in objective]
        fits = "No share of it that was tried fits: give " + ", ".join(
            [*more, f"a lower {size}", "shorter texts", "a smaller model or more memory"]
        )
    return OutOfMemoryError(
        f"{objective['kind']} is out of memory on {device}: a step with {asked} does not fit "
        f"({wanted[0].lower() if wanted else said}; {peak_memory(device) / 1e9:.2f} GB were held at most). {fits}"
    )


@contextlib.contextmanager
def model_in_memory(objective: Any, rows: int) -> Iterator[None]:
    """Where matrices of a row for each token are made: raise OutOfMemoryError in place of the allocator's error."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_refusal(error):
            raise
        dimensions = getattr(objective, "shape", objective).dimensions
        raise OutOfMemoryError(
            f"{objective.kind} is out of memory before its first step: a matrix of {rows:,} tokens × {dimensions} "
            f"dimensions × 4 bytes takes {rows * dimensions * 4 / 1e9:.2f} GB, and training has two or more; give "
            "fewer dimensions, or a tokenizer with a smaller vocabulary (a higher minimum_count)"
        ) from error
