PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help env run test test-fast lint format bench docs clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: $(VENV)/.installed  ## make .venv with archgraph (editable) and all that its tests and lint need

run: env  ## build one model end to end from its spec: shapes, cost, module, a forward pass on a photo
	$(BIN)/archgraph build hornet --variant tiny_7x7 --input flower

test: env  ## every test
	$(BIN)/python -m pytest -n $(JOBS)

test-fast: env  ## the tests that take seconds
	$(BIN)/python -m pytest -n $(JOBS) -m "not slow"

lint: env  ## ruff and mypy, changing nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: env  ## ruff's fixes and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-bench  ## time and compare with other tools
	$(BIN)/python -m tools.bench

docs: env  ## regenerate the language reference and the JSON schema
	$(BIN)/python -m tools.docs

clean:  ## remove .venv, caches and outputs
	rm -rf $(VENV) build dist out .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps make a second call instant; a changed requirement installs again, into the same environment. torch goes
# in first and at the pinned version: whatever needs torch is then content with it and brings no other build.
$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) -e '.[search,data,cluster,test,lint]'
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	$(PIP) -e '.[bench]'
	@touch $@
