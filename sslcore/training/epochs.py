"""The order of a corpus in each epoch, had for any epoch at once: what lets a run go on in the middle of one."""

import numpy as np

from sslcore.randomness import numpy_generator


class EpochOrder:
    """order(epoch) is a permutation of 0 … items − 1, int64, that follows from the seed and the epoch alone."""

    def __init__(self, items: int, seed: int) -> None:
        self.items = items
        self._seed = seed
        self._last: tuple[int, np.ndarray] = (-1, np.zeros(0, np.int64))

    def __call__(self, epoch: int) -> np.ndarray:
        known, order = self._last
        if known != epoch:
            order = numpy_generator(self._seed, "order", epoch).permutation(self.items)
            self._last = (epoch, order)
        return order

    def place_of_last(self, epoch: int) -> int:
        """Where in the epoch the last item comes."""
        return int(np.flatnonzero(self(epoch) == self.items - 1)[0])
