# `make` alone lists what there is.
PYTHON ?= python3
BACKEND ?= cpu
SCENARIO ?= serve
TRAFFIC ?= step
CLUSTER ?=
DURATION_S ?=
FUZZ_SECONDS ?= 600
CHAOS_MINUTES ?= 30
CHAOS_SEED ?= 1
UV_VERSION = 0.13.9
BIN = .venv/bin
# What comes after it has the hot modules compiled, as in the agent's image.
WITH_COMPILED = PYTHONPATH=$$($(BIN)/python -m tools.compiled) && export PYTHONPATH &&
DURATION = $(if $(DURATION_S),--duration-s $(DURATION_S))
KIND_OF_CLUSTER = $(if $(CLUSTER),--$(1) $(CLUSTER))

.DEFAULT_GOAL = help
.PHONY: help venv demo demo-down test lint bench fuzz monitoring results e2e chaos gpu-check gpu-trial

help: ## List the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18
	@echo "  BACKEND=cpu|emulated, SCENARIO=serve|autoscale, CLUSTER=local|kind|existing,"
	@echo "  TRAFFIC=step|ramp|daily|spike|bursty (of SCENARIO=autoscale), FUZZ_SECONDS=$(FUZZ_SECONDS)"

venv: .venv/.synced ## Make the virtual environment .venv from the lock file

demo: venv ## All set-up, then the main job (BACKEND, SCENARIO, TRAFFIC, DURATION_S, CLUSTER)
	@$(BIN)/python -m e2e.demo --scenario $(SCENARIO) --traffic $(TRAFFIC) --backend $(BACKEND) $(DURATION) $(call KIND_OF_CLUSTER,cluster)

demo-down: venv ## Remove the demo's cluster and nothing else (CLUSTER)
	@$(BIN)/python -m e2e.cluster down $(call KIND_OF_CLUSTER,kind)

test: lint ## All set-up, then every test that this machine can run
	$(BIN)/pytest

lint: venv ## Check style, types and the direction of imports
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy . && $(BIN)/lint-imports

e2e: venv ## The end-to-end tests alone
	$(BIN)/pytest e2e

chaos: venv ## Faults at random under load, and an account of every request (CHAOS_MINUTES, CHAOS_SEED)
	@$(BIN)/python -m e2e.chaos --minutes $(CHAOS_MINUTES) --seed $(CHAOS_SEED)

bench: venv ## What the project itself costs, beside its bars: decisions, simulated requests, grants there and back, plans
	$(WITH_COMPILED) for part in dispatcher simulator node planning; do $(BIN)/python -m benchmarks.$$part || exit; done

gpu-check: venv ## On a machine with an NVIDIA GPU: does what the code assumes of it hold? (MODEL: a folder)
	@$(BIN)/python -m tools.gpu_check $(if $(MODEL),--model $(MODEL))

gpu-trial: venv ## On a machine with an NVIDIA GPU: real models share it under several systems, beside each other
	@$(BIN)/python -m tools.gpu_trial

fuzz: venv ## Look for bytes that break the grant protocol, guided by coverage (FUZZ_SECONDS)
	$(BIN)/python -m tests.fuzz $(FUZZ_SECONDS)

monitoring: venv ## Write what is generated of the metrics: their page, the PrometheusRule, dashboards
	$(BIN)/python -m tools.monitoring

results: venv ## Simulate docs/results.md anew, of shipped figures (PROFILES, SOURCE: of measured ones, as checked in; ONLY=autoscaling)
	$(WITH_COMPILED) $(BIN)/python -m tools.results $(if $(PROFILES),--profiles $(PROFILES) --source "$(SOURCE)") \
	  $(if $(ONLY),--only $(ONLY))

# Debian keeps ensurepip, which a virtual environment needs, in a package of its own.
$(BIN)/uv:
	$(PYTHON) -c 'import ensurepip' || { apt-get update -qq && apt-get install -qq -y python3-venv; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/.synced: pyproject.toml uv.lock | $(BIN)/uv
	$(BIN)/uv sync --frozen --all-extras --quiet
	touch $@
