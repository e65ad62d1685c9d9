"""The docstrings and long descriptions of installed packages, as a corpus whose label is the package.

Real prose that stands on every machine with the dependencies. Nothing is imported or executed. Docstrings are found by
where they stand (a triple-quoted string that opens a file or follows a line ending in a colon): parsing every module
with `ast` finds the same ones, fifteen times slower.

What is kept is the prose: examples after `>>>`, fenced code, underlines of headings and reST marks go. So do the names
of the packages themselves, which would give the label away.
"""

import ast
import importlib.metadata
import inspect
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from sslcore.corpus.compression import chunks
from sslcore.corpus.files import package_folder
from sslcore.corpus.markdown import plain_text
from sslcore.corpus.raw import RawDocument, RawFile
from sslcore.errors import UserError

DEFAULT_PACKAGES = (
    "gensim", "huggingface_hub", "matplotlib", "mlflow", "networkx", "numba", "numpy", "pandas", "prefect", "pyarrow",
    "pydantic", "scipy", "sklearn", "sqlalchemy", "sympy", "torch", "transformers",
)  # fmt: skip

_DISTRIBUTIONS = {"sklearn": "scikit-learn"}  # where the name to install is not the name to import
_ALIASES = {
    "huggingface_hub": ("hugging face", "huggingface"),
    "matplotlib": ("pyplot", "plt", "mpl"),
    "networkx": ("nx",),
    "numpy": ("np",),
    "pandas": ("pd",),
    "pyarrow": ("apache arrow", "pa", "pc", "pq"),
    "sklearn": ("scikit-learn", "scikit"),
    "sqlalchemy": ("sqla",),
    "torch": ("pytorch",),
}
_NOT_DOCUMENTATION = (
    "test", "tests", "testing", "_test", "_tests", "_testing", "testutils", "test_data", "benchmarks", "protos",
    "vendor", "vendored", "_vendor", "_vendored", "extern", "_extern", "externals", "third_party", "_third_party",
)  # fmt: skip

_TRIPLE_QUOTED = (
    r'"""[^"\\]*+(?:(?:\\.|"(?!""))[^"\\]*+)*"""' + "|" + r"'''[^'\\]*+(?:(?:\\.|'(?!''))[^'\\]*+)*'''"
)  # every character has one way to match: linear time, whatever the file
_DOCSTRING = re.compile(  # possessive on single characters only: Python before 3.11.5 gets possessive groups wrong
    r"(?:\A\ufeff?(?:[ \t]*+(?:\#[^\n]*+)?\n)*|:[ \t]*+(?:\#[^\n]*+)?\n\s*+)"
    rf"([rRuU]?+(?:{_TRIPLE_QUOTED}))[ \t]*+(?:\#[^\n]*+)?(?=\n|\Z)",
    re.DOTALL,
)
_STEPS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"^[ \t]*>>>.*\n(?:[ \t]*\S.*\n?)*", re.MULTILINE), ""),  # an example, down to the next blank line
    (re.compile(r"^[ \t]*(```|~~~).*?^[ \t]*\1[^\n]*$", re.DOTALL | re.MULTILINE), ""),
    (re.compile(r"^[ \t]*([-=~^*+#_\"])\1{2,}[ \t]*$", re.MULTILINE), ""),  # underlines
    (re.compile(r"^[ \t]*\.\. [\w-]+::[^\n]*$", re.MULTILINE), ""),  # directives
    (re.compile(r"^[ \t]*:[\w-]+:[ \t]*$", re.MULTILINE), ""),  # options of directives
    (re.compile(r":[\w:+-]+:`~?!?([^`<]*?)(?:\s*<[^`>]*>)?`"), r"\1"),  # roles
    (re.compile(r"``?([^`\n]+)``?_{0,2}"), r"\1"),
    (re.compile(r"\[`?([^\]\n`]+)`?\]\([^)\n]*\)"), r"\1"),  # Markdown links
    (re.compile(r"\*\*(?=\S)([^*\n]+)\*\*"), r"\1"),
    (re.compile(r"[ \t]+$", re.MULTILINE), ""),
    (re.compile(r"\n{3,}"), "\n\n"),
)


