"""One call for the whole evaluation: words and geometry of every encoder, the label-efficiency cells, the verdict."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sslcore.errors import UserError
from sslcore.evaluation.config import Evaluation
from sslcore.progress import Progress, silent

if TYPE_CHECKING:
    from sslcore.corpus.shards import Corpus
    from sslcore.evaluation.label_efficiency import LabelEfficiency
    from sslcore.evaluation.material import Material
    from sslcore.evaluation.report import Confusion
    from sslcore.models.encoder import Encoder
    from sslcore.training.probing import Probed


def write_evaluation_report(
    config: Evaluation,
    corpus: "Corpus",
    encoders: Mapping[str, "Encoder"],
    folder: Path,
    *,
    pretraining_seconds: Mapping[str, float],
    probes: "Mapping[str, tuple[Probed, ...]] | None" = None,
    seed: int,
    device: str = "cpu",
    workers: int | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Measure `encoders` by name on `corpus`; write report.json and predictions.parquet into `folder` (empty, exists).

    `probes` are those of encoders that were chosen by one (`read_probes`); the report shows them beside the loss.
    A corpus without labels gets words, geometry and neighbours, and the verdict "cannot tell". `workers` cells run side
    by side (default: one per core); how many, changes no number but the seconds. Returns the summary of the run.
    Raises UserError before any work for no encoder, or labels with fewer than two classes.
    """
    from sslcore.evaluation.contenders import contenders
    from sslcore.evaluation.label_efficiency import measure_label_efficiency, write_predictions
    from sslcore.evaluation.material import gather
    from sslcore.evaluation.report import Budget, ContenderInfo, EvaluationReport
    from sslcore.evaluation.verdict import PRETRAINED, decide, undecided
    from sslcore.evaluation.word_benchmarks import word_scores
    from sslcore.parallel import available_cores

    if not encoders:
        raise UserError("no encoder to evaluate: pretrain one first (sslcore pretrain), then give its folder or key")
    clock = Clock()
    notes: list[str] = []
    material = None
    if corpus.labels:
        progress(0.0, "reading labelled rows")
        material, notes = gather(config, corpus, seed)
    clock.lap("rows")

    shapes, near, words = {}, {}, {}
    sample = sampled_texts(corpus)
    for place, (name, encoder) in enumerate(encoders.items()):
        progress(0.02 + 0.08 * place / len(encoders), f"{name}: word benchmarks and geometry")
        from sslcore.evaluation.geometry import geometry, neighbours

        words[name] = tuple(word_scores(encoder))
        shapes[name] = geometry(encoder.encode(sample))
        near[name] = tuple(neighbours(encoder))
    clock.lap("words and geometry")

    result = None
    verdict = undecided(NO_LABELS, config.minimum_effect)
    if material is not None and not len(material.test):
        verdict = undecided("the test split has no labelled row; give more labelled documents.", config.minimum_effect)
    elif material is not None:
        progress(0.1, "TF-IDF, token ids and features")
        competing = contenders(config, material, dict(encoders), device=device)
        clock.lap("features")
        result = measure_label_efficiency(
            config,
            material,
            competing,
            seed=seed,
            workers=workers or available_cores(),
            progress=lambda fraction, message: progress(0.15 + 0.8 * fraction, message),
        )
        clock.lap("cells")
        progress(0.95, "writing predictions")
        write_predictions(result, material, folder / "predictions.parquet")
        verdict = decide(
            result,
            minimum_effect=config.minimum_effect,
            pretraining_seconds=pretraining_seconds,
            obstacle=obstacle(config, material),
        )
        notes += cell_notes(config, result, material)
        clock.lap("predictions and verdict")
    notes += [NOTE_ON_PROBE.format(name) for name, found in (probes or {}).items() if found]
    notes += [NOTE_ON_LABELS.format(name) for name, encoder in encoders.items() if learned_labels(encoder)]
    report = EvaluationReport(
        labels=tuple(material.labels) if material else (),
        train_rows=len(material.train) if material else 0,
        validation_rows=len(material.validation) if material else 0,
        test_rows=len(material.test) if material else 0,
        budgets=tuple(
            Budget(labels_per_class=budget, labels=labels)
            for budget, labels in (zip(result.budgets, result.labels.tolist(), strict=True) if result else ())
        ),
        contenders=tuple(
            ContenderInfo(name=c.name, method=c.method, encoder=c.encoder, pretrained=c.method in PRETRAINED)
            for c in (result.contenders if result else ())
        ),
        table=tuple(result.table) if result else (),
        cells=tuple(result.cells) if result else (),
        verdict=verdict,
        chosen_encoder=verdict.encoder,
        confusion=confusion(result, material, verdict.pretrained) if result and material else None,
        word_benchmarks=words,
        geometry=shapes,
        neighbours=near,
        pretraining_seconds=dict(pretraining_seconds),
        probes={name: found for name, found in (probes or {}).items() if found},
        seconds=clock.laps,
        notes=tuple(notes),
    )
    report.save(folder)
    progress(1.0, verdict.answer)
    return summary(report)


