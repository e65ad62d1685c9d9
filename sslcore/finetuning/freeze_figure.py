"""A freeze study as a figure: score and seconds against the freeze depth, what is no depth beside it."""

from typing import TYPE_CHECKING

import numpy as np

from sslcore.evaluation.drawing import BASELINE, COLOURS, plain
from sslcore.evaluation.statistics import seed_noise
from sslcore.finetuning.freezing import FIRST

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sslcore.finetuning.freeze_study import FreezeStudy

GAP = 1.0  # on the axis, between the deepest and what is no depth


def freeze_figure(study: "FreezeStudy") -> "Figure":
    """Above each seed's score, the mean with its 95 % interval, and what still counts as full tuning; below seconds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 6.0), layout="constrained", dpi=120)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    of_depths = sorted((s for s in study.settings if s.depth is not None), key=lambda s: s.depth or 0)
    others = [setting for setting in study.settings if setting.depth is None]
    places = [*range(len(of_depths)), *(len(of_depths) + GAP + number for number in range(len(others)))]
    full = study.setting("none")
    above.axhspan(full.score - study.minimum_effect, full.score + study.minimum_effect, color=BASELINE, alpha=0.08)
    above.axhline(full.score, color=BASELINE, linewidth=0.8, linestyle=":")
    for axes, values in ((above, [s.score for s in of_depths]), (below, [s.seconds for s in of_depths])):
        axes.plot(places[: len(of_depths)], values, color=COLOURS[0], linewidth=1.6)
    for place, setting in zip(places, [*of_depths, *others], strict=True):
        colour = COLOURS[0] if setting.depth is not None else COLOURS[2]
        above.plot([place] * len(setting.scores), setting.scores, ".", color=colour, alpha=0.35, markersize=6)
        noise = seed_noise(np.array(setting.scores))
        above.errorbar(place, setting.score, noise, color=colour, marker="o", markersize=5, elinewidth=1.0)
        below.plot(place, setting.seconds, "o", color=colour, markersize=5)
        if setting.freezing == study.cheapest:
            for axes, value in ((above, setting.score), (below, setting.seconds)):
                axes.plot(place, value, "o", markersize=12, markerfacecolor="none", color=COLOURS[1], clip_on=False)
    names = [setting.freezing.replace(FIRST, "first ").replace("_", " ") for setting in [*of_depths, *others]]
    below.set_xticks(places, names, rotation=30, ha="right")
    below.set_xlabel("frozen")
    below.set_ylabel("seconds a run")
    below.set_ylim(bottom=0)
    above.set_ylabel(f"{study.metric.replace('macro_f1', 'macro-F1')} on {study.test_rows:,} test rows")
    for axes in (above, below):
        plain(axes)
    above.set_title(study.sentence, loc="left", fontsize=9.5, color="#555555", pad=8, wrap=True)
    figure.suptitle("How much of the encoder has to learn?", x=0.01, ha="left", fontweight="bold")
    return figure
