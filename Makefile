# `make` lists what there is.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest
# Real servers are shared inside one pytest worker.
WORKERS ?= 2
DATA ?= .demo

.PHONY: help
help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: demo
demo: prepare ## Run the main job: a county's network, live (ONCE=1 JSON=FILE DATA=DIR)
	@$(PYTHON) deploy/demo/run.py --started "$$(date +%s.%N)" --data '$(DATA)' $(if $(ONCE),--once) $(if $(JSON),--json '$(JSON)')

.PHONY: test
test: prepare-dev ## Pass all tests, real servers included
	@$(PYTEST) -n $(WORKERS) --dist loadgroup

.PHONY: check
check: prepare-dev ## Format, lint, types, import contracts, architecture tests
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@$(PYTEST) -q -p no:cacheprovider tests/architecture

.PHONY: drills
drills: prepare-dev ## Kill things at random moments, many seeds (ONLY=road SEEDS=30)
	@$(PYTHON) -m tests.drills $(if $(ONLY),--only '$(ONLY)') $(if $(SEEDS),--seeds '$(SEEDS)')

.PHONY: bench
bench: prepare-bench ## Measure against DCMTK and Orthanc: a table and build/bench.json (ONLY=IDS BENCH_DATA=DIR)
	@$(if $(BENCH_DATA),BENCH_DATA='$(BENCH_DATA)') $(PYTHON) -m tests.benchmarks $(if $(ONLY),--only '$(ONLY)')

.PHONY: format
format: prepare-dev ## Format and mend what ruff can mend
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

.PHONY: prepare
prepare: ## What the demo needs: Python packages, viewer
	@deploy/prepare.sh runtime

.PHONY: prepare-dev
prepare-dev: ## What the tests need: the same, test tools, Debian packages
	@deploy/prepare.sh dev

.PHONY: prepare-bench
prepare-bench: ## What the benchmarks need: the same as the tests, and the peers to compare with
	@deploy/prepare.sh bench

LOCK := .venv/bin/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-annotate \
	--extra gateway --extra hub --extra embedded --extra build --extra demo

.PHONY: lock
lock: ## Make the lists of Python packages again from pyproject.toml (UPGRADE=1 for newer ones)
	@$(LOCK) $(if $(UPGRADE),--upgrade) --output-file deploy/requirements/runtime.txt pyproject.toml
	@$(LOCK) $(if $(UPGRADE),--upgrade) --extra dev --constraint deploy/requirements/runtime.txt \
		--output-file deploy/requirements/dev.txt pyproject.toml

.PHONY: clean
clean: ## Remove everything that was made here
	rm -rf .venv build .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
