# Nothing but make and Python 3.11 or newer is needed: everything is installed into .venv.
# Another Python: make demo PYTHON=python3.11

PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
INSTALLED := .venv/.installed

.PHONY: help demo test lint types format bench
.DEFAULT_GOAL := help

help: ## what can be made
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16

demo: $(INSTALLED) ## train on a sample animal without a GPU, and show what comes out (minutes)
	@dimo demo

test: lint types ## lint, types and tests
	@OMP_NUM_THREADS=1 pytest -q -n auto --dist loadfile --no-loadscope-reorder

lint: $(INSTALLED) ## lint only
	@ruff check
	@ruff format --check

types: $(INSTALLED) ## types only
	@pyright

format: $(INSTALLED) ## format the code and mend what lint can mend
	@ruff check --fix
	@ruff format

bench: $(INSTALLED) ## run the benchmarks that need no data (minutes); the others: benchmarks/README.md
	@set -e; for name in rasterizer training_step html_player; do echo "$$name"; python -m benchmarks.$$name; done

$(INSTALLED): pyproject.toml .ci/setup .ci/torchvision_without_cuda.py
	@PYTHON="$(PYTHON)" .ci/setup
	@touch $@
