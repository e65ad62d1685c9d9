"""The verdict on curves made to be clear, and on curves made to be doubtful."""

from dataclasses import dataclass

import numpy as np
import pytest

from sslcore.evaluation.label_efficiency import LabelEfficiency
from sslcore.evaluation.verdict import Verdict, decide, duration, judge, number


@dataclass(frozen=True)
class Named:
    """What the verdict asks of a contender."""

    name: str
    method: str
    encoder: str
    random: bool = True


TFIDF = Named("TF-IDF + logistic regression", "tfidf", "")
PROBE = Named("e, frozen + linear probe", "probe", "e")
TUNED = Named("e, fine-tuned", "fine_tuned", "e")
SCRATCH = Named("e, from scratch", "from_scratch", "e")
BUDGETS = (2, 8, 32, -1)
LABELS = np.array([2.0, 8.0, 32.0, 500.0])


def measured(
    curves: dict[Named, list[float]],
    *,
    row_noise: float = 0.003,
    seed_spread: float = 0.002,
    validation: dict[Named, list[float]] | None = None,
    seeds: int = 3,
) -> LabelEfficiency:
    """Curves with independent noise of these sizes over resamples and seeds."""
    generator = np.random.default_rng(0)
    y = np.array(list(curves.values()))
    signs = np.linspace(-1, 1, seeds) if seeds > 1 else np.zeros(1)
    direction = generator.choice([-1, 1], size=len(y))[:, None, None]
    chosen = np.array([(validation or curves)[contender] for contender in curves])
    return LabelEfficiency(
        contenders=list(curves),  # type: ignore[arg-type]
        budgets=BUDGETS,
        labels=LABELS,
        cells=[],
        table=[],
        scores=y[:, :, None] + direction * seed_spread * signs,
        validation=np.repeat(chosen[:, :, None], seeds, axis=2),
        resampled=y[:, :, None] + row_noise * generator.standard_normal((*y.shape, 1000)),
        outcomes={},
    )


def verdict(result: LabelEfficiency, obstacle: str = "") -> Verdict:
    return decide(result, minimum_effect=0.01, pretraining_seconds={"e": 41.0}, obstacle=obstacle)


@pytest.mark.parametrize(
    ("gain", "low", "high", "answer"),
    [
        (0.05, 0.03, 0.07, "worth it"),
        (0.011, 0.001, 0.02, "worth it"),
        (0.05, -0.01, 0.11, "cannot tell"),
        (0.008, 0.004, 0.012, "cannot tell"),  # real, but perhaps too small
        (0.004, 0.001, 0.008, "not worth it"),  # real and too small
        (0.0, -0.005, 0.005, "not worth it"),
        (-0.05, -0.07, -0.03, "not worth it"),
        (0.0, -0.05, 0.05, "cannot tell"),
    ],
)
def test_the_rule(gain: float, low: float, high: float, answer: str) -> None:
    assert judge(gain, low, high, 0.01) == answer


def test_a_clear_win_is_worth_it_and_says_how_many_labels_it_saved() -> None:
    found = verdict(measured({TFIDF: [0.3, 0.5, 0.7, 0.9], PROBE: [0.5, 0.7, 0.75, 0.8], TUNED: [0.5, 0.7, 0.8, 0.93]}))
    assert found.answer == "worth it"
    assert (found.pretrained, found.baseline, found.encoder) == (TUNED.name, TFIDF.name, "e")
    assert found.gain == pytest.approx(0.13, abs=0.02)
    assert found.interval is not None
    assert 0 < found.interval[0] < found.gain < found.interval[1]
    assert found.probability == 1.0
    two, eight, thirty_two, everything = found.budgets
    assert two.baseline_needs == (pytest.approx(8.0), "about")
    assert two.saved == pytest.approx(6.0)
    assert eight.baseline_needs == (pytest.approx(32.0), "about")
    assert 32 < thirty_two.baseline_needs.labels < 500
    assert everything.baseline_needs == (500.0, "more than")
    assert everything.saved is None
    assert found.break_even == (500.0, "more than")
    assert "8 labels per class do the work of about 32" in found.sentence or "2 labels per class do" in found.sentence
    assert "41 s" in found.sentence
    assert "TF-IDF + logistic regression is ahead" not in found.sentence


