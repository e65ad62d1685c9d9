"""`sslcore objectives`: what each file says of its objective, whole."""

import json
import re

import pytest
from typer.testing import CliRunner

from flows.cli import app
from sslcore.objectives.description import Description, descriptions
from sslcore.objectives.registry import objective_kinds

FOUND = descriptions()


def test_every_objective_is_there_by_family() -> None:
    assert {d.kind for d in FOUND} == set(objective_kinds())
    order = [("context", "reconstruction", "order", "contrast", "combination").index(d.family) for d in FOUND]
    assert order == sorted(order)


@pytest.mark.parametrize("description", FOUND, ids=lambda d: d.kind)
def test_it_says_its_paper_and_what_it_wants_needs_and_is_related_to(description: Description) -> None:
    assert all(description)
    assert re.search(r"(19|20)\d\d", description.source)
    named = set(re.findall(r"`([a-z]+_[a-z_]+)`", description.relation))
    assert named <= set(objective_kinds()) | {"wants"}, named


def test_the_command_prints_the_same() -> None:
    said = json.loads(CliRunner().invoke(app, ["objectives", "--json"]).stdout)
    assert said == {"objectives": [d._asdict() for d in FOUND]}
    screen = CliRunner().invoke(app, ["objectives"]).stdout
    assert all(f"{d.kind}  ({d.family})" in screen for d in FOUND)
