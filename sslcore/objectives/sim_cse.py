"""SimCSE: the same sentence embedded twice, with other dropout, is to be found again among the others of the batch.

Gao, Yao, Chen 2021, "SimCSE: Simple Contrastive Learning of Sentence Embeddings", equation 1 with section 3:
−log exp(cos(h_i, h_i⁺) / τ) / Σ_j exp(cos(h_i, h_j⁺) / τ). Dropout is all the noise there is: with none, nothing is
learned. The authors' is 0.1 on states and on attention; here attention has none, as everywhere in sslcore.

Wants: a million sentences, and an encoder that masked_lm has pretrained. Requires: dropout; two sentences.
Costs: two passes of the encoder over a text; with `chunk`, one more without gradients.
Relation: info_nce takes a neighbour in place of dropout; moco has more negatives than a batch; byol has none.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict, Field

from sslcore.objectives.sentence_objective import ComparedTexts

if TYPE_CHECKING:
    import torch

    from sslcore.models.encoder import Encoder


class SimCSE(ComparedTexts):
    """A transformer by finding a sentence again that dropout has changed (SimCSE)."""

    model_config = ConfigDict(title="SimCSE")

    kind: Literal["sim_cse"] = "sim_cse"
    dropout: float = Field(default=0.1, gt=0, lt=1, description="Share of states set to zero: what makes the views.")
    temperature: float = Field(default=0.05, gt=0, le=10, description="Cosines are divided by it.")
    head: Literal["none", "mlp"] = Field(
        default="none", description="A layer with tanh on the vectors, in training alone (the paper's for CLS)."
    )

    @property
    def two_views(self) -> Literal["dropout"]:
        return "dropout"

    def loss(self, encoder: "Encoder", generator: "torch.Generator") -> "torch.nn.Module":
        from sslcore.objectives._sim_cse import SameSentence

        return SameSentence(encoder.network, generator, temperature=self.temperature, head=self.head, chunk=self.chunk)
