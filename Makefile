# `make help` lists the targets. Every target makes what it needs, so that each
# works from a fresh clone with Python 3.11 or 3.12 and make alone.

VENV    := .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.installed
EXTRAS  := audio,vocabulary,images,tfmot,serving,report,dev
# Test processes. TensorFlow computes with one thread in each (conftest.py).
WORKERS ?= 2
# More options for pytest: make test ARGS="-k shrink"
ARGS    ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The first interpreter that runs and is a 3.11 or 3.12 with venv. A name on the
# PATH proves nothing: it may be a version manager's shim with nothing behind.
# `make install PYTHON=/path/to/python` chooses one.
CHECK_PYTHON := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
FIND_PYTHON = for python in $(or $(PYTHON),python3.11 python3.12 python3 python \
	/usr/local/bin/python3.11 /usr/local/bin/python3.12 /usr/bin/python3.11 /usr/bin/python3.12 \
	$(HOME)/.pyenv/versions/3.11.*/bin/python $(HOME)/.pyenv/versions/3.12.*/bin/python); do \
		if "$$python" -c '$(CHECK_PYTHON)' >/dev/null 2>&1; then echo "$$python"; break; fi; \
	done

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test test-all lint format types contracts check bench results wheel clean

help: ## List these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 12

install: $(STAMP) ## Build .venv with everything (all extras) from the package registries

$(STAMP): setup.cfg constraints.txt
	@python=$$($(FIND_PYTHON)); \
	if [ -z "$$python" ]; then \
		echo "make: no Python 3.11 or 3.12 with venv found$(if $(PYTHON), at '$(PYTHON)'); install one (on Debian: apt install python3 python3-venv) or name one: make install PYTHON=/path/to/python" >&2; \
		exit 2; \
	fi; \
	"$(BIN)/python" -c '$(CHECK_PYTHON)' >/dev/null 2>&1 || { \
		echo "Making $(VENV) with $$python ($$("$$python" -V))"; \
		"$$python" -m venv --clear $(VENV); \
	}
	@echo "Installing hlstm_tf and what it needs (3 GB of disk, a few minutes)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt pip setuptools
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

demo: $(STAMP) ## The main job: GP-train a small speech recogniser and export it (10 minutes)
	$(BIN)/python -m apps.speech demo

PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test: $(STAMP) ## Every test and doctest by its most telling cases (make test ARGS="-k shrink")
	$(PYTEST) $(ARGS)

test-all: $(STAMP) ## Before a release: all cases of all tests but the long trainings (make test ARGS="-m training")
	HYPOTHESIS_PROFILE=$${HYPOTHESIS_PROFILE:-quick} $(PYTEST) -m "not training" --compiled $(ARGS)

lint: $(STAMP) ## Style and likely bugs (ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## Put the code into ruff's format and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP) ## Type hints (mypy)
	$(BIN)/mypy

contracts: $(STAMP) ## Which package may import which (import-linter)
	$(BIN)/lint-imports

check: lint types contracts ## lint, types and contracts

bench: $(STAMP) ## The benchmarks, in their short form
	$(BIN)/python benchmarks/run_all.py --quick

results: $(STAMP) ## The benchmarks in full, written to benchmarks/RESULTS.md (25 minutes)
	$(BIN)/python benchmarks/run_all.py --markdown benchmarks/RESULTS.md --plot benchmarks/width_sweep.png

wheel: $(STAMP) ## Build the wheel and the source archive into dist/
	$(BIN)/python -m build

clean: ## Remove .venv, caches and build folders (what demo and runs made stays)
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
