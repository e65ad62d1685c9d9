"""The score of a shape's outputs on resampled rows, whatever the shape: what a paired bootstrap compares.

n rows, R resamples.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sslcore.errors import UserError

SLOW_RESAMPLES = 200  # where a resample is a call of the shape's metrics and not a row of one product


def score_of(shape: Any, outputs: np.ndarray, examples: Any, labels: Sequence[str]) -> float:
    """What the shape chooses by, the higher the better."""
    name = shape.chosen_by[0]
    value = shape.metrics(outputs, examples, labels)[name.removeprefix("-")]
    return float(-value if name.startswith("-") else value)


def resampled(shape: Any, outputs: np.ndarray, examples: Any, labels: Sequence[str], counts: np.ndarray) -> np.ndarray:
    """float64 [R]: the score in each resample; counts [R, n] say how often it drew each row."""
    from sslcore.evaluation.statistics import resampled_scores

    classes = getattr(examples, "classes", None)
    if shape.chosen_by[0] == "macro_f1" and classes is not None and classes.ndim == 1 and outputs.ndim == 2:
        return resampled_scores(classes, outputs.argmax(axis=1), counts)[0]
    offsets = output_offsets(outputs, examples)
    scores = []
    for drawn in counts[:SLOW_RESAMPLES]:
        rows = np.repeat(np.arange(len(examples)), drawn.astype(np.int64))
        scores.append(score_of(shape, _of_rows(outputs, offsets, rows), examples.take(rows), labels))
    return np.resize(np.array(scores), len(counts))  # the same draws again, of every setting: quantiles stay


def output_offsets(outputs: np.ndarray, examples: Any) -> np.ndarray:
    """int64 [n + 1]: row i has outputs[offsets[i]:offsets[i + 1]]: one, or one for each word or token that is read.

    Raises UserError where the examples do not say.
    """
    rows = np.arange(len(examples) + 1)
    if len(outputs) == len(examples):
        return rows
    offsets = getattr(examples, "rows", None)  # of words
    if (windows := getattr(examples, "windows", None)) is not None:  # of tokens, in windows of passages
        offsets = windows.offsets[np.searchsorted(windows.rows, rows)]
    if offsets is None or len(offsets) != len(rows) or offsets[-1] != len(outputs):
        raise UserError(
            f"{len(outputs):,} outputs of {len(examples):,} rows: these examples do not say which are whose, so that "
            "rows cannot be resampled"
        )
    return np.asarray(offsets)


def _of_rows(outputs: np.ndarray, offsets: np.ndarray, rows: np.ndarray) -> np.ndarray:
    lengths = offsets[rows + 1] - offsets[rows]
    ends = np.cumsum(lengths)
    return outputs[np.arange(ends[-1]) + np.repeat(offsets[rows] - (ends - lengths), lengths)]