def test_a_clear_loss_is_not_worth_it() -> None:
    found = verdict(measured({TFIDF: [0.4, 0.6, 0.8, 0.95], TUNED: [0.3, 0.5, 0.7, 0.9]}))
    assert found.answer == "not worth it"
    assert found.probability == 0.0
    assert found.break_even == (2.0, "at most")
    assert found.sentence.startswith("Not worth it: e, fine-tuned scores 0.0")
    assert "less than" in found.sentence


def test_noise_cannot_tell() -> None:
    found = verdict(measured({TFIDF: [0.5, 0.6, 0.7, 0.8], TUNED: [0.51, 0.61, 0.71, 0.81]}, row_noise=0.05))
    assert found.answer == "cannot tell"
    assert found.reason.rstrip(".") in found.sentence
    assert found.probability is not None
    assert 0.05 < found.probability < 0.999


def test_a_gain_within_the_noise_of_the_seeds_is_no_win() -> None:
    curves = {TFIDF: [0.5, 0.6, 0.7, 0.8], TUNED: [0.53, 0.63, 0.73, 0.83]}
    quiet = measured(curves)
    assert verdict(quiet).answer == "worth it"
    loud = measured(curves, seed_spread=0.0)
    loud.scores[1] += np.array([-0.03, 0.0, 0.03])  # the same mean, but the seeds disagree
    assert verdict(loud).seed_noise == pytest.approx(4.3027 * 0.03 / np.sqrt(3), rel=1e-3)
    assert verdict(loud).answer == "cannot tell"


def test_tf_idf_ahead_at_one_budget_is_admitted() -> None:
    found = verdict(measured({TFIDF: [0.3, 0.5, 0.7, 0.95], TUNED: [0.5, 0.7, 0.8, 0.90]}))
    assert found.answer == "worth it"
    assert "TF-IDF + logistic regression is ahead with all labels (0.950 against 0.900)" in found.sentence
    assert found.break_even is not None
    assert found.break_even.bound == "about"
    assert 32 < found.break_even.labels < 500


def test_the_contenders_are_chosen_on_validation_rows() -> None:
    curves = {TFIDF: [0.4] * 4, SCRATCH: [0.2] * 4, PROBE: [0.5] * 4, TUNED: [0.6] * 4}
    validation = {**curves, SCRATCH: [0.9] * 4, PROBE: [0.9] * 4}
    found = verdict(measured(curves, validation=validation))
    assert (found.pretrained, found.baseline) == (PROBE.name, SCRATCH.name)


def test_the_strongest_without_pretraining_is_the_rival() -> None:
    found = verdict(measured({TFIDF: [0.3, 0.4, 0.5, 0.6], SCRATCH: [0.5, 0.6, 0.7, 0.8], TUNED: [0.5, 0.6, 0.7, 0.8]}))
    assert found.baseline == SCRATCH.name
    assert found.answer != "worth it"


@pytest.mark.parametrize("seeds", [1, 3])
def test_an_obstacle_or_a_single_seed_cannot_tell(seeds: int) -> None:
    result = measured({TFIDF: [0.3] * 4, TUNED: [0.6] * 4}, seeds=seeds)
    found = verdict(result, obstacle="only 12 labelled test rows; label more." if seeds > 1 else "")
    assert found.answer == "cannot tell"
    assert ("only 12" if seeds > 1 else "one seed") in found.sentence


def test_nothing_to_compare_with_cannot_tell() -> None:
    assert "without a contender without pretraining" in verdict(measured({TUNED: [0.6] * 4})).sentence
    assert "without a pretrained contender" in verdict(measured({TFIDF: [0.6] * 4})).sentence


def test_numbers_read_well() -> None:
    assert [number(value) for value in (2.0, 8.5, 31.4, 2140.2)] == ["2", "8.5", "31", "2,140"]
    assert [duration(value) for value in (0.44, 41.2, 285.0, 7200.0)] == ["0.4 s", "41 s", "5 min", "2.0 h"]
