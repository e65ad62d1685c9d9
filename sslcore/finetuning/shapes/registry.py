"""The shapes of labelled rows there are: the only list."""

from typing import Annotated

from pydantic import BaseModel, Field

from sslcore.finetuning.shapes.classification import Classification
from sslcore.finetuning.shapes.pairs import Pairs
from sslcore.finetuning.shapes.spans import SpanExtraction
from sslcore.finetuning.shapes.tagging import Tagging

Shapes = Classification | Tagging | Pairs | SpanExtraction
AnyShape = Annotated[Shapes, Field(discriminator="kind")]


def shape_kinds() -> dict[str, type[BaseModel]]:
    """Every shape by its kind."""
    return {shape.model_fields["kind"].default: shape for shape in Shapes.__args__}
