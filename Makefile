# Two commands matter: `make demo` and `make test`. Each works from a clean clone.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: setup demo test lint lesson clean

setup: $(STAMP)

# torch goes first and alone: left to a resolver, a plain range may pull a build of several gigabytes.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; run: make PYTHON=/path/to/python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[eval,train,dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/scenewright demo -o out/demo

# One thread per worker: two multi-threaded processes fight for the same cores.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# Runs notebooks/zestguide.ipynb in full (minutes) and renders docs/zestguide.md from it.
lesson: $(STAMP)
	$(BIN)/python notebooks/render.py

clean:
	rm -rf $(VENV) out
