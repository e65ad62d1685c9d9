"""Flows whose forms ask for one thing each: a union draws badly in Prefect's UI, the fields of one model well."""

import inspect
from typing import Annotated, Any

from prefect import Flow, flow
from pydantic import BaseModel

from tasks.flow_runs import HOOKS


def flattened(whole: "Flow[..., Any]", parameter: str, model: type[BaseModel], name: str) -> "Flow[..., Any]":
    """The flow with `parameter` a `model`, whose fields (but `kind`) become the flow's own: its form explains each.

    The first parameter of the flow stays the first; what the model says of itself is the flow's description.
    """
    fields = {name: field for name, field in model.model_fields.items() if name != "kind"}
    shared = inspect.signature(whole.fn).parameters
    first, *others = (shared[name] for name in shared if name != parameter)

    def by_fields(*positional: Any, **given: Any) -> Any:
        own = {name: given.pop(name) for name in fields if name in given}
        return whole.fn(*positional, **given, **{parameter: model.model_validate(own)})

    own = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation,
        )
        for name, field in fields.items()
    ]
    common = [other.replace(kind=inspect.Parameter.KEYWORD_ONLY) for other in others]
    returned = inspect.signature(whole.fn).return_annotation
    by_fields.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [first, *(p for p in common if p.default is inspect.Parameter.empty), *own]
        + [p for p in common if p.default is not inspect.Parameter.empty],
        return_annotation=returned,
    )
    said = inspect.getdoc(whole.fn) or ""
    explained = [f"    {name}: {field.description}" for name, field in fields.items()]
    arguments = [line for line in said.split("Args:\n")[1].split("\n") if f"    {parameter}: " not in line]
    by_fields.__doc__ = "\n".join([inspect.getdoc(model) or "", "", "Args:", *explained, *arguments])
    by_fields.__name__ = name.replace("-", "_")
    return flow(name=name, **HOOKS)(by_fields)
