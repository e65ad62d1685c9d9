"""Stopping by a downstream probe: keep the encoder whose vectors tell labels apart best, whatever the loss says.

A pretext loss may fall on when the vectors have long ceased to get better, or rise while they do. So now and then a
linear probe (Alain, Bengio 2017, "Understanding intermediate layers using linear classifier probes") is fitted:
logistic regression on the frozen vectors of labelled documents of the training split. They are drawn once, by the seed;
half of each class is fitted on, the other half is scored by macro-F1 and never fitted on, and no objective sees its
labels.

The best probe is the one with the highest score, the first of equals; training stops after `patience` probes that were
none. Beside the score stands its standard error over the held-out rows; the highest of many scores is too high by about
as much. It chooses an encoder; what the encoder is worth, the evaluation says, on other rows. With few rows the choice
is luck: docs/stopping.md has how much.
"""

import time
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from sslcore.errors import UserError
from sslcore.finetuning.config import FineTuning
from sslcore.finetuning.encoded import EncodedTexts
from sslcore.randomness import numpy_generator
from sslcore.training.devices import torch_threads
from sslcore.training.learner import Metrics
from sslcore.training.loop import CURVE_POINTS, Point

if TYPE_CHECKING:
    from pathlib import Path

    from sslcore.models.encoder import Encoder
    from sslcore.tokenization.encoding import EncodedCorpus

SCORE, ERROR = "probe", "probe_error"  # as the curve names them
FEWEST = 10  # documents of a class, in both halves together; smaller classes are left out
RESAMPLES = 200  # of the held-out rows, for the error of a score


class Probing(BaseModel):
    """When a linear probe is fitted on the labelled documents, and how long training goes on without a better one."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Stopping by a probe")

    every: float = Field(
        default=0.05, ge=1 / CURVE_POINTS, le=1, description="Share of the run from one probe to the next."
    )
    patience: int = Field(
        default=5, ge=1, description="Training stops after so many probes in a row that were not the best."
    )
    rows: int = Field(
        default=4000, ge=2 * FEWEST, description="Labelled documents at most: half to fit on, half to score."
    )


class Probe:
    """The same rows, halves and solver whenever it is asked. It draws from no generator and leaves a network as it was.

    N held-out documents. `seconds` is what it has cost.
    """

    names = (SCORE, ERROR)

    def __init__(self, config: Probing, corpus: "EncodedCorpus", *, seed: int, threads: int) -> None:
        """Raises UserError unless two classes have FEWEST labelled documents."""
        from sslcore.evaluation.statistics import row_counts

        self.config = config
        self.seconds = 0.0
        self._seed, self._threads = seed, threads
        fitted, held_out = halves(corpus, config.rows, seed)
        self.held_out = held_out
        chosen = np.concatenate([fitted, held_out])
        texts = EncodedTexts(corpus.ids, corpus.document_offsets)
        self._texts = texts.take(chosen, maximum_tokens=FineTuning().most_tokens)  # as the evaluation reads them
        _, classes = np.unique(corpus.labels[chosen], return_inverse=True)
        self._classes, self._held_out_classes = classes[: len(fitted)], classes[len(fitted) :]
        self._counts_RN = row_counts(len(held_out), RESAMPLES, seed)

    def hidden(self, corpus: "EncodedCorpus") -> "EncodedCorpus":
        """The corpus without the labels of the rows that are scored: an objective may learn from the others."""
        from sslcore.tokenization.encoding import NO_LABEL, EncodedCorpus

        labels = np.array(corpus.labels)
        labels[self.held_out] = NO_LABEL
        parts = corpus.ids, corpus.sentence_offsets, corpus.document_offsets, corpus.tokenizer
        return EncodedCorpus(*parts, labels, corpus.label_names)

    def due(self, points: Sequence[Point]) -> bool:
        return due(points, self.config.every)

    def best_step(self, points: Sequence[Point]) -> int:
        return best(probes(points)).step

    def exhausted(self, points: Sequence[Point]) -> bool:
        return exhausted(points, self.config.patience)

    def measure(self, encoder: "Encoder") -> Metrics:
        """The score and its standard error; 0 for vectors that hold no numbers."""
        from sslcore.evaluation.statistics import resampled_scores
        from sslcore.finetuning.encoded import outputs
        from sslcore.finetuning.scores import macro_f1

        started = time.perf_counter()
        with torch_threads(self._threads):
            vectors = outputs(encoder.network, self._texts)
        score = error = 0.0
        if np.isfinite(vectors).all():
            prediction = self._predicted(vectors)
            score = macro_f1(self._held_out_classes, prediction)
            draws, _ = resampled_scores(self._held_out_classes, prediction, self._counts_RN)
            error = float(draws.std())
        self.seconds += time.perf_counter() - started
        return {SCORE: score, ERROR: error}

    def _predicted(self, vectors: np.ndarray) -> np.ndarray:
        """int64 [N]: the classes of the held-out rows, by a regression on the others."""
        from sklearn.exceptions import ConvergenceWarning
        from threadpoolctl import threadpool_limits

        from sslcore.evaluation.logistic import DENSE_STRENGTHS, regress

        fitted = vectors[: len(self._classes)]
        features = (vectors - fitted.mean(axis=0)) / fitted.std(axis=0).clip(1e-6)
        with threadpool_limits(1), warnings.catch_warnings():  # one thread: the sums of a matrix product keep an order
            warnings.simplefilter("ignore", ConvergenceWarning)
            fit = regress(
                features[: len(self._classes)],
                self._classes,
                features[:0],
                self._classes[:0],
                features[len(self._classes) :],
                number_of_classes=int(self._classes.max()) + 1,
                strengths=DENSE_STRENGTHS,
                seed=self._seed,
            )
        return fit.logits.argmax(axis=1)


def halves(corpus: "EncodedCorpus", rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The documents to fit on and those to score, int64 each: of every class as many, or one more to fit on.

    Raises UserError unless two classes have FEWEST documents among those drawn.
    """
    labels = np.asarray(corpus.labels)
    usable = np.flatnonzero((labels >= 0) & (np.diff(np.asarray(corpus.document_offsets)) > 0))
    drawn = numpy_generator(seed, "probe").permutation(usable)[:rows]
    counts = np.bincount(labels[drawn], minlength=1)
    drawn = drawn[counts[labels[drawn]] >= FEWEST]
    if len(np.unique(labels[drawn])) < 2:
        most = ", ".join(f"{corpus.label_names[i]} {counts[i]}" for i in np.argsort(-counts, kind="stable")[:3])
        found = f"of the {counts.sum():,} that may be used, the largest classes have {most}" if len(usable) else "none"
        raise UserError(
            f"a probe needs two classes of {FEWEST} or more labelled documents in the training split; this corpus has "
            f"{found}. Name the label's column when the text is ingested (--label; corpus.source.label), label more, "
            "or train without a probe"
        )
    order = drawn[np.argsort(labels[drawn], kind="stable")]
    place = np.arange(len(order)) - np.searchsorted(labels[order], labels[order])  # among those of its class
    return order[place % 2 == 0], order[place % 2 == 1]


