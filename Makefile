# On a machine with Python 3.11+ and make, each target does all the set-up that it needs, in .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# Tests in several processes; OpenMP's threads must not spin while another process has the core.
JOBS ?= $(shell $(PYTHON) -c "import os; print((os.cpu_count() or 1) + 1)")
PYTEST := OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

# Compiled once, also where Python is not to write what it compiles: each process that a test starts took 0.3 s for that.
COMPILE := @env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m compileall -q *.py commands pipeline stores testing tests/support

NEWEST ?= $(shell .ci/newest-python)
STORES := .venv-stores

.PHONY: quickstart suite test test-fast test-stores check site clean

quickstart: $(VENV)/.quickstart
	$(BIN)/cryoprobe quickstart
	@echo "(To have cryoprobe on your path: . $(VENV)/bin/activate)"

# 3 encoders x 3 data sets x 4 protocols; started again, it goes on. One data set is Debian's dataset-fashion-mnist.
SUITE_STORE ?= $(CURDIR)/suite-features
suite: $(VENV)/.suite
	cd examples && { $(abspath $(BIN))/cryoprobe run suite.toml --store $(SUITE_STORE); code=$$?; \
	$(abspath $(BIN))/cryoprobe report --store $(SUITE_STORE) -o $(CURDIR)/suite.html && exit $$code; }

test: $(VENV)/.dev
	$(COMPILE)
	$(PYTEST)

# The inner loop: without an S3 server, and without tests that take long (tests/support/long_tests.py).
test-fast: $(VENV)/.dev
	$(COMPILE)
	$(PYTEST) -m "not slow and not long and not s3"

# The store needs no torch: its tests on the newest Python that is there, with the newest zarr that pip finds for it.
test-stores:
ifeq ($(NEWEST),)
	@echo "test-stores: no Python 3.12 or later is here; left out."
else
	$(NEWEST) -m venv $(STORES)
	$(STORES)/bin/python -m pip --disable-pip-version-check --quiet install --requirement tests/stores/requirements.txt
	$(STORES)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --editable .
	$(STORES)/bin/python -m pytest -n $(JOBS) --dist worksteal -m "not slow and not s3" tests/stores
endif

check: $(VENV)/.dev | .build/cryoprobe
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=.build $(BIN)/mypy -p cryoprobe

# The pages of docs/, and the reference from docstrings and commands, in site/: no network is asked.
site: $(VENV)/.dev | .build/cryoprobe
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

clean:
	rm -rf $(VENV) $(STORES) .build build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# The repository's folder under the package's name.
.build/cryoprobe:
	mkdir -p .build && ln -sfn .. $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.quickstart: pyproject.toml | $(BIN)/python
	@echo "Installing Cryoprobe into $(VENV); PyTorch is large, so the first time takes some minutes."
	$(PIP) install --editable '.[quickstart]'
	touch $@

$(VENV)/.suite: pyproject.toml | $(BIN)/python
	@echo "Installing Cryoprobe into $(VENV); PyTorch is large, so the first time takes some minutes."
	$(PIP) install --editable '.[suite,report]'
	touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "Installing Cryoprobe into $(VENV); PyTorch is large, so the first time takes some minutes."
	$(PIP) install --editable '.[dev]'
	touch $@
