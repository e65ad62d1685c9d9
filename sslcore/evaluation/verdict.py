"""Was the pretraining worth it: one comparison, chosen before the test rows were looked at, and one sentence.

The best pretrained contender and the best one without pretraining are chosen by the area under their *validation*
curves. Their gain is the difference of the areas under the test curves over log(labels): macro-F1 averaged over the
label budgets. With [low, high] the paired bootstrap interval of the gain, widened where it is narrower than the noise
between seeds, and m the minimum effect:

    worth it       low > 0 and gain ≥ m        surely better, and enough to matter
    not worth it   high < m                    surely not better by enough to matter
    cannot tell    otherwise
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from sslcore.evaluation.budgets import ALL
from sslcore.evaluation.contenders import METHODS
from sslcore.evaluation.curves import LabelsNeeded, area, break_even, labels_needed
from sslcore.evaluation.label_efficiency import LabelEfficiency
from sslcore.evaluation.statistics import interval, seed_noise

PRETRAINED = ("probe", "fine_tuned")
Answer = Literal["worth it", "not worth it", "cannot tell"]


class BudgetGain(BaseModel):
    """The comparison at one label budget."""

    model_config = ConfigDict(frozen=True)

    labels_per_class: int  # −1: every label
    labels: float  # labels per class really had, on average
    pretrained: float  # macro-F1
    baseline: float
    gain: float
    low: float
    high: float
    baseline_needs: LabelsNeeded  # labels per class at which the baseline has the pretrained score
    saved: float | None  # labels per class saved; None when the baseline's curve gives only a limit


class Verdict(BaseModel):
    """The answer, what it rests on, and the sentence for people."""

    model_config = ConfigDict(frozen=True)

    answer: Answer
    sentence: str
    reason: str
    minimum_effect: float
    pretrained: str = ""  # the contenders compared; empty without labels
    baseline: str = ""
    encoder: str = ""  # of the pretrained contender
    gain: float | None = None  # in macro-F1, averaged over log(labels)
    interval: tuple[float, float] | None = None  # 95 %, as the answer used it
    probability: float | None = None  # of a gain above 0, over the resamples
    seed_noise: float | None = None  # a gain smaller than this may be luck of the seeds
    budgets: tuple[BudgetGain, ...] = ()
    break_even: LabelsNeeded | None = None  # labels per class from which pretraining brings nothing
    pretraining_seconds: float | None = None


def undecided(reason: str, minimum_effect: float) -> Verdict:
    """`cannot tell`, because the comparison could not be made."""
    return Verdict(
        answer="cannot tell", sentence=f"Cannot tell: {reason}", reason=reason, minimum_effect=minimum_effect
    )


def judge(gain: float, low: float, high: float, minimum_effect: float) -> Answer:
    """The rule at the top of this file."""
    if low > 0 and gain >= minimum_effect:
        return "worth it"
    return "not worth it" if high < minimum_effect else "cannot tell"


def decide(
    result: LabelEfficiency,
    *,
    minimum_effect: float,
    pretraining_seconds: Mapping[str, float],
    obstacle: str = "",
) -> Verdict:
    """The verdict on measured curves. `obstacle` is why they cannot be trusted, if so: then it is `cannot tell`."""
    kinds = [contender.method in PRETRAINED for contender in result.contenders]
    with_pretraining = [k for k, pretrained in enumerate(kinds) if pretrained]
    without = [k for k, pretrained in enumerate(kinds) if not pretrained]
    if not with_pretraining or not without:
        missing = "a pretrained contender" if not with_pretraining else "a contender without pretraining"
        return undecided(f"the evaluation was configured without {missing} to compare.", minimum_effect)
    p, b = best(result, with_pretraining), best(result, without)
    x = result.labels
    draws = area(x, (result.resampled[p] - result.resampled[b]).T)
    per_seed = area(x, (result.scores[p] - result.scores[b]).T)
    gain, noise = float(per_seed.mean()), seed_noise(per_seed)
    low, high = interval(draws)
    if noise is not None:
        low, high = min(low, gain - noise), max(high, gain + noise)
    answer, reason = judge(gain, low, high, minimum_effect), ""
    if noise is None:
        answer, reason = "cannot tell", "one seed says nothing about luck; three or more are needed."
    if obstacle:
        answer, reason = "cannot tell", obstacle
    budgets = tuple(budget_gains(result, p, b))
    contender, rival = result.contenders[p], result.contenders[b]
    verdict = Verdict(
        answer=answer,
        sentence="",
        reason=reason or explained(answer, gain, low, high, minimum_effect),
        minimum_effect=minimum_effect,
        pretrained=contender.name,
        baseline=rival.name,
        encoder=contender.encoder,
        gain=gain,
        interval=(low, high),
        probability=float(np.mean(draws > 0) + np.mean(draws == 0) / 2),
        seed_noise=noise,
        budgets=budgets,
        break_even=break_even(x, np.array([each.gain for each in budgets])),
        pretraining_seconds=pretraining_seconds.get(contender.encoder),
    )
    return verdict.model_copy(update={"sentence": sentence(verdict, ahead_of(result, p))})


def best(result: LabelEfficiency, candidates: Sequence[int]) -> int:
    """The candidate with the largest area under its validation curve; the first one where nothing was validated."""
    areas = area(result.labels, result.validation[list(candidates)].mean(axis=2))
    return candidates[0] if np.isnan(areas).all() else candidates[int(np.nanargmax(areas))]


def budget_gains(result: LabelEfficiency, p: int, b: int) -> list[BudgetGain]:
    """The comparison at each budget, on the horizontal axis of the curves."""
    x, found = result.labels, []
    means = result.scores.mean(axis=2)
    for k, budget in enumerate(result.budgets):
        low, high = interval(result.resampled[p, k] - result.resampled[b, k])
        needs = labels_needed(x, means[b], means[p, k])
        found.append(
            BudgetGain(
                labels_per_class=budget,
                labels=x[k],
                pretrained=means[p, k],
                baseline=means[b, k],
                gain=means[p, k] - means[b, k],
                low=low,
                high=high,
                baseline_needs=needs,
                saved=needs.labels - x[k] if needs.bound == "about" else None,
            )
        )
    return found


def ahead_of(result: LabelEfficiency, p: int) -> list[tuple[float, int, float, float]]:
    """Budgets where TF-IDF beats the pretrained contender beyond doubt: (labels, budget, its score, pretrained's)."""
    for t, contender in enumerate(result.contenders):
        if contender.method == "tfidf":
            means = result.scores.mean(axis=2)
            return [
                (float(result.labels[k]), budget, float(means[t, k]), float(means[p, k]))
                for k, budget in enumerate(result.budgets)
                if interval(result.resampled[t, k] - result.resampled[p, k])[0] > 0
            ]
    return []


def explained(answer: Answer, gain: float, low: float, high: float, minimum_effect: float) -> str:
    """Why the rule gave this answer."""
    if answer == "worth it":
        return f"the interval lies above 0 and the gain is at least {minimum_effect:g}."
    if answer == "not worth it":
        return f"even the upper end of the interval is below the {minimum_effect:g} that would be worth having."
    if low > 0:
        return f"the gain is real but may be smaller than the {minimum_effect:g} that would be worth having."
    return "the interval holds both no gain and a gain worth having; more test rows or seeds would narrow it."


def sentence(verdict: Verdict, tfidf_ahead: Sequence[tuple[float, int, float, float]]) -> str:
    """The verdict in plain words, with what speaks against it."""
    assert verdict.gain is not None
    assert verdict.interval is not None
    low, high = verdict.interval
    first, last = verdict.budgets[0].labels, verdict.budgets[-1].labels
    span = f"over {number(first)} to {number(last)}" if last > first else f"with {number(first)}"
    size = f"{abs(verdict.gain):.3f} macro-F1 {'more' if verdict.gain >= 0 else 'less'}"
    parts = [
        f"{verdict.answer.capitalize()}: {verdict.pretrained} scores {size} than {verdict.baseline} {span} labels "
        f"per class (95 % interval {low:+.3f} to {high:+.3f})"
    ]
    if verdict.answer == "cannot tell":
        parts.append(verdict.reason.rstrip("."))
    if verdict.answer == "worth it" and (saved := saving(verdict)):
        parts.append(saved)
    if verdict.answer == "worth it" and verdict.break_even and verdict.break_even.bound == "about":
        parts.append(f"from about {number(verdict.break_even.labels)} on it brings nothing")
    if tfidf_ahead:
        where = " and ".join(
            f"{'all labels' if budget == ALL else f'{number(labels)} per class'} ({tfidf:.3f} against {ours:.3f})"
            for labels, budget, tfidf, ours in tfidf_ahead
        )
        parts.append(f"{METHODS['tfidf']} is ahead with {where}")
    if verdict.pretraining_seconds is not None:
        parts.append(f"pretraining took {duration(verdict.pretraining_seconds)}")
    return "; ".join(parts) + "."


def saving(verdict: Verdict) -> str:
    """`8 labels per class do the work of about 21`, at the budget with the largest share saved."""
    few = [each for each in verdict.budgets if each.baseline_needs.bound != "at most" and each.labels_per_class != ALL]
    if not few:
        return ""
    most = max(few, key=lambda each: each.baseline_needs.labels / each.labels)
    needs = most.baseline_needs
    return f"{number(most.labels)} labels per class do the work of {needs.bound} {number(needs.labels)}"


def number(value: float) -> str:
    """Labels for people: 2, 8.5, 31, 2,140."""
    return f"{value:,.0f}" if value >= 10 or value == round(value) else f"{value:.1f}"


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