# -- the probes of a run, and what follows from them -------------------------------------------------------------------


class Probed(BaseModel):
    """A probe in the curve."""

    model_config = ConfigDict(frozen=True)

    step: int
    loss: float  # mean of the pretext loss since the point of the curve before
    score: float
    error: float


def probes(points: Sequence[Point]) -> list[Probed]:
    """Those among the points of a curve, in order."""
    return [Probed(step=step, loss=m["loss"], score=m[SCORE], error=m[ERROR]) for step, m in points if SCORE in m]


def best(found: Sequence[Probed]) -> Probed:
    """The one with the highest score, the first of equals."""
    return max(found, key=lambda probed: (probed.score, -probed.step))


def due(points: Sequence[Point], every: float) -> bool:
    """Whether a probe belongs to the last point: the first one beyond each multiple of `every`, and that of the end."""
    *before, (_, last) = points
    reached = max((metrics["done"] for _, metrics in before if SCORE in metrics), default=0.0)
    return last["done"] >= 1 or _multiples(last["done"], every) > _multiples(reached, every)


def _multiples(done: float, every: float) -> int:
    return int(done / every + 1e-9)  # 0.15 / 0.05 is a little less than 3


def exhausted(points: Sequence[Point], patience: int) -> bool:
    """Whether the last `patience` probes were none of them the best."""
    found = probes(points)
    return bool(found) and len(found) - 1 - found.index(best(found)) >= patience


def summary(points: Sequence[Point]) -> dict[str, Any]:
    """What the probes say of a run at its end, for its manifest: the encoder that was kept is that of `best_step`."""
    found = probes(points)
    chosen, (last, metrics) = best(found), points[-1]
    stopped = {"stopped_at": last} if metrics["done"] < 1 else {}
    return {
        "best_step": chosen.step,
        "probe": round(chosen.score, 4),
        "probe_error": round(chosen.error, 4),
        "probes": len(found),
        **stopped,
    }


def read_probes(folder: "Path") -> tuple[Probed, ...]:
    """The probes in the curve.parquet of an encoder's folder; none where it was trained without."""
    import pyarrow.parquet as pq

    curve = folder / "curve.parquet"
    if not curve.exists():
        return ()
    points: dict[int, Metrics] = {}
    for row in pq.read_table(curve).to_pylist():
        points.setdefault(row["step"], {})[row["metric"]] = row["value"]
    return tuple(probes(sorted(points.items())))


def said_of(found: Sequence[Probed]) -> str:
    """A sentence for people."""
    chosen, last = best(found), found[-1]
    rho = rank_correlation(found)
    related = f"; Spearman's ρ of pretext loss and probe {rho:.2f}" if rho is not None else ""
    return (
        f"of {len(found)} probes that of step {chosen.step:,} is the best, macro-F1 {chosen.score:.3f} ± "
        f"{chosen.error:.3f} (standard error) at a loss of {chosen.loss:.3g}; the last, at step {last.step:,}, has "
        f"{last.score:.3f} at {last.loss:.3g}{related}."
    )


def rank_correlation(found: Sequence[Probed]) -> float | None:
    """Spearman's ρ of pretext loss and score; None for fewer than three probes or none that differ."""
    from scipy.stats import spearmanr

    losses, scores = [p.loss for p in found], [p.score for p in found]
    if len(found) < 3 or len(set(losses)) == 1 or len(set(scores)) == 1:
        return None
    return float(spearmanr(losses, scores).statistic)
