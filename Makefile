.PHONY: help test slow lint docs
PYTHON ?= .venv/bin/python

help:            ## say what there is
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*##/\t/'

.venv:           ## an environment with all that development needs
	python3 -m venv .venv && .venv/bin/pip install --quiet -e '.[dev]'

test: .venv      ## the default tests, on the checkout
	$(PYTHON) -m pytest

slow: .venv      ## the long checks
	$(PYTHON) -m pytest -m "slow or exhaustive"

lint: .venv      ## style, types, floors
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && .venv/bin/lint-imports

docs: .venv      ## draw the figures of the documentation anew
	$(PYTHON) docs/figures.py
