"""From an encoder and labelled rows to a fine-tuned model, and from there to the files of an artefact."""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sslcore.artifacts import CHECKPOINT
from sslcore.errors import UserError
from sslcore.finetuning.config import FineTuning
from sslcore.finetuning.encoded import EncodedTexts
from sslcore.progress import Progress, silent
from sslcore.training.devices import peak_memory
from sslcore.training.run import OnMetrics, ignore

if TYPE_CHECKING:
    import pyarrow as pa

    from sslcore.finetuning.model import FineTunedModel
    from sslcore.finetuning.rows import Rows
    from sslcore.finetuning.shapes.registry import AnyShape
    from sslcore.finetuning.shapes.seam import Examples
    from sslcore.models.encoder import Encoder

SHARE_READ_WHOLE = 0.99  # of the training rows, where their length decides how much is read


def fine_tune(
    shape: "AnyShape",
    encoder: "Encoder",
    train: Any,
    validation: Any,
    config: FineTuning,
    *,
    labels: Sequence[str],
    seed: int,
    device: str = "cpu",
    progress: Progress = silent,
    on_metrics: OnMetrics = ignore,
    checkpoints: Path | None = None,
    outliers: EncodedTexts | None = None,
) -> "FineTunedModel":
    """A model of the shape's examples, whose targets number `labels`; `encoder` itself is left as it was.

    Without validation rows the last weights are kept. A folder for `checkpoints` keeps the state of the run: the same
    call goes on from there after a kill. The same seed gives the same weights on one device and one number of threads.
    `outliers` are texts from elsewhere, without a class, for a shape with `energy_margins`.
    Raises UserError when there is nothing to learn: no rows, or fewer than two classes among them.
    """
    from sslcore.finetuning.model import FORMAT, FineTunedModel, ModelDescription
    from sslcore.finetuning.training import train_network

    shape.check(train, labels)
    if hasattr(shape, "with_outliers"):
        train = shape.with_outliers(train, outliers)
    elif outliers is not None:
        raise UserError(f"texts from elsewhere (outliers) are of use to shape class alone, not to {shape.kind}")
    if config.maximum_tokens is None:  # served texts are cut where the longest of these rows ends
        config = config.model_copy(update={"maximum_tokens": int(max(1, row_lengths(train).max()))})
    network, summary, curve = train_network(
        shape,
        encoder,
        train,
        validation,
        config,
        labels=labels,
        seed=seed,
        device=device,
        progress=progress,
        on_metrics=on_metrics,
        checkpoints=checkpoints,
    )
    description = ModelDescription(
        format=FORMAT,
        shape=shape,
        labels=tuple(labels),
        objective=encoder.objective,
        config=config,
        seed=seed,
        training=summary,
    )
    points = [(step, name, value) for step, metrics in curve for name, value in metrics.items() if name != "done"]
    return FineTunedModel(encoder.tokenizer, network, description, points)


def with_maximum_tokens(
    config: FineTuning, shape: "AnyShape", encoder: "Encoder", rows: "pa.Table", labels: Sequence[str]
) -> FineTuning:
    """The config with a number of tokens: what 99 of 100 of these training rows have, at most what the encoder takes.

    Of rows with two texts both are counted, so that nothing more is cut where each is read alone.
    """
    if config.maximum_tokens is not None:
        return config
    lengths = row_lengths(shape.examples(rows, encoder, labels, maximum_tokens=config.most_tokens))
    longest = max(1, math.ceil(np.quantile(lengths, SHARE_READ_WHOLE)))
    takes = getattr(encoder.network, "maximum_tokens", longest)
    return config.model_copy(update={"maximum_tokens": min(longest, takes)})


def row_lengths(examples: "Examples") -> np.ndarray:
    """int64 [n]: the tokens of all texts of each row, without those of a frame."""
    return np.sum([texts.lengths for texts in examples.texts], axis=0)


def write_finetuned_model(
    shape: "AnyShape",
    config: FineTuning,
    encoder: "Encoder",
    rows: "Rows",
    folder: Path,
    *,
    seed: int,
    device: str = "cpu",
    progress: Progress = silent,
    on_metrics: OnMetrics = ignore,
    outliers: Sequence[str] = (),
) -> dict[str, Any]:
    """Train on the train rows, stop on the validation rows, save into `folder` (empty, or with a killed call's state).

    `outliers` are texts from elsewhere, without a class, for a shape with `energy_margins`. The validation rows also
    set the model's temperature and its threshold of novelty, where it gives a row one class.
    Returns what the run reports: labels, rows, parameters trainable and total by block, steps, seconds, and the
    validation scores. The test split is not opened. Raises UserError for rows without targets or with one class.
    """
    from sslcore.finetuning.confidence import with_confidence

    progress(0.0, "reading labelled rows")
    tables = [rows.table(split) for split in ("train", "validation")]
    labels = shape.labels_of(tables[0])
    progress(0.05, "tokenising")
    config = with_maximum_tokens(config, shape, encoder, tables[0], labels)
    train, validation = (shape.examples(table, encoder, labels, maximum_tokens=config.most_tokens) for table in tables)
    elsewhere = None
    if outliers:
        elsewhere = EncodedTexts.of(outliers, encoder.tokenizer, encoder.network, maximum_tokens=config.most_tokens)
    model = fine_tune(
        shape,
        encoder,
        train,
        validation,
        config,
        labels=labels,
        seed=seed,
        device=device,
        progress=lambda fraction, message: progress(0.1 + 0.85 * fraction, message),
        on_metrics=on_metrics,
        checkpoints=folder / CHECKPOINT,
        outliers=elsewhere,
    )
    progress(0.95, "fitting the temperature and a score of novelty")
    model = with_confidence(model, train, validation, seed=seed)
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
    model.save(folder)
    progress(1.0, f"{len(train):,} labelled rows, {model.training.steps:,} updates")
    shown = (tables[1] if len(tables[1]) else tables[0]).slice(0, 3).select(list(shape.columns))
    return {
        "shape": shape.kind,
        "labels": list(model.labels),
        "train_rows": len(train),
        "validation_rows": len(validation),
        "rows_left_out": rows.left_out,
        "chosen": chosen_by(shape, model.training.validation),
        "freezing": config.freezing,
        "examples": shortened(shown.to_pylist()),
        **model.training.model_dump(mode="json"),
        **said_of_confidence(model),
        "peak_memory_bytes": peak_memory(device),
    }


def chosen_by(shape: "AnyShape", metrics: dict[str, float]) -> list[float]:
    """What models of this shape are compared by, the first before the next, higher is better; empty without metrics."""
    signed = [(-1, name[1:]) if name.startswith("-") else (1, name) for name in shape.chosen_by]
    return [sign * metrics[name] for sign, name in signed] if metrics else []


def said_of_confidence(model: "FineTunedModel") -> dict[str, Any]:
    """The temperature and the score of novelty, and what they rest on; nothing for models of other outputs."""
    fitted = {"calibration": model.description.calibration, "novelty": model.description.novelty}
    return {name: part.model_dump(mode="json") for name, part in fitted.items() if part is not None}


def shortened(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows to show: no text or list longer than 300."""
    return [{name: value[:300] if hasattr(value, "__len__") else value for name, value in row.items()} for row in rows]
