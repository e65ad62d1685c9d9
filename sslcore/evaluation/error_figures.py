"""Plots of calibration, novelty, errors and slices, as matplotlib figures."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sslcore.evaluation.drawing import BASELINE, COLOURS, columns_of, new_figure
from sslcore.evaluation.slices import Slice
from sslcore.finetuning.calibration import Calibration
from sslcore.finetuning.separation import separation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWN_BINS = 40
NUMBERED = 20  # classes with more are drawn without a number in each field
LONGEST_NAME = 32  # letters of a slice's


def reliability_figure(measured: Mapping[str, Calibration]) -> "Figure":
    """Accuracy against confidence in bins of equal mass, with 95 % intervals; on the diagonal, what is said comes true.

    One line for each name, as "before" and "after" a temperature. Below the diagonal the model is too sure.
    """
    figure, (axes,) = new_figure(5.6, 5.2)
    axes.plot([0, 1], [0, 1], color=BASELINE, linewidth=0.8, linestyle=":")
    for place, (name, calibration) in enumerate(measured.items()):
        bins, colour = calibration.reliability, COLOURS[place % len(COLOURS)]
        x, y = [b.confidence for b in bins], [b.accuracy for b in bins]
        low, high = [b.low for b in bins], [b.high for b in bins]
        axes.vlines(x, low, high, color=colour, linewidth=1.0, alpha=0.5)
        error = f"ECE {calibration.expected_error:.3f}"
        interval = f"[{calibration.expected_error_low:.3f}, {calibration.expected_error_high:.3f}]"
        axes.plot(x, y, color=colour, marker="o", markersize=4, linewidth=1.4, label=f"{name}: {error} {interval}")
    first = next(iter(measured.values()))
    least = min(min(b.confidence for b in c.reliability) for c in measured.values())
    axes.set_xlim(max(0.0, least - 0.05), 1.01)
    axes.set_ylim(max(0.0, min(least, min(b.low for c in measured.values() for b in c.reliability)) - 0.05), 1.01)
    axes.set_xlabel("probability of the predicted class")
    axes.set_ylabel("share predicted right")
    rows = first.rows // len(first.reliability)
    axes.set_title(f"{first.rows:,} rows, about {rows:,} a point", loc="left", fontsize=10)
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    return figure


def novelty_figure(
    scores: Mapping[str, tuple[np.ndarray, np.ndarray]], thresholds: Mapping[str, float] | None = None
) -> "Figure":
    """Histograms of each score of novelty on rows of the domain and on novel ones, with its threshold where known.

    The axis ends at the 0.5 and 99.5 % quantiles of all rows: a few lie beyond.
    """
    figure, all_axes = new_figure(7.0, 2.4 * len(scores) + 0.4, len(scores))
    for axes, (name, (in_domain, novel)) in zip(all_axes, scores.items(), strict=True):
        low, high = np.quantile(np.concatenate([in_domain, novel]), [0.005, 0.995])
        edges = np.linspace(low, high if high > low else low + 1, DRAWN_BINS + 1)
        for values, colour, of in ((in_domain, COLOURS[0], "of the domain"), (novel, COLOURS[1], "novel")):
            weights = np.full(len(values), 1 / len(values))
            axes.hist(values.clip(low, high), edges.tolist(), weights=weights, color=colour, alpha=0.55, label=of)
        if thresholds and name in thresholds:
            axes.axvline(thresholds[name], color=BASELINE, linewidth=1.2, linestyle="--")
        found = separation(in_domain, novel)
        told = f"AUROC {found.auroc:.3f}, FPR at 95 % TPR {found.fpr_at_95_tpr:.3f}, AUPR {found.aupr:.3f}"
        axes.set_title(f"{name}: {told}", loc="left", fontsize=9.5)
        axes.set_ylabel("share of rows")
    all_axes[-1].set_xlabel("novelty; dashed: the threshold" if thresholds else "novelty")
    all_axes[0].legend(frameon=False, fontsize=9)
    return figure


def confusions_figure(counts_CC: np.ndarray, labels: Sequence[str], *, most: int = 30, title: str = "") -> "Figure":
    """Share of each true class (line) that was called each class (column): of many classes those with most mistakes.

    The others are taken together in a last line and column.
    """
    counts = np.asarray(counts_CC)
    names = list(labels)
    if len(names) > most:
        mistakes = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
        kept = np.sort(np.argsort(-mistakes, kind="stable")[:most])
        group = np.full(len(names), most)
        group[kept] = np.arange(most)
        gathered = np.zeros((most + 1, most + 1), counts.dtype)
        np.add.at(gathered, (group[:, None], group[None, :]), counts)
        counts, names = gathered, [*(names[place] for place in kept), "(others)"]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = max(4.5, 0.3 * len(names) + 2.5)
    figure, (axes,) = new_figure(size, size)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90 if len(names) > 4 else 0, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.grid(visible=False)
    if len(names) <= NUMBERED:
        for line, column in np.argwhere(shares >= 0.005):
            ink = "white" if shares[line, column] > 0.55 else BASELINE
            said = f"{100 * shares[line, column]:.0f}"
            axes.text(column, line, said, ha="center", va="center", color=ink, fontsize=7)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title or "% of each true class", loc="left", fontsize=10)
    return figure


def slices_figure(slices: Sequence[Slice], accuracy: float) -> "Figure":
    """A line for each slice under the name of its column: accuracy with 95 % interval, and how many rows.

    The dashed line is the accuracy on all rows; slices worse than all other rows have another colour and mark.
    """
    columns = list(dict.fromkeys(part.column for part in slices))
    figure, (axes,) = new_figure(7.4, 0.23 * (len(slices) + len(columns)) + 1.5)
    beside: dict[str, Any] = {"fontsize": 8, "color": BASELINE, "transform": axes.get_yaxis_transform()}
    names: list[str] = []
    headings: list[int] = []
    for column in columns:
        headings.append(len(names))
        names.append(_short(column))
        for part in (part for part in slices if part.column == column):
            y, colour = len(names), COLOURS[1 if part.worse else 0]
            axes.hlines(y, part.low, part.high, color=colour, linewidth=2.2, alpha=0.45)
            axes.plot(part.accuracy, y, "D" if part.worse else "o", color=colour, markersize=5, zorder=3)
            axes.text(1.02, y, f"{part.rows:,}", va="center_baseline", **beside)
            names.append(_short(part.value))
    axes.text(1.02, -0.9, "rows", **beside)
    axes.set_yticks(range(len(names)), names, fontsize=8.5)
    for place, label in enumerate(axes.get_yticklabels()):
        label.set_fontweight("bold" if place in headings else "normal")
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8.5)
    axes.grid(visible=False, axis="y")
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.axvline(accuracy, color=BASELINE, linewidth=1.0, linestyle="--", zorder=1, label=f"all rows: {accuracy:.3f}")
    axes.plot([], [], "o-", color=COLOURS[0], linewidth=2.2, markersize=5, label="a slice, 95 % interval")
    axes.plot([], [], "D-", color=COLOURS[1], linewidth=2.2, markersize=5, label="worse than all other rows")
    least, most = min(part.low for part in slices), max(part.high for part in slices)
    axes.set_xlim(max(0.0, least - 0.02), min(1.0, most) + 0.01)
    axes.set_xlabel("share predicted right", fontsize=9)
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=8.5)
    return figure


def _short(name: str) -> str:
    """On one line, and with dollars that begin no formula."""
    name = " ".join(name.split())
    if columns_of(name) > LONGEST_NAME:
        while columns_of(name) >= LONGEST_NAME:
            name = name[:-1]
        name += "…"
    return name.replace("$", r"\$")
