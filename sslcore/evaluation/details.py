"""What is to be known of a classifier beside its score: classes, slices, calibration, mistakes; with plots.

Written beside the scores of a model that gives a row one class:

    details.json          per class, the pairs most confused, slices, calibration before and after the temperature
    mistakes.jsonl        the wrong rows that the model is surest of
    label_errors.jsonl    rows whose label is probably wrong
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from sslcore.evaluation.errors import (
    ClassScores,
    Confused,
    class_report,
    confident_mistakes,
    confusion_counts,
    most_confused,
)
from sslcore.evaluation.label_errors import likely_label_errors
from sslcore.evaluation.sliced_by import columns_to_slice_by
from sslcore.evaluation.slices import Slice, sliced
from sslcore.finetuning.calibration import Calibration, calibration
from sslcore.finetuning.shapes.classification import softmax

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.figure import Figure

    from sslcore.finetuning.model import FineTunedModel

DETAILS = "details.json"


class Details(BaseModel):
    """Of the rows of one split."""

    model_config = ConfigDict(frozen=True)

    labels: tuple[str, ...]
    classes: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, ...], ...]  # rows by true class and predicted class
    confused: tuple[Confused, ...]
    slices: tuple[Slice, ...]
    calibration: dict[str, Calibration]  # before and after the temperature


def write_details(
    model: "FineTunedModel", rows: "pa.Table", logits_nC: np.ndarray, truth_n: np.ndarray, folder: Path, *, seed: int
) -> Details:
    """Look into rows with these logits and true classes, all of them known to the model; write the three files."""
    shape = model.description.shape
    texts = [" ⏎ ".join(row.values()) for row in rows.select(list(shape.columns)).to_pylist()]
    scaled_nC = logits_nC / np.float32(model.temperature)
    probabilities_nC, predicted_n = softmax(scaled_nC), logits_nC.argmax(axis=1)
    counts_CC = confusion_counts(truth_n, predicted_n, len(model.labels))
    columns = columns_to_slice_by(rows, texts, shape)
    details = Details(
        labels=model.labels,
        classes=class_report(truth_n, predicted_n, model.labels),
        confusion=tuple(map(tuple, counts_CC.tolist())),
        confused=most_confused(counts_CC, model.labels),
        slices=sliced(truth_n, predicted_n, columns, by=columns.column_names),
        calibration={
            name: calibration(logits, truth_n, seed=seed)
            for name, logits in (("before", logits_nC), ("after", scaled_nC))
        },
    )
    (folder / DETAILS).write_text(details.model_dump_json(indent=1) + "\n", "utf-8")
    for name, table in (
        ("mistakes", confident_mistakes(probabilities_nC, truth_n, model.labels, texts=texts)),
        ("label_errors", likely_label_errors(probabilities_nC, truth_n, model.labels, texts=texts)),
    ):
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in table.to_pylist())
        (folder / f"{name}.jsonl").write_text("".join(lines), "utf-8")
    return details


def details_figures(folder: Path) -> Mapping[str, "Figure"]:
    """The plots of a folder of scores by file name; none for models of anything but one class a row."""
    if not (folder / DETAILS).exists():
        return {}
    from sslcore.evaluation.error_figures import confusions_figure, reliability_figure, slices_figure

    details = Details.model_validate_json((folder / DETAILS).read_bytes())
    figures = {
        "reliability.svg": reliability_figure(details.calibration),
        "confusion.svg": confusions_figure(np.array(details.confusion), details.labels),
    }
    if len(details.slices) >= 2:
        figures["slices.svg"] = slices_figure(details.slices, details.calibration["before"].accuracy)
    return figures


def said_of(details: Details) -> dict[str, Any]:
    """The numbers for a summary."""
    after, before = details.calibration["after"], details.calibration["before"]
    return {
        "expected_calibration_error": after.expected_error,
        "expected_calibration_error_before": before.expected_error,
        "brier": after.brier,
        "negative_log_likelihood": after.negative_log_likelihood,
    }
