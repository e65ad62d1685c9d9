"""How unlike the training rows a text is: four scores, and the detector that goes with a model.

A classifier answers with one of its labels whatever it is given. A score of novelty, higher for what is less like the
training rows, and a threshold from validation rows say when not to believe it. No novel row is needed for either.

`softmax` and `energy` read the logits and cost nothing; `mahalanobis` and `nearest` read the features that the head
sees, and keep arrays: [D, D] and [C, D], or up to 10,000 training rows. n rows, C classes, D dimensions, m training
rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict

from sslcore.randomness import numpy_generator

Score = Literal["softmax", "energy", "mahalanobis", "nearest"]
SCORES: tuple[Score, ...] = get_args(Score)

ARRAYS: Mapping[Score, tuple[str, ...]] = {
    "softmax": (),
    "energy": (),
    "mahalanobis": ("means", "whitening"),
    "nearest": ("rows",),
}
"""What each has learnt."""

NEIGHBOURS = 10
MOST_ROWS = 10_000  # training rows that `nearest` keeps: Sun et al. 2022, § 4.3, lose nothing with 1 % of ImageNet
AT_ONCE = 1024
IN_DOMAIN = 0.95  # of the domain's rows, so many are to pass

Arrays = Mapping[str, np.ndarray]


class Novelty(BaseModel):
    """The part of model.json that says how novelty is scored; the arrays are in novelty.safetensors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    score: Score
    threshold: float  # novelty above it is_novel
    rows: int  # of validation, that set it
    auroc: dict[Score, float]  # of each score on classes it was not told of: what the choice rests on; may be empty
    note: str = ""


@dataclass(frozen=True)
class Detector:
    """A score with what it has learnt, and the threshold."""

    description: Novelty
    arrays: Arrays

    @property
    def needs_features(self) -> bool:
        return bool(self.arrays)

    def novelty(self, logits_nC: np.ndarray, features_nD: np.ndarray | None = None) -> np.ndarray:
        """float64 [n]: the score, on a scale of its own."""
        return novelty(self.description.score, self.arrays, logits_nC, features_nD)

    def is_novel(self, novelty_n: np.ndarray) -> np.ndarray:
        """bool [n]"""
        return novelty_n > self.description.threshold


def novelty(score: Score, arrays: Arrays, logits_nC: np.ndarray, features_nD: np.ndarray | None) -> np.ndarray:
    """float64 [n] by any of the scores."""
    if score == "softmax":
        return softmax_novelty(logits_nC)
    if score == "energy":
        return free_energy(logits_nC)
    assert features_nD is not None
    measure = mahalanobis if score == "mahalanobis" else nearest
    return measure(features_nD, arrays)


def fitted(score: Score, features_mD: np.ndarray, classes_m: np.ndarray, *, seed: int) -> Arrays:
    """What the score needs of the training rows; nothing for those of the logits."""
    if score == "mahalanobis":
        return fit_mahalanobis(features_mD, classes_m)
    if score == "nearest":
        return fit_nearest(features_mD, numpy_generator(seed, "novelty", "rows"))
    return {}


def softmax_novelty(logits_nC: np.ndarray) -> np.ndarray:
    """1 − max_C softmax(z): in 0..1 (Hendrycks & Gimpel 2017). Exact down to the smallest numbers, where 1 − p is 0."""
    z = np.sort(np.asarray(logits_nC, np.float64), axis=1)
    others = np.exp(z[:, :-1] - z[:, -1:]).sum(axis=1)
    return others / (1 + others)


def free_energy(logits_nC: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """E = −T · log Σ_C exp(z_C / T), any real number (Liu et al. 2020, eq. 4). They leave T at 1, and so do we."""
    z = np.asarray(logits_nC, np.float64) / temperature
    highest = z.max(axis=1)
    return -temperature * (highest + np.log(np.exp(z - highest[:, None]).sum(axis=1)))


def fit_mahalanobis(features_mD: np.ndarray, classes_m: np.ndarray) -> Arrays:
    """Mean of each class and one covariance Σ within classes (Lee et al. 2018, eq. 1), shrunk as Ledoit & Wolf 2004 do.

    Shrinking is what makes Σ invertible for fewer rows than dimensions. Kept as a matrix W with W Wᵀ = Σ⁻¹, and W's
    image of the means: then a distance is a difference of vectors.
    """
    from sklearn.covariance import ledoit_wolf

    features = np.asarray(features_mD, np.float64)
    _, places = np.unique(classes_m, return_inverse=True)
    means_CD = np.zeros((places.max() + 1, features.shape[1]))
    np.add.at(means_CD, places, features)
    means_CD /= np.bincount(places)[:, None]
    covariance, _ = ledoit_wolf(features - means_CD[places], assume_centered=True)
    values, vectors = np.linalg.eigh(covariance)
    floor = max(values.max() * 1e-10, np.finfo(np.float32).tiny)  # one row a class leaves no covariance at all
    whitening_DD = vectors / np.sqrt(np.maximum(values, floor))
    return {
        "whitening": whitening_DD.astype(np.float32),
        "means": (means_CD @ whitening_DD).astype(np.float32),
    }


def mahalanobis(features_nD: np.ndarray, arrays: Arrays) -> np.ndarray:
    """min_C (f − μ_C)ᵀ Σ⁻¹ (f − μ_C), ≥ 0 (Lee et al. 2018, eq. 2, with the sign turned)."""
    whitened = np.asarray(features_nD, np.float64) @ arrays["whitening"].astype(np.float64)
    means = arrays["means"].astype(np.float64)
    squares = (whitened**2).sum(axis=1)[:, None] + (means**2).sum(axis=1) - 2 * whitened @ means.T
    return np.maximum(squares.min(axis=1), 0)


def fit_nearest(features_mD: np.ndarray, generator: np.random.Generator) -> Arrays:
    """The training rows at length 1; of more than MOST_ROWS, a draw."""
    if len(features_mD) > MOST_ROWS:
        features_mD = features_mD[np.sort(generator.permutation(len(features_mD))[:MOST_ROWS])]
    return {"rows": _unit(features_mD)}


def nearest(features_nD: np.ndarray, arrays: Arrays) -> np.ndarray:
    """Euclidean distance to the 10th nearest training row, all at length 1: in 0..2 (Sun et al. 2022, eq. 2)."""
    kept = arrays["rows"]
    neighbours = min(NEIGHBOURS, len(kept))
    distances = np.empty(len(features_nD))
    for start in range(0, len(features_nD), AT_ONCE):
        likeness = _unit(features_nD[start : start + AT_ONCE]) @ kept.T
        place = likeness.shape[1] - neighbours
        found = np.partition(likeness, place, axis=1)[:, place].astype(np.float64)
        distances[start : start + AT_ONCE] = np.sqrt(np.maximum(2 - 2 * found, 0))
    return distances


def threshold_of(novelty_n: np.ndarray) -> float:
    """The ⌈0.95 · (n + 1)⌉-th lowest novelty of validation rows: at most 5 % of the domain's next rows exceed it.

    That holds on average over draws of the rows, whatever their distribution is (split conformal prediction,
    Papadopoulos et al. 2002). With fewer than 19 rows it is the highest of them, which 1 / (n + 1) of the next exceed.
    """
    place = min(int(np.ceil(IN_DOMAIN * (len(novelty_n) + 1))), len(novelty_n))
    return float(np.sort(novelty_n)[place - 1])


def _unit(features_nD: np.ndarray) -> np.ndarray:
    features = np.asarray(features_nD, np.float32)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), np.float32(1e-12))
