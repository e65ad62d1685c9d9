"""The shapes of labelled rows there are: the only list."""

from pydantic import TypeAdapter

from sslcore.finetuning.shapes.classification import Classification

AnyShape = Classification  # a union by `kind` from the second on

SHAPES: TypeAdapter[AnyShape] = TypeAdapter(AnyShape)