def documentation_files(packages: tuple[str, ...]) -> list[RawFile]:
    """The Python files and the metadata of each package, test folders and vendored copies left out.

    Raises UserError naming a package that is not installed.
    """
    files: list[RawFile] = []
    for package in packages:
        folder = package_folder(package)
        files += _python_files(package, folder)
        if metadata := _metadata(package):
            files.append(RawFile(f"{package}/METADATA", metadata.stat().st_size, str(metadata), "metadata", "", "file"))
    if not files:
        raise UserError("no packages were named; name at least one, such as packages=['numpy']")
    return sorted(files)


def read_documentation(file: RawFile, names: re.Pattern[str] | None, least_characters: int) -> Iterator[RawDocument]:
    """The documents of one such file; those shorter than `least_characters` after cleaning are not documentation."""
    package = file.name.partition("/")[0]
    data = b"".join(chunks(file))
    source = data.decode("utf-8", "replace").replace("\r\n", "\n")
    if file.format == "metadata":
        text = plain_text(source.partition("\n\n")[2])
        if text := prose(text, names):
            yield RawDocument(file.name, text, package)
        return
    for line, docstring in docstrings(source, least_characters):
        text = prose(inspect.cleandoc(docstring), names)
        if len(text) >= least_characters:
            yield RawDocument(f"{file.name}:{line}", text, package)


def docstrings(source: str, least_characters: int = 0) -> Iterator[tuple[int, str]]:
    """Line number and value of each docstring of modules, classes and functions, in the order of the file."""
    if '"""' not in source and "'''" not in source:
        return
    line, counted = 1, 0
    for match in _DOCSTRING.finditer(source):
        if match.end(1) - match.start(1) < least_characters:
            continue
        line += source.count("\n", counted, match.start(1))
        counted = match.start(1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            try:
                yield line, ast.literal_eval(match.group(1))
            except (SyntaxError, ValueError):
                continue  # a null byte or an unfinished escape: Python itself would refuse this file


def prose(text: str, names: re.Pattern[str] | None) -> str:
    """The readable part of a docstring, without the given names."""
    for pattern, replacement in _STEPS:
        text = pattern.sub(replacement, text)
    if names is not None:
        text = names.sub("", text)
    return text.strip()


def name_pattern(packages: tuple[str, ...]) -> re.Pattern[str]:
    """Matches the packages' names and usual aliases as whole words, with the dot that follows (`np.mean` → `mean`)."""
    names = {alias for package in packages for alias in (package, *_ALIASES.get(package, ()))}
    either = "|".join(re.escape(name) for name in sorted(names, key=lambda name: (-len(name), name)))
    initial = "".join(sorted({name[0] for name in names}))  # looked at first, which halves the time
    return re.compile(rf"(?<![\w.-])(?=[{initial}])(?:{either})(?:\.(?=\w)|(?![\w-]))", re.IGNORECASE)


def _python_files(package: str, folder: Path) -> Iterator[RawFile]:
    if folder.is_file():
        yield RawFile(folder.name, folder.stat().st_size, str(folder), "python", "", "file")
        return
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _NOT_DOCUMENTATION and not name.startswith((".", "__"))]
        for name in files:
            if name.endswith(".py") and not name.startswith("test_") and not name.endswith(("_test.py", "_pb2.py")):
                path = os.path.join(place, name)
                relative = os.path.relpath(path, folder).replace(os.sep, "/")
                yield RawFile(f"{package}/{relative}", os.stat(path).st_size, path, "python", "", "file")


def _metadata(package: str) -> Path | None:
    try:
        distribution = importlib.metadata.distribution(_DISTRIBUTIONS.get(package, package))
    except importlib.metadata.PackageNotFoundError:
        return None
    path = Path(str(distribution.locate_file("")), f"{distribution.metadata['Name']}-{distribution.version}.dist-info")
    candidates = [path, path.with_name(path.name.replace("-", "_", path.name.count("-") - 2))]
    return next((p / "METADATA" for p in candidates if (p / "METADATA").is_file()), None)
