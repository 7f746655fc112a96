# Each target sets up what it needs: a virtual environment in .venv, from the pinned constraints.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/ready
HOUSEHOLDS ?= 500
JOBS   ?= 2

.PHONY: help run test browser check bench format constraints clean
help:
	@echo "make run    the service on real sample data (HOUSEHOLDS=500|all, HOST, PORT)"
	@echo "make test   all tests, on a real MongoDB and in a real Chromium"
	@echo "make check  ruff, mypy, import-linter, OpenAPI drift"
	@echo "make bench  benchmarks, side by side with peers"

run: $(READY)
	@$(BIN)/carnet run --households $(HOUSEHOLDS)

test: $(READY) browser
	$(BIN)/python -m pytest -n $(JOBS)

# The pages are tested in a real Chromium: the system's, or installed here.
browser: $(READY)
	@$(BIN)/python -m tests.browser.chromium

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/carnet openapi --check

bench: $(READY)
	$(BIN)/python -m benchmarks

format: $(READY)
	$(BIN)/ruff check --fix --select I .
	$(BIN)/ruff format .

# Pins every package by version and hash, without the address of any index.
constraints: $(READY)
	$(BIN)/pip-compile -q --all-extras --generate-hashes --strip-extras --allow-unsafe \
	  --no-header --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	  -o constraints.txt pyproject.toml

clean:
	rm -rf $(VENV) .carnet build *.egg-info

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Carnet needs Python 3.11 or newer; found: $$($(PYTHON) --version)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	  --no-deps -r constraints.txt
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  --no-build-isolation --editable .
	@touch $(READY)
