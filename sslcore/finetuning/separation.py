"""How well a score tells novel rows from those of the domain: three numbers that need no threshold.

Scores are higher for what looks more novel; any order-preserving change of them changes nothing here. n rows of the
domain, m novel ones.
"""

import numpy as np
from pydantic import BaseModel, ConfigDict

from sslcore.errors import UserError


class Separation(BaseModel):
    """The three numbers."""

    model_config = ConfigDict(frozen=True)

    auroc: float  # 0.5 is chance
    fpr_at_95_tpr: float  # lower is better
    aupr: float  # chance is the share of novel rows
    in_domain_rows: int
    novel_rows: int


def separation(in_domain_n: np.ndarray, novel_m: np.ndarray) -> Separation:
    """All three of the scores of some rows of the domain and some novel ones. Raises UserError without either."""
    if not len(in_domain_n) or not len(novel_m):
        raise UserError(
            f"{len(in_domain_n):,} rows of the domain and {len(novel_m):,} novel ones were given; to measure how they "
            "are told apart, give some of both"
        )
    return Separation(
        auroc=auroc(in_domain_n, novel_m),
        fpr_at_95_tpr=false_positive_rate(in_domain_n, novel_m),
        aupr=average_precision(in_domain_n, novel_m),
        in_domain_rows=len(in_domain_n),
        novel_rows=len(novel_m),
    )


def auroc(in_domain_n: np.ndarray, novel_m: np.ndarray) -> float:
    """Probability that a novel row scores higher than one of the domain, ties counted half (Mann & Whitney 1947)."""
    ordered = np.sort(in_domain_n)
    below, not_above = (np.searchsorted(ordered, novel_m, side) for side in ("left", "right"))
    return float((below + not_above).mean() / (2 * len(ordered)))


def false_positive_rate(in_domain_n: np.ndarray, novel_m: np.ndarray, *, true_positive_rate: float = 0.95) -> float:
    """Share of novel rows that pass for the domain where 95 % of the domain's rows do (FPR95, as in Liu et al. 2020).

    Positive is "of the domain": the threshold is the lowest score that at least 95 % of its rows do not exceed.
    """
    threshold = np.sort(in_domain_n)[int(np.ceil(true_positive_rate * len(in_domain_n))) - 1]
    return float((novel_m <= threshold).mean())


def average_precision(in_domain_n: np.ndarray, novel_m: np.ndarray) -> float:
    """AUPR with the novel rows as the positive ones: Σ (recall_k − recall_k−1) · precision_k over all thresholds."""
    scores = np.concatenate([novel_m, in_domain_n])
    novel = np.arange(len(scores)) < len(novel_m)
    order = np.argsort(-scores, kind="stable")
    last_of_ties = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    found = np.cumsum(novel[order])[last_of_ties]
    precision = found / (last_of_ties + 1)
    return float(np.sum(np.diff(found, prepend=0) * precision) / len(novel_m))
