"""Plots of a report and of a training curve, as matplotlib figures; whoever asks decides where they go.

Colours are Okabe and Ito's, which people of every colour vision tell apart; a contender's method is its line style, and
its name stands at the end of its line rather than in a legend. No pyplot: nothing global changes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sslcore.evaluation.report import EvaluationReport

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
BASELINE = "#333333"
LINES = {"tfidf": "-", "probe": "--", "fine_tuned": "-", "from_scratch": ":"}


def report_figures(folder: Path) -> Mapping[str, "Figure"]:
    """The plots of an evaluation report's folder by file name; none for a corpus without labels."""
    from sslcore.evaluation.report import EvaluationReport

    report = EvaluationReport.load(folder)
    if not report.table:
        return {}
    figures = {"label_efficiency.png": label_efficiency_figure(report)}
    if report.confusion is not None:
        figures["confusion.png"] = confusion_figure(report)
    return figures


def label_efficiency_figure(report: "EvaluationReport") -> "Figure":
    """Macro-F1 against labels per class (log scale) for every contender; the two compared have their 95 % intervals as bands."""
    figure, axes = _new(10.0, 5.2)
    encoders = sorted({c.encoder for c in report.contenders if c.encoder})
    x = [budget.labels for budget in report.budgets]
    ends = []
    for contender in report.contenders:
        colour = COLOURS[encoders.index(contender.encoder) % len(COLOURS)] if contender.encoder else BASELINE
        scores = [report.score(contender.name, budget.labels_per_class) for budget in report.budgets]
        y = [score.macro_f1 for score in scores]
        style = LINES[contender.method]
        axes.plot(x, y, style, color=colour, marker="o", markersize=4, linewidth=2 if contender.pretrained else 1.5)
        if contender.name in (report.verdict.pretrained, report.verdict.baseline):
            low, high = [score.low for score in scores], [score.high for score in scores]
            axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        ends.append((y[-1], contender.name, colour))
    _name_ends(axes, x[-1], ends)
    axes.set_xscale("log")
    axes.set_xticks(x, [budget.title for budget in report.budgets])
    axes.minorticks_off()
    axes.set_xlabel("labels per class")
    axes.set_ylabel(f"macro-F1 on {report.test_rows:,} test rows")
    answer = report.verdict.answer
    axes.set_title(f"Was the pretraining worth it?  {answer.capitalize()}.", loc="left", fontweight="bold")
    return figure


def curve_figure(folder: Path) -> "Figure":
    """Every metric of an artefact's curve.parquet against the step, one panel each."""
    import pandas as pd
    from matplotlib.figure import Figure

    curve = pd.read_parquet(folder / "curve.parquet")
    metrics = [name for name in curve["metric"].unique() if curve.loc[curve["metric"] == name, "value"].nunique() > 1]
    metrics = [name for name in metrics if name not in ("tokens", "done")] or ["loss"]
    figure = Figure(figsize=(8.0, 2.4 * len(metrics)), layout="constrained", dpi=120)
    for place, name in enumerate(metrics):
        axes = figure.add_subplot(len(metrics), 1, place + 1)
        rows = curve[curve["metric"] == name].sort_values("step")
        axes.plot(rows["step"], rows["value"], color=COLOURS[place % len(COLOURS)], linewidth=1.6)
        axes.set_title(name.replace("_", " "), loc="left")
        _plain(axes)
    axes.set_xlabel("step")
    return figure


def confusion_figure(report: "EvaluationReport") -> "Figure":
    """Share of each true class (row) that was given each label (column); the diagonal is recall."""
    import numpy as np

    assert report.confusion is not None
    counts = np.array(report.confusion.rows, dtype=float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = max(4.5, 0.42 * len(report.labels) + 2)
    figure, axes = _new(size + 1, size)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = range(len(report.labels))
    axes.set_xticks(places, report.labels, rotation=90 if len(report.labels) > 4 else 0)
    axes.set_yticks(places, report.labels)
    axes.grid(visible=False)
    for row in places:
        for column in places:
            if shares[row, column] >= 0.005 and len(report.labels) <= 30:
                ink = "white" if shares[row, column] > 0.55 else "#333333"
                axes.text(
                    column, row, f"{100 * shares[row, column]:.0f}", ha="center", va="center", color=ink, fontsize=7
                )
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"{report.confusion.contender}: % of each true class", loc="left")
    return figure


def _new(width: float, height: float) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=120)
    axes = figure.add_subplot()
    _plain(axes)
    return figure, axes


def _plain(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, alpha=0.25, linewidth=0.6)


def _name_ends(axes: "Axes", x: float, ends: list[tuple[float, str, str]]) -> None:
    """Names beside the last points, in their order, evenly apart and within the axes, so that none covers another."""
    low, high = axes.get_ylim()
    gap = (high - low) * 0.058
    middle = sum(y for y, _, _ in ends) / len(ends)
    first = min(middle - gap * (len(ends) - 1) / 2, high - gap * len(ends))
    for place, (y, name, colour) in enumerate(sorted(ends)):
        where = {"xy": (x, y), "xytext": (1.04, first + gap * place), "textcoords": ("axes fraction", "data")}
        line = {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "alpha": 0.6}
        axes.annotate(name, **where, color=colour, va="center", fontsize=9, annotation_clip=False, arrowprops=line)
