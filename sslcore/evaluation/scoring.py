"""How a fine-tuned model does on rows that it was neither trained on nor chosen by."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sslcore.errors import UserError
from sslcore.evaluation.details import said_of, write_details
from sslcore.evaluation.sliced_by import columns_beside
from sslcore.progress import Progress, silent

if TYPE_CHECKING:
    from sslcore.finetuning.model import FineTunedModel
    from sslcore.finetuning.rows import Rows

SCORES, PREDICTIONS = "scores.json", "predictions.jsonl"


def write_scores(
    model: "FineTunedModel", rows: "Rows", folder: Path, *, split: str = "test", progress: Progress = silent
) -> dict[str, Any]:
    """Score the rows of a split: scores.json with the metrics, predictions.jsonl with each row and what was said of it.

    Of a model that gives a row one class also what details.py writes.
    Returns the metrics by name, how many rows they are of, the slices that are worse than all other rows, and the
    columns that scores should have been sliced by and are not. Raises UserError for a split without rows.
    """
    table = rows.table(split)
    if not len(table):
        raise UserError(f"there are no {split} rows to score the model on; add a file of them to the labelled set")
    progress(0.0, f"scoring {len(table):,} {split} rows")
    shape: Any = model.description.shape
    most = model.description.config.most_tokens
    examples = shape.examples(table, model.encoder, model.labels, maximum_tokens=most)
    outputs, said = model.said_of(examples)
    metrics = shape.metrics(outputs, examples, model.labels)
    with (folder / PREDICTIONS).open("w", encoding="utf-8") as file:
        for number, row in enumerate(table.to_pylist()):
            answer = {name: values[number] for name, values in said.items()}
            file.write(json.dumps({**row, "said": answer}, ensure_ascii=False) + "\n")
    told: dict[str, Any] = {"worse_slices": [], "not_sliced_by": columns_beside(table, shape)}
    if model.gives_one_class:
        details = write_details(model, table, outputs, examples.targets, folder, seed=model.description.seed)
        metrics |= said_of(details)
        told = {"worse_slices": [part.model_dump() for part in details.slices if part.worse], "not_sliced_by": []}
    (folder / SCORES).write_text(json.dumps(metrics, indent=1) + "\n", "utf-8")
    return {"split": split, "rows": len(table), **told, **metrics}
