"""Plots of a report and of a training curve, as matplotlib figures; whoever asks decides where they go.

A contender's method is its line style, and its name stands at the end of its line rather than in a legend.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sslcore.evaluation.drawing import BASELINE, COLOURS, new_figure, plain
from sslcore.evaluation.error_figures import confusions_figure
from sslcore.training.probing import ERROR, SCORE, Probed, best, rank_correlation, read_probes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sslcore.evaluation.report import EvaluationReport

LINES = {"tfidf": "-", "probe": "--", "fine_tuned": "-", "from_scratch": ":"}


def report_figures(folder: Path) -> Mapping[str, "Figure"]:
    """The plots of an evaluation report's folder by file name; none for a corpus without labels."""
    from sslcore.evaluation.report import EvaluationReport

    report = EvaluationReport.load(folder)
    figures = {"pretext_and_probe.svg": probe_figure(report.probes)} if report.probes else {}
    if not report.table:
        return figures
    figures["label_efficiency.svg"] = label_efficiency_figure(report)
    if report.confusion is not None:
        title = f"{report.confusion.contender}\n% of each true class"
        figures["confusion.svg"] = confusions_figure(np.array(report.confusion.rows), report.labels, title=title)
    return figures


def label_efficiency_figure(report: "EvaluationReport") -> "Figure":
    """Macro-F1 against labels per class (log scale) for every contender, with 95 % intervals.

    The two contenders that the verdict compares are drawn strong, their intervals as bands; the others thin, theirs as
    bars, moved a little sideways so that none covers another.
    """
    figure, (axes,) = new_figure(10.5, 5.4)
    verdict = report.verdict
    encoders = list(dict.fromkeys(c.encoder for c in report.contenders if c.encoder))
    x = [budget.labels for budget in report.budgets]
    ends = []
    for place, contender in enumerate(report.contenders):
        colour = COLOURS[encoders.index(contender.encoder) % len(COLOURS)] if contender.encoder else BASELINE
        scores = [report.score(contender.name, budget.labels_per_class) for budget in report.budgets]
        y, low, high = [s.macro_f1 for s in scores], [s.low for s in scores], [s.high for s in scores]
        compared = contender.name in (verdict.pretrained, verdict.baseline)
        sideways = 1.0 if compared else 1.0 + 0.018 * (place - len(report.contenders) / 2)
        at = [labels * sideways for labels in x]
        axes.plot(
            at, y, LINES[contender.method], color=colour, marker="o", markersize=5.5 if compared else 3.5,
            linewidth=2.6 if compared else 1.2, zorder=3 if compared else 2,
        )  # fmt: skip
        if compared:
            axes.fill_between(at, low, high, color=colour, alpha=0.16, linewidth=0)
        else:
            axes.vlines(at, low, high, color=colour, linewidth=1.0, alpha=0.7)
        ends.append((y[-1], at[-1], contender.name, colour, compared))
    axes.set_xscale("log")
    axes.set_xticks(x, [budget.title for budget in report.budgets])
    axes.minorticks_off()
    _name_ends(axes, ends)
    axes.set_xlabel("labels per class")
    axes.set_ylabel(f"macro-F1 on {report.test_rows:,} test rows")
    answer = {"worth it": "Yes.", "not worth it": "No.", "cannot tell": "Cannot tell."}[verdict.answer]
    title = f"Was the pretraining worth it?  {answer}"
    if verdict.gain is not None and verdict.interval is not None:
        low_gain, high_gain = verdict.interval
        axes.set_title(
            f"{verdict.pretrained}, against {verdict.baseline}:  {verdict.gain:+.3f} macro-F1 over all budgets  "
            f"[{low_gain:+.3f}, {high_gain:+.3f}]",
            loc="left", fontsize=9.5, color="#555555", pad=8,
        )  # fmt: skip
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    else:
        axes.set_title(title, loc="left", fontweight="bold")
    return figure


