"""A freeze study as an artefact: study.json, and its plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sslcore.finetuning.config import FineTuning
from sslcore.finetuning.freeze_study import FreezeStudy, freeze_study
from sslcore.progress import Progress, silent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sslcore.finetuning.rows import Rows
    from sslcore.finetuning.shapes.registry import AnyShape
    from sslcore.models.encoder import Encoder

STUDY = "study.json"


def write_freeze_study(
    shape: "AnyShape",
    config: FineTuning,
    encoder: "Encoder",
    rows: "Rows",
    folder: Path,
    *,
    seeds: Sequence[int],
    minimum_effect: float,
    device: str = "cpu",
    progress: Progress = silent,
) -> dict[str, Any]:
    """Study the rows' train, validation and test splits, and write study.json into `folder`.

    Returns the summary: the sentence, the table for people, and each setting's score and cost.
    """
    from sslcore.finetuning.tuning import with_maximum_tokens

    progress(0.0, "reading labelled rows")
    tables = [rows.table(split) for split in ("train", "validation", "test")]
    labels = shape.labels_of(tables[0])
    config = with_maximum_tokens(config, shape, encoder, tables[0], labels)
    train, validation, test = (
        shape.examples(table, encoder, labels, maximum_tokens=config.most_tokens) for table in tables
    )
    found = freeze_study(
        shape,
        encoder,
        train,
        validation,
        test,
        config,
        labels=labels,
        seeds=seeds,
        minimum_effect=minimum_effect,
        device=device,
        progress=progress,
    )
    (folder / STUDY).write_text(found.model_dump_json(indent=1) + "\n", "utf-8")
    costs = {setting.freezing: {found.metric: setting.score, "seconds": setting.seconds} for setting in found.settings}
    return {
        "shape": shape.kind,
        "sentence": found.sentence,
        "cheapest": found.cheapest,
        **costs,
        "table": found.table(),
    }


def freeze_study_figures(folder: Path) -> Mapping[str, "Figure"]:
    """The plot of a study's folder by file name."""
    from sslcore.finetuning.freeze_figure import freeze_figure

    return {"freeze_study.svg": freeze_figure(FreezeStudy.model_validate_json((folder / STUDY).read_bytes()))}
