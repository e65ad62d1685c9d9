"""The shape of the embedding space: whether its dimensions are used, or have collapsed.

On n unit vectors: anisotropy, the mean cosine of two different texts (Ethayarajh 2019): 0 is isotropic, 1 one point.
Uniformity, ln mean exp(−2‖x − y‖²) over pairs (Wang & Isola 2020): lower spreads better; 0 is one point, −4 the limit
in many dimensions. Effective rank, exp of the entropy of the normalised singular values of the centred vectors (Roy &
Vetterli 2007): how many dimensions carry the variance.
"""

from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

from sslcore.evaluation.word_benchmarks import WordTable

if TYPE_CHECKING:
    from sslcore.models.encoder import Encoder

TEXTS = 2000  # all pairs of so many are a product of 2000 × 2000


class Geometry(BaseModel):
    """The three measures of one encoder, on `texts` texts with at least one known word."""

    model_config = ConfigDict(frozen=True)

    texts: int
    dimensions: int
    effective_rank: float
    uniformity: float
    anisotropy: float


class Neighbours(BaseModel):
    """A word and the words nearest to it by cosine."""

    model_config = ConfigDict(frozen=True)

    word: str
    nearest: tuple[tuple[str, float], ...]


def geometry(vectors: np.ndarray) -> Geometry | None:
    """Measures of float[n, D]; zero rows are left out; None with fewer than two others."""
    lengths = np.linalg.norm(vectors, axis=1)
    unit = vectors[lengths > 0] / lengths[lengths > 0, None]
    n = len(unit)
    if n < 2:
        return None
    cosines = (unit @ unit.T)[~np.eye(n, dtype=bool)].astype(np.float64)
    singular = np.linalg.svd(unit - unit.mean(axis=0), compute_uv=False).astype(np.float64)
    share = singular[singular > 1e-12 * max(1.0, singular[0])]
    share = share / share.sum() if len(share) else np.ones(1)
    return Geometry(
        texts=n,
        dimensions=unit.shape[1],
        effective_rank=float(np.exp(-(share * np.log(share)).sum())),
        uniformity=float(np.log(np.exp(-4 * (1 - cosines)).mean())),  # ‖x − y‖² = 2 − 2 cos
        anisotropy=float(cosines.mean()),
    )


def neighbours(encoder: "Encoder", *, words: int = 10, nearest: int = 5) -> list[Neighbours]:
    """Frequent words with meaning (three letters or more, or any in a script that needs fewer) and what lies near."""
    table = WordTable(encoder, 20_000)
    meaningful = [
        place for place, token in enumerate(table.tokens) if token.isalpha() and (len(token) > 3 or not token.isascii())
    ]
    # The hundred most frequent words are mostly function words, and neighbours of those say little.
    chosen = meaningful[100 : 100 + 40 * words : 40] or meaningful[:words]
    result = []
    for place in chosen:
        cosines = table.vectors @ table.vectors[place]
        cosines[place] = -np.inf
        order = np.argsort(-cosines)[:nearest]
        result.append(
            Neighbours(
                word=table.tokens[place], nearest=tuple((table.tokens[i], round(float(cosines[i]), 3)) for i in order)
            )
        )
    return result