def learned_labels(encoder: "Encoder") -> bool:
    """Whether its objective read the labels of its corpus."""
    from sslcore.objectives.registry import objective_kinds

    return getattr(objective_kinds()[encoder.objective["kind"]], "learns_labels", False)


NOTE_ON_LABELS = (
    "{0} was pretrained with the labels of the whole training split: where fewer labels are given, its rows say what "
    "all of them are worth, and are no fair comparison."
)
NO_LABELS = (
    "the corpus has no labels, so nothing can be learnt and scored downstream. Label a few hundred documents (a column "
    "of a csv or jsonl file, or one folder per class) and run again; word benchmarks and neighbours need no labels."
)


NOTE_ON_PROBE = (
    "{} was chosen among its steps by a probe on labels of the training split (`probe`): with fewer labels than that "
    "probe had, its scores are a little too good."
)


class Clock:
    """Seconds since the last lap, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = now - self._since
        self._since = now


def sampled_texts(corpus: "Corpus") -> list[str]:
    """Texts to look at the space through: the first validation documents, or train ones where there are too few."""
    from sslcore.evaluation.geometry import TEXTS

    texts: list[str] = []
    for split in ("validation", "train"):
        for text in corpus.texts(split):
            if len(texts) == TEXTS:
                return texts
            texts.append(text)
    return texts


def obstacle(config: Evaluation, material: "Material") -> str:
    """Why the curves cannot be trusted, or nothing."""
    rows = len(material.test)
    if rows < config.minimum_test_rows:
        return (
            f"only {rows} labelled test rows, {config.minimum_test_rows} are needed for a trustworthy interval; "
            "label more documents."
        )
    if len(np.unique(material.classes[material.test])) < 2:
        return "all labelled test rows have one class; label more documents of the others."
    if not len(material.validation):
        return "the validation split has no labelled row to choose a contender by; label more documents."
    return ""


def cell_notes(config: Evaluation, result: "LabelEfficiency", material: "Material") -> list[str]:
    """What the table does not show by itself."""
    notes = []
    counts = np.bincount(material.classes[material.train], minlength=len(material.labels))
    for budget in result.budgets:
        if short := int((counts < budget).sum()):
            notes.append(f"{short} of {len(counts)} classes have fewer than {budget} labels: all of theirs were used.")
    if len(result.budgets) < len(config.labels_per_class):
        notes.append("Label budgets that buy the same rows as a larger one are not repeated.")
    once = [contender.name for contender in result.contenders if not contender.random]
    if once and result.budgets[-1] == -1 and len(config.seeds) > 1:
        notes.append(f"With all labels, contenders without randomness run once: {', '.join(once)}.")
    missing = len(material.labels) - len(np.unique(material.classes[material.test]))
    if missing:
        notes.append(f"{missing} classes have no test row; macro-F1 is over the others.")
    return notes


def confusion(result: "LabelEfficiency", material: "Material", contender: str) -> "Confusion | None":
    """Of the first run of the contender with the most labels."""
    from sslcore.evaluation.report import Confusion

    runs = [key for key in result.outcomes if key[0] == contender and key[1] == result.budgets[-1]]
    if not runs:
        return None
    classes = len(material.labels)
    prediction = result.outcomes[min(runs)].logits.argmax(axis=1)
    flat = np.bincount(material.classes[material.test] * classes + prediction, minlength=classes**2)
    return Confusion(contender=contender, rows=tuple(map(tuple, flat.reshape(classes, classes).tolist())))


def summary(report: Any) -> dict[str, Any]:
    """What the run reports: verdict, chosen encoder, scores with intervals, rows, seconds by part."""
    verdict = report.verdict
    return {
        "verdict": verdict.answer,
        "sentence": verdict.sentence,
        "chosen_encoder": report.chosen_encoder,
        "gain": verdict.gain,
        "interval": verdict.interval,
        "probability": verdict.probability,
        "scores": report.score_rows(),
        "words": {name: {s.benchmark: s.score for s in found} for name, found in report.word_benchmarks.items()},
        "rows": {"train": report.train_rows, "validation": report.validation_rows, "test": report.test_rows},
        "seconds": {name: round(value, 2) for name, value in report.seconds.items()},
        "notes": list(report.notes),
    }
