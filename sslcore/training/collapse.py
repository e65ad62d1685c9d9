"""Whether the vectors of a batch still tell its texts apart, cheap enough for every step.

Alignment, the mean ‖x − y‖² of two views of a text, and uniformity, ln mean exp(−2‖x − y‖²) over different texts (Wang
& Isola 2020, "Understanding Contrastive Representation Learning", both on unit vectors; lower is better). Dead units:
the share of dimensions that hardly change from text to text; of spread unit vectors each has a standard deviation of
1/√D (Chen & He 2021, "SimSiam", figure 2), here below a hundredth of that. Effective rank (Roy & Vetterli 2007): exp of
the entropy of the normalised singular values of the centred unit vectors; it cannot exceed the number of texts.
`sslcore.evaluation.geometry` says the same of a finished encoder, and `alarm.py` when it is too bad.
"""

import math

import torch

DEAD = 0.01
PROBED = 256  # texts of a step that are looked at: singular values cost their cube


def alignment(first_BD: torch.Tensor, second_BD: torch.Tensor) -> torch.Tensor:
    return (unit(first_BD) - unit(second_BD)).square().sum(dim=1).mean()


def uniformity(vectors_BD: torch.Tensor) -> torch.Tensor:
    cosines_BB = unit(vectors_BD) @ unit(vectors_BD).T
    apart_BB = -4 * (1 - cosines_BB)  # ‖x − y‖² = 2 − 2 cos
    count = len(vectors_BD)
    apart_BB = apart_BB.masked_fill(torch.eye(count, dtype=torch.bool, device=vectors_BD.device), -math.inf)
    return apart_BB.flatten().logsumexp(0) - math.log(max(1, count * (count - 1)))


def dead_units(vectors_BD: torch.Tensor) -> torch.Tensor:
    spread_D = unit(vectors_BD).std(dim=0, correction=0) * vectors_BD.shape[1] ** 0.5
    return (spread_D < DEAD).float().mean()


def effective_rank(vectors_BD: torch.Tensor) -> torch.Tensor:
    unit_BD = unit(vectors_BD.double())
    centred_BD = unit_BD - unit_BD.mean(dim=0)
    singular = torch.linalg.eigvalsh(centred_BD @ centred_BD.T).clamp_min(0).sqrt()
    singular = singular * (singular > 1e-7 * singular.max().clamp_min(1))  # roots of the products' rounding
    share = singular / singular.sum().clamp_min(1e-30)
    return torch.special.entr(share).sum().exp()


@torch.no_grad()
def collapse(
    vectors_BD: torch.Tensor, second_BD: torch.Tensor | None = None, *, of: str = ""
) -> dict[str, torch.Tensor]:
    """The measures of a step by name, after what the vectors are `of`; alignment if there are second views."""
    probed = vectors_BD[:PROBED].float()
    measures = {
        "uniformity": uniformity(probed),
        "dead_units": dead_units(probed),
        "effective_rank": effective_rank(probed),
    }
    if second_BD is not None:
        measures["alignment"] = alignment(probed, second_BD[:PROBED].float())
    return {of + name: measure for name, measure in measures.items()}


def unit(vectors_BD: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(vectors_BD, dim=1)
