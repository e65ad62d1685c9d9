"""The losses of classes, of sets of labels and of scores.

A criterion is a module beside a head: it reads the training targets once (`prepare`), gives the head's outputs their
unit (`outputs`) and compares them with targets (`forward`). B rows in a batch, n in training, C classes.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from sslcore.finetuning.energy import EnergyMargins, energy_margin_loss, log_sum_exp

ClassWeights = Literal["none", "balanced"]
LISTED = 12  # class weights that are told by name


def class_loss(
    logits_BC: torch.Tensor,
    classes_B: torch.Tensor,
    *,
    weights_C: torch.Tensor | None = None,
    smoothing: float = 0.0,
    gamma: float = 0.0,
) -> torch.Tensor:
    """−Σ_i Σ_c w_c q_ic (1 − p_ic)^γ ln p_ic / Σ_i w_{y_i}, nats, with q = (1 − ε) [c = y_i] + ε / C.

    Cross-entropy; with smoothing ε that of Szegedy et al. 2016, section 7; with gamma γ the focal loss of Lin et al.
    2017, equation 5, whose α is the weights w. With γ = 0 it is torch's `cross_entropy`.
    """
    if not gamma:
        return nn.functional.cross_entropy(logits_BC, classes_B, weight=weights_C, label_smoothing=smoothing)
    log_p_BC = logits_BC.log_softmax(dim=1)
    # Where p is 1 in floating point, a power below 1 has no finite gradient: it is cut off there.
    wrong_BC = (-torch.expm1(log_p_BC)).clamp_min(torch.finfo(logits_BC.dtype).tiny ** 0.5)
    target_BC = nn.functional.one_hot(classes_B, logits_BC.shape[1]).to(logits_BC) * (1 - smoothing)
    target_BC = target_BC + smoothing / logits_BC.shape[1]
    summands_BC = -target_BC * wrong_BC**gamma * log_p_BC
    if weights_C is None:
        return summands_BC.sum(dim=1).mean()
    return (summands_BC * weights_C).sum() / weights_C[classes_B].sum()


def balanced_weights(classes_n: np.ndarray, number: int) -> np.ndarray:
    """float32 [C]: n / (C · rows of the class), so that every class counts the same; 0 for one without rows."""
    rows_C = np.bincount(classes_n, minlength=number)
    return np.where(rows_C > 0, len(classes_n) / (number * np.maximum(rows_C, 1)), 0).astype(np.float32)


class ClassLosses(BaseModel):
    """How the classes of a shape are learnt; a part of its configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Share of a row's target that is spread over all classes."
    )
    class_weights: ClassWeights = Field(
        "none", description="balanced: rows of a class count by its inverse frequency, so that rare classes are learnt."
    )
    focal_gamma: float = Field(
        0.0, ge=0, le=10, description="Focal loss: rows that are right already count less; 2 is usual, 0 is none."
    )

    @property
    def plain(self) -> bool:
        """Whether it is cross-entropy and no more."""
        return not self.label_smoothing and self.class_weights == "none" and not self.focal_gamma


