"""The pretext objectives: the only list. A new one is one new file here and its name in the union below.

Those that train a transformer which sees both sides of a token stand in members.py: they can be combined, too.

What an objective is made of stands in `ObjectiveSeam` (seam.py) and in docs/objectives.md.
"""

from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from sslcore.errors import UserError
from sslcore.objectives.autoencoder import Autoencoder
from sslcore.objectives.causal_lm import CausalLM
from sslcore.objectives.cbow import CBOW
from sslcore.objectives.combined import Combined
from sslcore.objectives.contractive_autoencoder import ContractiveAutoencoder
from sslcore.objectives.convolutional_autoencoder import ConvolutionalAutoencoder
from sslcore.objectives.denoising_autoencoder import DenoisingAutoencoder
from sslcore.objectives.fast_text import FastText
from sslcore.objectives.label_augmentation import LabelAugmentation
from sslcore.objectives.members import OfTwoSides
from sslcore.objectives.s4l import S4L
from sslcore.objectives.skip_gram import SkipGram
from sslcore.objectives.sparse_autoencoder import SparseAutoencoder
from sslcore.objectives.stacked_autoencoder import StackedAutoencoder
from sslcore.objectives.variational_autoencoder import VariationalAutoencoder

AnyObjective = (
    SkipGram
    | CBOW
    | FastText
    | DenoisingAutoencoder
    | OfTwoSides
    | CausalLM
    | LabelAugmentation
    | Combined
    | S4L
    | Autoencoder
    | StackedAutoencoder
    | SparseAutoencoder
    | ContractiveAutoencoder
    | ConvolutionalAutoencoder
    | VariationalAutoencoder
)
Objective = Annotated[AnyObjective, Field(discriminator="kind")]

DEFAULT_OBJECTIVES: tuple[AnyObjective, ...] = (SkipGram(), DenoisingAutoencoder())
"""What a job pretrains when nothing is said."""

OBJECTIVE: TypeAdapter[Objective] = TypeAdapter(Objective)


def parse_objective(description: dict[str, Any]) -> AnyObjective:
    """The objective that a dictionary describes. Raises UserError naming the field that is wrong."""
    try:
        return OBJECTIVE.validate_python(description)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UserError(f"objective: {field + ': ' if field else ''}{first['msg']}") from error


def objective_kinds() -> dict[str, type[AnyObjective]]:
    """Every registered objective by its kind."""
    return {o.model_fields["kind"].default: o for o in AnyObjective.__args__}
