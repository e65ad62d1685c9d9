"""Free energy in training: the margin loss of Liu et al. 2020, and the monitor that shows where margins can be.

E(x) = −log Σ_C exp z_C is low for what the classes explain well. With texts of no class at hand (any from elsewhere, no
labels needed), fine-tuning can push the two apart: rows of the domain below one margin, the others above another.

The mean log-sum-exp of the logits, L = 1/N Σ_i log Σ_C exp z_iC, is minus the mean free energy. It is a monitor and not
a loss: adding a constant c to all logits of all rows adds c to L and changes no probability, so L alone goes to −∞ when
it is minimised and to +∞ when it is maximised, by the head's biases, without anything being learnt. In cross-entropy,
mean(log Σ exp z) − mean(z_true), the second term holds it; in the loss below, squared hinges do, which are flat beyond
their margins.

B rows of the domain, O from elsewhere, C classes.
"""

from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    import torch


class EnergyMargins(BaseModel):
    """How far apart the energies are to be. Good values lie about the mean energies before: see `mean_log_sum_exp`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inner: float = Field(description="Rows of the domain are pushed below this free energy (m_in).")
    outer: float = Field(description="Rows from elsewhere are pushed above this free energy (m_out).")
    weight: float = Field(0.1, gt=0, le=100, description="Of this loss beside cross-entropy; 0.1 in the paper.")

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.inner >= self.outer:
            raise ValueError(
                f"inner {self.inner:g} is to be below outer {self.outer:g}: rows of the domain have the lower energy"
            )
        return self


def log_sum_exp(logits_BC: "torch.Tensor") -> "torch.Tensor":
    """[B]: minus the free energy at temperature 1."""
    return logits_BC.logsumexp(dim=1)


def energy_margin_loss(logits_BC: "torch.Tensor", outside_OC: "torch.Tensor", margins: EnergyMargins) -> "torch.Tensor":
    """E_in[max(0, E(x) − m_in)²] + E_out[max(0, m_out − E(x))²], squared nats (Liu et al. 2020, eq. 8); a scalar.

    The weight, λ in their eq. 7, is left to the caller. A side without rows adds nothing.
    """
    inside = (-log_sum_exp(logits_BC) - margins.inner).clamp_min(0) ** 2
    outside = (margins.outer + log_sum_exp(outside_OC)).clamp_min(0) ** 2
    parts = [side.mean() for side in (inside, outside) if len(side)]
    return sum(parts[1:], parts[0]) if parts else logits_BC.sum() * 0