def curve_figures(folder: Path) -> Mapping[str, "Figure"]:
    """Every metric of an artefact's curve.parquet against the step, one panel each; and what a probe said, if any.

    By file name.
    """
    import pandas as pd

    curve = pd.read_parquet(folder / "curve.parquet")
    metrics = [name for name in curve["metric"].unique() if curve.loc[curve["metric"] == name, "value"].nunique() > 1]
    metrics = [name for name in metrics if name not in ("tokens", "done", SCORE, ERROR)] or ["loss"]
    figure, all_axes = new_figure(8.0, 2.4 * len(metrics), len(metrics))
    for place, (name, axes) in enumerate(zip(metrics, all_axes, strict=True)):
        rows = curve[curve["metric"] == name].sort_values("step")
        axes.plot(rows["step"], rows["value"], color=COLOURS[place % len(COLOURS)], linewidth=1.6)
        axes.set_title(name.replace("_", " "), loc="left")
    axes.set_xlabel("step")
    probes = read_probes(folder)
    return {"curve.svg": figure, **({"pretext_and_probe.svg": probe_figure({"": probes})} if probes else {})}


def probe_figure(probes: Mapping[str, Sequence[Probed]]) -> "Figure":
    """By encoder: pretext loss and probe over the steps, and the probe against the loss; the kept encoder is ringed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 3.6 * len(probes)), layout="constrained", dpi=120)
    rows = figure.subplots(len(probes), 2, squeeze=False, width_ratios=(3, 2))
    for (over_steps, against_loss), (name, found) in zip(rows, probes.items(), strict=True):
        steps, losses = [p.step for p in found], [p.loss for p in found]
        scores, errors = [p.score for p in found], [p.error for p in found]
        chosen = best(found)
        loss_axes = over_steps.twinx()
        loss_axes.plot(steps, losses, color=BASELINE, linewidth=1.4, linestyle=":")
        loss_axes.set_ylabel("pretext loss, dotted", color=BASELINE)
        loss_axes.spines["top"].set_visible(False)
        over_steps.set_xlabel("step")
        against_loss.plot(losses, scores, color=COLOURS[0], linewidth=0.8, alpha=0.6)
        against_loss.set_xlabel("pretext loss, falling")
        against_loss.invert_xaxis()
        for axes, x, at in ((over_steps, steps, chosen.step), (against_loss, losses, chosen.loss)):
            axes.errorbar(x, scores, errors, color=COLOURS[0], marker="o", markersize=3.5, linewidth=0, elinewidth=0.8)
            axes.plot(at, chosen.score, "o", markersize=11, markerfacecolor="none", color=COLOURS[1])
            plain(axes)
        over_steps.plot(steps, scores, color=COLOURS[0], linewidth=1.6)
        over_steps.set_ylabel("probe, macro-F1 ± standard error", color=COLOURS[0])
        over_steps.set_title(f"{name}{': ' if name else ''}step {chosen.step:,} is kept", loc="left")
        if (rho := rank_correlation(found)) is not None:
            against_loss.set_title(f"Spearman's ρ {rho:.2f} over {len(found)} probes", loc="left")
    return figure


def _name_ends(axes: "Axes", ends: list[tuple[float, float, str, str, bool]]) -> None:
    """Names right of the axes, each as near to its line's end as the others allow, joined to it by a thin line."""
    low, high = axes.get_ylim()
    ends = sorted(ends)
    heights = _apart([(y - low) / (high - low) for y, *_ in ends], gap=0.052)
    for height, (y, x, name, colour, compared) in zip(heights, ends, strict=True):
        axes.annotate(
            name, (x, y), xytext=(1.05, height), textcoords="axes fraction",
            color=colour, va="center", fontsize=9, fontweight="bold" if compared else "normal", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "alpha": 0.6, "relpos": (0.0, 0.5),
                        "shrinkA": 2, "shrinkB": 4},
        )  # fmt: skip


def _apart(heights: list[float], gap: float) -> list[float]:
    """Rising heights moved as little as makes neighbours `gap` apart: overlapping runs spread about their mean."""
    groups: list[list[float]] = []
    for height in heights:
        groups.append([height])
        while len(groups) > 1 and _centre(groups[-1]) - _centre(groups[-2]) < gap * sum(map(len, groups[-2:])) / 2:
            groups[-2:] = [groups[-2] + groups[-1]]
    apart = [_centre(group) + gap * (place - (len(group) - 1) / 2) for group in groups for place in range(len(group))]
    ceilings = (0.98 - gap * below for below in reversed(range(len(apart))))  # nothing reaches into the title
    return [min(height, ceiling) for height, ceiling in zip(apart, ceilings, strict=True)]


def _centre(group: list[float]) -> float:
    return sum(group) / len(group)
