# Everything runs in .venv, which the first target that needs it makes.
# A fresh machine needs Python 3.11 or newer, and make.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# Most tests wait for processes and for clocks, so one more of them than there are cores.
PROCESSES ?= 3
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test lint types contracts check bench peers soak docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## parse the standard library on two workers and an embedded server
	$(BIN)/python examples/census.py

test: lint types contracts check ## everything that must hold: what CI runs

lint: $(READY) ## formatting and rules
	$(BIN)/ruff format --check
	$(BIN)/ruff check

types: $(READY) ## pyright, strict, and the completeness of the public types
	$(BIN)/pyright
	$(BIN)/python tests/typing/verify.py

contracts: $(READY) ## who may import whom
	$(BIN)/lint-imports

check: $(READY) ## the tests, with the floor of coverage
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest --numprocesses $(PROCESSES) --dist worksteal
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

bench: $(READY) ## the table of speed budgets
	$(BIN)/python -m benchmarks

peers: $(READY) ## the same questions to other queues, in virtual environments of their own
	$(BIN)/python -m benchmarks.peers

soak: $(READY) ## the long runs
	$(BIN)/python -m pytest -m soak --timeout 3600

docs: $(READY) ## the documentation, warnings as errors
	$(BIN)/pip install --quiet --editable '.[docs]'
	$(BIN)/sphinx-build -W -n -b html docs docs/_build/html

clean: ## remove what the targets above have made
	rm -rf .venv .venvs .pytest_cache .ruff_cache .hypothesis .import_linter_cache docs/_build
	rm -rf .aioq .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[checks]'
	touch $(READY)