class Criterion(nn.Module):
    """What a head's raw outputs mean, and how wrong they are."""

    def prepare(self, targets_n: np.ndarray) -> None:
        """Set what follows from the training targets. Its buffers are of the model if serving needs them."""

    def first_outputs(self) -> float:
        """What a head says of every row before it has learnt: its bias."""
        return 0.0

    def outputs(self, raw: torch.Tensor) -> torch.Tensor:
        """In the targets' own unit; logits are none."""
        return raw

    def named(self, outputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """What outputs are to somebody else, by name."""
        raise NotImplementedError

    def forward(self, outputs: torch.Tensor, targets: np.ndarray) -> torch.Tensor:
        raise NotImplementedError

    def monitors(self, outputs: torch.Tensor, targets: np.ndarray) -> dict[str, torch.Tensor]:
        """Scalars to tell of a training batch beside its loss."""
        return {}

    def notes(self, labels: Sequence[str]) -> tuple[str, ...]:
        """What the summary of a run has to say."""
        return ()


class ClassLoss(Criterion):
    """`class_loss` of logits [B, C] and class numbers int64 [B].

    With margins, numbers below 0 are of texts from elsewhere: they have no class, and are in the energy's loss alone.
    """

    class_weights: torch.Tensor

    def __init__(self, config: ClassLosses, classes: int, margins: EnergyMargins | None = None) -> None:
        super().__init__()
        self._config, self._margins = config, margins
        # Serving needs none, and a run that goes on counts the rows again.
        self.register_buffer("class_weights", torch.ones(classes), persistent=False)

    def prepare(self, targets_n: np.ndarray) -> None:
        if self._config.class_weights == "balanced":
            known = targets_n[targets_n >= 0]
            self.class_weights.copy_(torch.from_numpy(balanced_weights(known, len(self.class_weights))))

    def named(self, outputs: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"probabilities": outputs.softmax(dim=1)}

    def forward(self, outputs: torch.Tensor, targets: np.ndarray) -> torch.Tensor:
        if self._margins is None:
            return self._of_classes(outputs, targets)
        inside = torch.from_numpy(targets >= 0).to(outputs.device)
        energies = energy_margin_loss(outputs[inside], outputs[~inside], self._margins)
        of_classes = self._of_classes(outputs[inside], targets[targets >= 0]) if inside.any() else 0.0
        return of_classes + self._margins.weight * energies

    def monitors(self, outputs: torch.Tensor, targets: np.ndarray) -> dict[str, torch.Tensor]:
        """Minus the mean free energy of the batch, texts from elsewhere apart; see energy.py."""
        inside = outputs[torch.from_numpy(targets >= 0).to(outputs.device)]
        return {"mean_log_sum_exp": log_sum_exp(inside if len(inside) else outputs).mean()}

    def _of_classes(self, outputs: torch.Tensor, targets: np.ndarray) -> torch.Tensor:
        return class_loss(
            outputs,
            torch.from_numpy(targets).to(outputs.device),
            weights_C=self.class_weights if self._config.class_weights == "balanced" else None,
            smoothing=self._config.label_smoothing,
            gamma=self._config.focal_gamma,
        )

    def notes(self, labels: Sequence[str]) -> tuple[str, ...]:
        if self._config.class_weights == "none":
            return ()
        weights = sorted(zip(self.class_weights.tolist(), labels, strict=True), reverse=True)
        shown = weights if len(weights) <= LISTED else [*weights[: LISTED // 2], *weights[-LISTED // 2 :]]
        said = ", ".join(f"{label} {weight:.3g}" for weight, label in shown)
        among = "" if shown is weights else f" (the highest and lowest of {len(weights):,})"
        return (f"rows count by the inverse frequency of their class{among}: {said}",)


class LabelsLoss(Criterion):
    """Mean binary cross-entropy of logits [B, C] and bool [B, C], nats: each label is a question of its own."""

    def named(self, outputs: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"probabilities": outputs.sigmoid()}

    def forward(self, outputs: torch.Tensor, targets: np.ndarray) -> torch.Tensor:
        truth_BC = torch.from_numpy(targets).to(outputs.device, outputs.dtype)
        return nn.functional.binary_cross_entropy_with_logits(outputs, truth_BC)


class ScoreLoss(Criterion):
    """Mean squared error of scores [B] in parts of the range that the training targets have.

    So rates and losses mean the same whether scores go from 0 to 5 or from 0 to 100. Outputs are in the targets' own
    range, which is kept with the weights. A head of F features of unit scale is divided by √F: Adam moves every weight
    by about the rate, and F of them at once would carry a score across its whole range, which logits can bear.
    """

    lowest: torch.Tensor
    width: torch.Tensor

    def __init__(self, features: int = 1) -> None:
        super().__init__()
        self._scale = features**-0.5
        self.register_buffer("lowest", torch.zeros(()))
        self.register_buffer("width", torch.ones(()))
        self._mean = 0.0

    def prepare(self, targets_n: np.ndarray) -> None:
        self.lowest.fill_(float(targets_n.min()))
        self.width.fill_(float(np.ptp(targets_n)) or 1.0)
        self._mean = float((targets_n.mean() - targets_n.min()) / self.width.item())

    def first_outputs(self) -> float:
        return self._mean / self._scale

    def outputs(self, raw: torch.Tensor) -> torch.Tensor:
        """[B], of [B, 1]."""
        return self.lowest + self.width * self._scale * raw.squeeze(1)

    def named(self, outputs: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"score": outputs}

    def forward(self, outputs: torch.Tensor, targets: np.ndarray) -> torch.Tensor:
        truth_B = torch.from_numpy(targets).to(outputs.device, outputs.dtype)
        assert outputs.shape == truth_B.shape  # else each would be compared with all
        return (((outputs - truth_B) / self.width) ** 2).mean()
