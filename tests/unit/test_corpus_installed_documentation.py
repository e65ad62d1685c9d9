"""Documentation of installed packages: what `ast` finds, without parsing or importing; prose; no label given away."""

import ast
import sys
from collections import Counter
from pathlib import Path

import pytest

from sslcore.corpus.files import package_folder
from sslcore.corpus.installed_documentation import (
    DEFAULT_PACKAGES,
    docstrings,
    documentation_files,
    name_pattern,
    prose,
)
from sslcore.corpus.raw import RawDocument
from sslcore.corpus.sources import InstalledDocumentation, raw_files, read_documents
from sslcore.errors import UserError

MODULE = '''# -*- coding: utf-8 -*-
"""Module docstring.

Second paragraph."""
import os

TEMPLATE = """not a docstring at all"""


class Thing(
    object,
):
    r"""Class docstring with \\a backslash."""

    def method(self, x: int = 3) -> None:  # a comment
        """Method docstring."""
        text = {"key":
                1}
        return """not a docstring either"""

    async def other(self):
        \'\'\'Other "quoted" docstring.\'\'\'


def without():
    return 1
'''


def by_ast(source: str) -> list[str]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [ast.get_docstring(node, clean=False) for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]
    return [docstring for docstring in found if docstring]


def test_docstrings_of_a_module_with_their_lines() -> None:
    found = list(docstrings(MODULE))
    assert found == [
        (2, "Module docstring.\n\nSecond paragraph."),
        (13, "Class docstring with \\a backslash."),
        (16, "Method docstring."),
        (22, 'Other "quoted" docstring.'),
    ]
    assert Counter(text for _, text in found) == Counter(by_ast(MODULE))
    assert list(docstrings(MODULE, least_characters=30)) == [found[0], found[1], found[3]]


@pytest.mark.parametrize("package", ["gensim", "networkx", "pydantic"])
@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
def test_real_packages_give_what_ast_gives(package: str) -> None:
    ours: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    for path in sorted(package_folder(package).rglob("*.py"))[:60]:
        source = path.read_text(encoding="utf-8")
        ours.update(text for _, text in docstrings(source) if len(text) >= 100)
        wanted.update(text for text in by_ast(source) if len(text) >= 100)
    assert wanted.total() > 80
    assert (ours & wanted).total() >= 0.99 * wanted.total()
    assert (ours - wanted).total() <= 0.01 * wanted.total()


def test_a_file_that_is_all_quotes_takes_linear_time() -> None:
    assert list(docstrings('def f():\n    """' + 'a\\"' * 400_000)) == []
    assert list(docstrings('"""x""" + \n' * 100_000)) == []


def test_nothing_is_imported() -> None:
    before = set(sys.modules)
    for file in documentation_files(("sympy",))[:40]:
        list(read_documents(InstalledDocumentation(packages=("sympy",)), file))
    assert not {name for name in set(sys.modules) - before if name.startswith("sympy")}


def test_tests_vendored_copies_and_generated_files_are_left_out() -> None:
    names = [file.name for file in documentation_files(("numpy", "sklearn", "huggingface_hub"))]
    parts = {part for name in names for part in name.split("/")[:-1]}
    assert not parts & {"tests", "test", "externals", "_vendored", "__pycache__"}
    assert not [name for name in names if name.endswith("_pb2.py") or "/test_" in name]
    assert "numpy/METADATA" in names
    assert "sklearn/METADATA" in names
    assert "huggingface_hub/METADATA" in names


def test_prose_is_what_one_would_read_aloud() -> None:
    docstring = (
        "Compute the thing.\n\nParameters\n----------\nx : int\n    A :class:`~numpy.ndarray` or ``None``, see\n"
        "    `the guide <https://x.y>`_ and [this](http://z).\n\nExamples\n--------\n>>> import numpy as np\n"
        ">>> np.add(1, 2)\n3\n\n```python\ncode\n```\n\n.. versionadded:: 1.2\n\nMore **words**."
    )
    said = prose(docstring, None)
    assert said.startswith("Compute the thing.\n\nParameters\n\nx : int\n    A numpy.ndarray or None, see\n")
    assert said.endswith("More words.")
    for mark in (">>>", "----", "```", "::", "**", "np.add", "versionadded"):
        assert mark not in said


def test_package_names_do_not_give_the_label_away() -> None:
    names = name_pattern(DEFAULT_PACKAGES)
    text = "Use np.mean, numpy.mean, pd.DataFrame or PyTorch; scikit-learn's and torch.nn.Linear. Expand torchlike."
    assert prose(text, names) == "Use mean, mean, DataFrame or ; 's and nn.Linear. Expand torchlike."
    packages = ("networkx", "gensim")
    for hide in (True, False):
        source = InstalledDocumentation(packages=packages, hide_package_names=hide)
        documents = [d for file in raw_files(source) for d in read_documents(source, file)]
        told = sum(isinstance(d, RawDocument) and str(d.label) in d.text.lower().split() for d in documents)
        assert (told == 0) == hide


def test_documents_carry_package_and_place() -> None:
    source = InstalledDocumentation(packages=("gensim", "networkx"), least_characters=300)
    files = raw_files(source)
    documents = [d for file in files for d in read_documents(source, file)]
    labels = Counter(d.label for d in documents if isinstance(d, RawDocument))
    assert set(labels) == {"gensim", "networkx"}
    assert min(labels.values()) > 200
    for document in documents[:50]:
        name, _, line = document.origin.partition(":")
        file = next(file for file in files if file.name == name)
        if line:
            assert '"""' in Path(file.location).read_text().split("\n")[int(line) - 1]
    assert min(len(d.text) for d in documents if ":" in d.origin) >= 300


def test_a_package_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match=r"'nosuchpackage' is not installed.*pip install nosuchpackage"):
        raw_files(InstalledDocumentation(packages=("numpy", "nosuchpackage")))
