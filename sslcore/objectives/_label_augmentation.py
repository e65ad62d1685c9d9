"""The classifiers and the loss of label augmentation, apart from its configuration: reading that needs no torch.

B texts, M transformations, N labels, D dimensions.
"""

from typing import TYPE_CHECKING

import torch

from sslcore.models.ragged import Sequences
from sslcore.objectives._vectors import drawing_from

if TYPE_CHECKING:
    from sslcore.models.transformer import TransformerEncoder
    from sslcore.objectives.label_augmentation import TransformedTexts


def own_forms(joint_BMNM: torch.Tensor) -> torch.Tensor:
    """[B, N, M]: of form j what is said of label i together with j, the transformation that it really is."""
    return joint_BMNM.diagonal(dim1=1, dim2=3)


def aggregated_logits(joint_BMNM: torch.Tensor) -> torch.Tensor:
    """[B, N]: the mean over all forms of each label's logit, together with the form's own transformation."""
    return own_forms(joint_BMNM).mean(dim=2)


def joint_losses(joint_BMNM: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
    """[B]: −1/M Σ_j log P(y, j | form j)."""
    log_BMNM = joint_BMNM.flatten(2).log_softmax(dim=2).view_as(joint_BMNM)
    return -own_forms(log_BMNM)[torch.arange(len(labels_B), device=labels_B.device), labels_B].mean(dim=1)


def divergences(aggregated_BN: torch.Tensor, single_BN: torch.Tensor) -> torch.Tensor:
    """[B]: KL(aggregated ‖ single). The aggregated side teaches and learns nothing here."""
    teacher_BN = aggregated_BN.detach().softmax(dim=1)
    return torch.nn.functional.kl_div(single_BN.log_softmax(dim=1), teacher_BN, reduction="none").sum(dim=1)


class JointLabels(torch.nn.Module):
    """loss: the mean over the texts of L_SLA, in nats, and of the single classifier's terms if it is asked for.

    accuracy: share of all forms whose label and transformation are both found; aggregated_accuracy and single_accuracy:
    share of the texts whose label is found in all forms together, and in the text as it is; joint_loss: L_SLA;
    distillation_loss: KL.
    """

    def __init__(
        self,
        encoder: "TransformerEncoder",
        generator: torch.Generator,
        *,
        labels: int,
        transformations: int,
        distillation: float,
        beta: float,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.transformations = transformations
        self.distillation = distillation
        self.beta = beta
        with drawing_from(generator):
            self.joint = torch.nn.Linear(encoder.dimensions, labels * transformations)
            self.single = torch.nn.Linear(encoder.dimensions, labels) if distillation else None

    def forward(self, batch: "TransformedTexts") -> dict[str, torch.Tensor]:
        device = self.joint.weight.device
        sequences = Sequences(torch.from_numpy(batch.ids).to(device), batch.offsets)
        labels_B = torch.from_numpy(batch.labels).to(device)
        vectors_BMD = self.encoder.pooled(self.encoder.states(sequences), sequences).unflatten(
            0, (-1, self.transformations)
        )
        joint_BMNM = self.joint(vectors_BMD).unflatten(2, (-1, self.transformations))
        aggregated_BN = aggregated_logits(joint_BMNM)
        joint_B = joint_losses(joint_BMNM, labels_B)
        true_BM = labels_B[:, None] * self.transformations + torch.arange(self.transformations, device=device)
        found_B = (joint_BMNM.flatten(2).argmax(dim=2) == true_BM).float().mean(dim=1)
        of_texts = {
            "loss": joint_B,
            "accuracy": found_B,
            "aggregated_accuracy": (aggregated_BN.argmax(dim=1) == labels_B).float(),
        }
        if self.single is not None:
            single_BN = self.single(vectors_BMD[:, 0])
            distillation_B = divergences(aggregated_BN, single_BN)
            label_B = torch.nn.functional.cross_entropy(single_BN, labels_B, reduction="none")
            of_texts |= {
                "loss": joint_B + self.distillation * (distillation_B + self.beta * label_B),
                "single_accuracy": (single_BN.argmax(dim=1) == labels_B).float(),
                "joint_loss": joint_B,
                "distillation_loss": distillation_B,
            }
        # A process's share of a small batch may be empty.
        return {name: value_B.sum() / max(1, batch.weight) for name, value_B in of_texts.items()}
