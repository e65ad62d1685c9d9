"""The memory that one call of a word2vec kernel works in, laid out by address.

Inside the loops of a compiled kernel arrays are given by their addresses (`lanes` says why), so all of them stand in
two, one of numbers and one of addresses, and a name is a place in one of these.
"""

from typing import NamedTuple

import numpy as np

from sslcore.kernels.blocks import APART, OUTPUTS
from sslcore.kernels.compilation import compiled
from sslcore.kernels.hot import FLOAT_BYTES
from sslcore.kernels.lanes import CACHE_LINE, OCTET, address, put_address, put_float

ADDRESS_BYTES = 8


class Workspace(NamedTuple):
    """Addresses; the two arrays keep what they point to, so the workspace must be mentioned after its last use."""

    floats: np.ndarray
    addresses: np.ndarray
    nothing: int  # [D], a row for what is no row
    together: int  # [APART, D], what the rows of each window are together
    moved: int  # [APART, D], what each of those rows is to move by
    E: int  # [blocks, wide]
    signs: int  # [blocks · 8]: 1 for the first output, -1 for the others
    group: int  # [blocks · 8], the weights that a group of windows shares: 1 for the first output, else 0
    no_weights: int  # [blocks · 8]
    weights: int  # [blocks · APART · 8]
    many: int  # [most]
    once: int  # [2]: 1 and 0
    places: int  # [n] addresses, of the row of each word
    between: int  # [rows] addresses of rows
    rows: int  # [APART · rows] addresses
    windows: int  # [APART] addresses, of the rows of `together`
    own: int  # [APART] addresses
    targets: int  # [blocks · OUTPUTS] addresses, each `nothing`


@compiled
def workspace(n: int, D: int, rows: int, blocks: int, wide: int) -> Workspace:
    """For n words whose windows, or bags of n-grams, take in as many rows at most."""
    most = max(rows + 1, blocks * OUTPUTS)
    of_rows, of_blocks = (1 + 2 * APART + rows) * D, blocks * (wide + (3 + APART) * OCTET)
    floats = np.zeros(of_rows + of_blocks + most + 2 + CACHE_LINE // FLOAT_BYTES, np.float32)
    nothing = (address(floats, 0) + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE
    together = nothing + D * FLOAT_BYTES
    moved = together + APART * D * FLOAT_BYTES
    between_rows = moved + APART * D * FLOAT_BYTES
    E = between_rows + rows * D * FLOAT_BYTES
    signs = E + blocks * wide * FLOAT_BYTES
    group = signs + blocks * OCTET * FLOAT_BYTES
    no_weights = group + blocks * OCTET * FLOAT_BYTES
    weights = no_weights + blocks * OCTET * FLOAT_BYTES
    many = weights + blocks * APART * OCTET * FLOAT_BYTES
    once = many + most * FLOAT_BYTES
    for k in range(blocks * OCTET):
        put_float(signs, k, np.float32(1 if k == 0 else -1))
    put_float(group, 0, np.float32(1))
    put_float(once, 0, np.float32(1))

    addresses = np.full(n + rows + APART * (rows + 2) + blocks * OUTPUTS, nothing)
    places = address(addresses, 0)
    between = places + n * ADDRESS_BYTES
    context_rows = between + rows * ADDRESS_BYTES
    windows = context_rows + APART * rows * ADDRESS_BYTES
    own = windows + APART * ADDRESS_BYTES
    targets = own + APART * ADDRESS_BYTES
    for a in range(rows):
        put_address(between, a, between_rows + a * D * FLOAT_BYTES)
    for a in range(APART):
        put_address(windows, a, together + a * D * FLOAT_BYTES)
    return Workspace(
        floats, addresses, nothing, together, moved, E, signs, group, no_weights, weights, many, once,
        places, between, context_rows, windows, own, targets,
    )  # fmt: skip
