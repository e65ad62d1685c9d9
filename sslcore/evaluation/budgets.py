"""Which rows a label budget buys: nested per class, so that a bigger budget only ever adds labels."""

from collections.abc import Sequence

import numpy as np

ALL = -1
"""The budget that means every label."""


def nested_subsets(
    classes: np.ndarray, budgets: Sequence[int], generator: np.random.Generator
) -> dict[int, np.ndarray]:
    """budget → sorted row numbers: `budget` rows of each class drawn at random, all of a class that has fewer.

    `classes` is int[n], the class number of each row. One random order of the rows serves every budget: the rows of a
    smaller budget are among those of a larger one.
    """
    order = generator.permutation(len(classes))
    by_class = order[np.argsort(classes[order], kind="stable")]
    starts = np.searchsorted(classes[by_class], classes[by_class], side="left")
    rank = np.arange(len(classes)) - starts  # place of a row among those of its class
    return {budget: np.sort(by_class if budget == ALL else by_class[rank < budget]) for budget in budgets}
