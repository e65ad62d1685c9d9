"""What each objective says of itself in the docstring of its file, as a table for people who have to choose one."""

import re
import sys
import textwrap
from typing import NamedTuple, get_args

from sslcore.objectives.family import Family
from sslcore.objectives.registry import objective_kinds

LABELS = ("Wants", "Requires", "Costs", "Relation")


class Description(NamedTuple):
    """One objective."""

    kind: str
    family: str  # context, reconstruction, order, contrast or combination
    title: str
    summary: str
    source: str  # the paragraph that names the papers
    wants: str
    requires: str
    costs: str
    relation: str

    def lines(self) -> list[str]:
        """For a screen."""
        texts = [self.summary, self.source, *(f"{label}: {getattr(self, label.lower())}" for label in LABELS)]
        wrapped = [line for text in texts for line in textwrap.wrap(text, 112, subsequent_indent="  ")]
        return [f"{self.kind}  ({self.family})", *(f"    {line}" for line in wrapped), ""]


def descriptions() -> list[Description]:
    """Of every registered objective, by family."""
    found = []
    for kind, model in objective_kinds().items():
        paragraphs = [" ".join(p.split()) for p in (sys.modules[model.__module__].__doc__ or "").split("\n\n")]
        said = {label: _said(label, paragraphs) for label in LABELS}
        found.append(
            Description(
                kind,
                model.family,
                str(model.model_config["title"]),
                " ".join((model.__doc__ or "").split()),
                next((text for text in paragraphs if re.search(r"\b(19|20)\d\d", text)), ""),
                *(said[label] for label in LABELS),
            )
        )
    order = get_args(Family)
    return sorted(found, key=lambda description: order.index(description.family))


def _said(label: str, paragraphs: list[str]) -> str:
    """What follows `label:` up to the next label or the paragraph's end; empty without it."""
    others = "|".join(LABELS)
    for paragraph in paragraphs:
        if match := re.search(rf"\b{label}: (.*?)(?=\s(?:{others}): |$)", paragraph):
            return match[1]
    return ""
