"""flows → tasks → sslcore, and nothing the other way; the library without its orchestration; light commands light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("sslcore", "tasks", "flows")
MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
ALLOWED = {"sslcore": {"sslcore"}, "tasks": {"sslcore", "tasks"}, "flows": {"sslcore", "tasks", "flows"}}
TRACKERS = {f"tasks/{name}.py" for name in ("tracking", "recording", "flow_runs", "model_registry", "served_model")}
HEAVY = {
    "torch", "sklearn", "pandas", "gensim", "numba", "trafilatura", "prefect", "mlflow", "pyarrow", "numpy", "scipy",
    "transformers", "matplotlib", "tokenizers", "hypothesis",
}  # fmt: skip


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every import in a file, also of those inside functions and under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import hides which package is meant"
            yield node.lineno, node.module or ""


def test_every_package_is_looked_at() -> None:
    assert {name_of(path).split(".")[0] for path in MODULES} == set(PACKAGES)


def test_imports_go_from_flows_to_tasks_to_sslcore() -> None:
    wrong = []
    for path in MODULES:
        package, file = path.relative_to(ROOT).parts[0], path.relative_to(ROOT).as_posix()
        for line, module in imported(path):
            top = module.split(".")[0]
            if top in set(PACKAGES) - ALLOWED[package]:
                wrong.append(f"{file}:{line}: {package} must not import {module}")
            if package == "sslcore" and top in ("prefect", "mlflow"):
                wrong.append(f"{file}:{line}: sslcore is useful without {top}")
            if top == "mlflow" and file not in TRACKERS:
                wrong.append(f"{file}:{line}: mlflow is imported only by {sorted(TRACKERS)}")
    assert wrong == []


def test_a_module_is_named_for_one_idea_and_can_be_read_at_a_sitting() -> None:
    catch_alls = {"utils", "util", "common", "constants", "helpers", "misc", "types", "datasets"}
    assert [name_of(path) for path in MODULES if path.stem in catch_alls] == []
    lines = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: count for name, count in lines.items() if count > 450} == {}, "what is its second idea?"


def test_flows_do_not_postpone_annotations() -> None:
    """With `from __future__ import annotations` a deployed flow fails: its parameter types are "not fully defined"."""
    flows = [path for path in MODULES if path.relative_to(ROOT).parts[0] == "flows"]
    assert [name_of(path) for path in flows if "__future__" in {module for _, module in imported(path)}] == []


BLOCKED = """
import importlib, sys
for name in ("prefect", "mlflow", "tasks", "flows"):
    sys.modules[name] = None  # an import of it raises ImportError
for module in sys.argv[1:]:
    importlib.import_module(module)
"""


def test_every_module_of_sslcore_imports_where_prefect_and_mlflow_are_not_installed() -> None:
    modules = [name_of(path) for path in MODULES if path.parts[len(ROOT.parts)] == "sslcore"]
    subprocess.run([sys.executable, "-c", BLOCKED, *modules], check=True, cwd=ROOT)


LOADED_FOR_HELP = """
import sys
sys.argv = ["sslcore", *sys.argv[1:]]
from flows.cli import main
try:
    main()
except SystemExit as leave:
    assert not leave.code, leave.code
print(*sorted({name.split(".")[0] for name in sys.modules}), sep="\\n", file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["up", "--help"], ["store", "--help"]], ids=" ".join
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED_FOR_HELP, *arguments], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "Usage" in done.stdout
    assert HEAVY & set(done.stderr.split()) == set()
