# make demo   train, attack, release and report on procedural faces
# make test   every test that needs no accelerator
# make check  lint, types, and the direction of imports
#
# PYTHON=python3.12 chooses another interpreter; RUN=... another run directory.

PYTHON ?= python3
VENV ?= .venv
RUN ?= runs/demo

BIN := $(VENV)/bin
READY := $(VENV)/.installed
.DEFAULT_GOAL := help
.PHONY: help demo test check lint format typecheck imports bench lock clean

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

# A folder name that exists is not proof that everything was installed into it,
# so the last step of the recipe leaves a stamp.
$(READY): pyproject.toml requirements.lock tools/make_venv.sh
	@PYTHON="$(PYTHON)" tools/make_venv.sh "$(VENV)"
	@touch $(READY)

$(VENV): $(READY)

demo: $(READY)
	@PYTHON="$(abspath $(BIN))/python" tools/demo.sh "$(RUN)"

test: $(READY)
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile \
	  --no-loadscope-reorder $(PYTEST_ARGS)

check: lint typecheck imports

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: $(READY)
	$(BIN)/mypy

imports: $(READY)
	$(BIN)/python tools/check_imports.py

bench: $(READY)
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

# Rewrites requirements.lock: the newest releases within pyproject.toml, for
# every Python and platform that it admits, with hashes and without addresses.
lock: $(READY)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra test --extra dev --universal \
	  --python-version 3.11 --upgrade --generate-hashes --quiet \
	  --no-annotate --no-emit-index-url --custom-compile-command "make lock" \
	  --output-file requirements.lock

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
