"""What is trained and how, as one configuration: a command's `--set` and a form reach both."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from sslcore.finetuning.config import FineTuning
from sslcore.finetuning.shapes.classification import Classification
from sslcore.finetuning.shapes.registry import AnyShape

Rate = Annotated[float, Field(gt=0, le=1)]


class Recipe(BaseModel):
    """Of a model of labelled rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shape: AnyShape = Field(default=Classification(), description="What the rows are.")
    finetuning: FineTuning = Field(default=FineTuning(), description="How the model is trained.")
    rates: tuple[Rate, ...] = Field(
        default=(),
        description="Peak learning rates of the encoder to choose among by the validation rows, a model each; empty: "
        "that of finetuning.",
    )
