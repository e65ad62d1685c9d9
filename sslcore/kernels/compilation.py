"""Numba compilation with a cache on disk that survives between runs, wherever the library is installed.

Numba keeps the machine code beside the source, or in the user's cache folder when that place is read-only. Where
neither can be written (a locked-down container) we give it a folder of this user under the temporary directory, because
the alternative is a compilation of many seconds in every process.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled on its first call (or loaded from the cache), releasing the GIL while it runs.

    Sums may be reordered and products fused, so that they vectorise; NaN and infinity keep their meaning.
    """
    return _compiled(function, {"reassoc", "contract", "arcp", "nsz"})


def compiled_in_order(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same for arithmetic whose order is its meaning: x + big - big stays what it is."""
    return _compiled(function, {"contract"})


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """A part of a compiled function, written apart and copied into it: nothing is left of the call."""
    return numba.njit(inline="always")(function)


def _compiled(function: Callable[..., Any], fastmath: set[str]) -> Callable[..., Any]:
    compile_it = numba.njit(cache=True, nogil=True, fastmath=fastmath, error_model="numpy")
    try:
        return _stamped(compile_it(function))
    except RuntimeError as error:  # "cannot cache function …: no locator available for file …"
        if "no locator" not in str(error):
            raise
        vars(numba.config)["CACHE_DIR"] = os.path.join(tempfile.gettempdir(), f"sslcore-numba-{os.getuid()}")
        return _stamped(compile_it(function))


def _stamped(dispatcher: Any) -> Callable[..., Any]:
    """The same, its cached code good only while every file of this folder is as it was.

    Numba looks at the function's own file, but code from the others is copied into it.
    """
    index = dispatcher._cache._cache_file
    files = [path.stat() for path in sorted(Path(__file__).parent.glob("*.py"))]
    index._source_stamp = (index._source_stamp, *((file.st_mtime, file.st_size) for file in files))
    return dispatcher
