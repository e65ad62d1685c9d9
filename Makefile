# The two commands: `make run` (the main job on real text) and `make test`. Both set themselves up first.
PYTHON ?= python3
BIN := .venv/bin
export DO_NOT_TRACK = 1

.PHONY: run test test-all check up down setup lock

run: setup  ## the whole job on the documentation of the installed packages
	$(BIN)/sslcore run configs/installed_documentation.yaml

test: setup  ## the tests a change must pass, minutes
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not gpu"

test-all: setup  ## also those that need minutes, servers or a browser
	$(BIN)/python -m pytest

check: setup  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

up: setup  ## Prefect UI, MLflow UI, a worker and the deployments
	$(BIN)/sslcore up

down: setup
	$(BIN)/sslcore down

setup: .venv/.complete

.venv/.complete: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else f"sslcore needs Python 3.11 to 3.13, this is {v.major}.{v.minor}; try: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

lock:  ## write down the versions installed now
	{ sed -n '/^#/p' requirements.lock; $(BIN)/pip freeze --all --exclude-editable --exclude pip | sed -e 's/^\(torch==.*\)+cpu$$/\1/' -e 's/^triton==.*/&; platform_system == "Linux"/' | LC_ALL=C sort -f; } > .lock.new
	mv .lock.new requirements.lock
