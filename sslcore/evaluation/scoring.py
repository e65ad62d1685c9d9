"""How a fine-tuned model does on rows that it was neither trained on nor chosen by."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sslcore.errors import UserError
from sslcore.evaluation.details import said_of, write_details
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
    Returns the metrics by name, and how many rows they are of. Raises UserError for a split without rows.
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
    if model.gives_one_class:
        details = write_details(model, table, outputs, examples.targets, folder, seed=model.description.seed)
        metrics |= said_of(details)
    (folder / SCORES).write_text(json.dumps(metrics, indent=1) + "\n", "utf-8")
    return {"split": split, "rows": len(table), **metrics}
