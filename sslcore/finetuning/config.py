"""How fine-tuning goes about it, whatever the rows are: rates, passes, what stays frozen, when it ends.

AdamW (Loshchilov & Hutter 2019) with a linear schedule and warm-up, gradients clipped by norm; which weights are kept
stands in validation.py. The encoder and the head have rates of their own: the encoder only has to be nudged, the head
starts at zero.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from sslcore.finetuning.freezing import ADAPTED, Freezing, LoRA
from sslcore.training.precision import Precision

WORDS_RATE = 1e-2
ALL_TOKENS = 2**31 - 1
# Times the encoder's: Hu et al. 2022, table 9, have 4e-4 and 5e-4 for RoBERTa base; Liu et al. 2022 3e-3 for (IA)³.
ADAPTERS_RATE = 10.0


class FineTuning(BaseModel):
    """How a model for labelled rows is trained on top of an encoder."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Fine-tuning")

    freezing: Freezing = Field(
        "none",
        description="What stays as pretrained: none; embeddings; first_4, these and the first four layers, or another "
        "number; encoder, all but the head; biases, all but these and the head; gradual, one layer less in each epoch, "
        "from the top; two_stage, all but the head for a third of the run; lora, dora or ia3, all, with a few weights "
        "beside it that learn: narrow matrices, these and lengths, scales.",
    )
    lora: LoRA = Field(LoRA(), description="The narrow matrices of freezing=lora and dora.")
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Factor of the learning rate from each layer to the one below it; 0.95 for BERT, 1 for one rate.",
    )
    epochs: int = Field(3, ge=1, le=1000, description="Passes over the labelled rows, at most.")
    minimum_steps: int = Field(
        100, ge=1, description="Updates at least, whatever the number of rows: few labels need more passes."
    )
    batch_size: int = Field(512, ge=1, le=65536, description="Texts in an update, at most; fewer when rows are few.")
    learning_rate: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Peak rate of the encoder. Left out: 0.01 for vectors of words and bags; for a transformer by its "
        "width, 3e-4, from 512 1e-4, from 768 5e-5, and more for one with random weights; ten times that for lora, "
        "dora and ia3.",
    )
    head_learning_rate: float = Field(1e-2, gt=0, le=1, description="Peak rate of the head.")
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the updates over which the rates rise from zero.")
    weight_decay: float = Field(
        0.01, ge=0, le=1, description="Decoupled weight decay of the matrices, not of norms, biases and embeddings."
    )
    dropout: float = Field(
        0.1, ge=0, lt=1, description="Share of the features before the head that is zeroed in training."
    )
    gradient_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this norm.")
    precision: Precision = Field(
        "float32",
        description="Of the encoder's products in training; the head, sums and weights stay float32, and so does the "
        "model that is served. bfloat16 is faster on a GPU and on CPUs that have AMX.",
    )
    patience: int = Field(
        3, ge=1, description="Training stops after this many validations (of 6) without a better one."
    )
    maximum_tokens: int | None = Field(
        512,
        ge=1,
        description="Tokens of a text that are read; the rest is cut off. None: as many as 99 of 100 training rows "
        "have, if the encoder takes that many.",
    )

    def rate(self, network: Any, *, pretrained: bool = True) -> float:
        """Peak rate of an encoder's network."""
        if self.learning_rate is not None:
            return self.learning_rate
        if not hasattr(network, "finetuning_rate"):
            return WORDS_RATE
        rate: float = network.finetuning_rate if pretrained else network.rate_from_scratch
        return rate * (ADAPTERS_RATE if self.freezing in ADAPTED else 1.0)

    @property
    def most_tokens(self) -> int:
        """Tokens of a text that are read: all, as long as no number has been chosen."""
        return self.maximum_tokens or ALL_TOKENS

    def batch(self, rows: int) -> int:
        """Texts in an update: at least 32 updates a pass as long as the batch keeps 16 texts."""
        return min(self.batch_size, max(16, rows // 32), rows)

    def steps(self, rows: int) -> int:
        """Updates of a run that is not stopped early."""
        return max(self.epochs * -(-rows // self.batch(rows)), self.minimum_steps)
