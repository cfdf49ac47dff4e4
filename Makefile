# On a machine with Python 3.11+ and make, each target does all the set-up that it needs, in .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: quickstart test check clean

quickstart: $(VENV)/.quickstart
	$(BIN)/cryoprobe quickstart
	@echo "(To have cryoprobe on your path: . $(VENV)/bin/activate)"

test: $(VENV)/.dev
	$(BIN)/python -m pytest

check: $(VENV)/.dev
	mkdir -p .build && ln -sfn .. .build/cryoprobe
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=.build $(BIN)/mypy -p cryoprobe

clean:
	rm -rf $(VENV) .build build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.quickstart: pyproject.toml | $(BIN)/python
	@echo "Installing Cryoprobe into $(VENV); PyTorch is large, so the first time takes some minutes."
	$(PIP) install --editable '.[quickstart]'
	touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "Installing Cryoprobe into $(VENV); PyTorch is large, so the first time takes some minutes."
	$(PIP) install --editable '.[dev]'
	touch $@
