# Everything a person or CI does here, one target each. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
HELM_VERSION := v3.19.0
HELM := .cache/go/bin/helm-$(HELM_VERSION)
# Go is looked for where the tests look for it.
GO := PATH="$$PATH:$(abspath $(BIN)):/usr/local/go/bin" GOTOOLCHAIN=local GOFLAGS="-modcacherw -buildvcs=false" \
	GOCACHE=$(abspath .cache/go/build) GOMODCACHE=$(abspath .cache/go/modules) CGO_ENABLED=0 go
# Tests mostly wait (for polls, sessions, brokers), so more of them run at once than there are cores.
WORKERS ?= 3
BENCHES := sandbox differ fanout webhooks scale trip polling recovery

.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $(PYTHON) is older (set PYTHON=...)"; exit 1; }
	@echo "Making the environment in $(VENV) (once) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(STAMP) ## make the environment

run: $(STAMP) ## the whole trip of a call, live; ARGS='--duration 90' and the like are passed on
	@exec $(BIN)/ringcloud-gateway dev $(ARGS)

test: $(STAMP) ## unit and integration tests, on real brokers; ARGS='-k name' and the like are passed on
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(STAMP) ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## format and mend what can be mended by itself
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

pins: $(STAMP) ## renew requirements.txt from pyproject.toml (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--upgrade --extra dev pyproject.toml -o requirements.txt
	@$(BIN)/python -m tools.image

chaos: $(STAMP) ## kill everything for MINUTES=10 on a real Kafka, and judge it; SEED=1, ARGS='--twin-share 0'
	@$(BIN)/python -m tests.chaos.run --minutes $(or $(MINUTES),10) --seed $(or $(SEED),1) $(ARGS)

chaos-commands: $(STAMP) ## kill gateways while they execute commands, and judge it by the sandbox's ledger; SEED=1
	@$(BIN)/python -m tests.chaos.commands --seed $(or $(SEED),1) $(ARGS)

drain: $(STAMP) ## tell services to end under load on a real Kafka, and show what became of what was in flight; ARGS='--stops 20'
	@$(BIN)/python -m tests.chaos.drain $(ARGS)

soak: $(STAMP) ## look long for worlds that break the differ's laws; MINUTES=10, SEED=1
	MODEL_EXAMPLES=$(or $(EXAMPLES),20000) $(BIN)/python -m pytest --timeout 0 tests/unit/calls/test_model.py tests/unit/calls/test_dst.py
	nice $(BIN)/python -m tests.soak.search --minutes $(or $(MINUTES),10) --seed $(or $(SEED),1)

bench: $(STAMP) ## the short form of every benchmark, in less than 15 minutes; it shows that they work
	@for name in $(BENCHES); do $(BIN)/python -m bench.$$name --short || exit 1; done

bench-report: $(STAMP) ## make docs/performance.md of bench/results
	@$(BIN)/python -m bench.report

bench-guard: $(STAMP) ## what got slower than at BASE=rev by more than 10 %, if anything; ARGS='--turns 15'
	@test -n "$(BASE)" || { echo "BASE=rev is needed, as in: make bench-guard BASE=HEAD~1"; exit 2; }
	@$(BIN)/python -m bench.guard --base "$(BASE)" $(ARGS)

schemas: $(STAMP) ## renew what is made of the structs: docs/schemas, docs/configuration.md, the chart's schema
	@$(BIN)/ringcloud-gateway schemas docs/schemas
	@$(BIN)/python -m tools.settings
	@$(BIN)/python -m tools.acls
	@$(BIN)/python -m tools.chart

$(HELM):
	@echo "Building Helm $(HELM_VERSION) (once) ..."
	@GOBIN=$(abspath .cache/go/bin) $(GO) install -ldflags="-s -w" helm.sh/helm/v3/cmd/helm@$(HELM_VERSION)
	@mv .cache/go/bin/helm $@

helm: $(HELM) ## build Helm, once

helm-test: $(STAMP) $(HELM) ## render the chart in many ways, and judge what comes out
	@$(BIN)/python -m pytest $(ARGS) tests/helm

dashboards-test: $(STAMP) ## every panel's query and every rule, on a real Prometheus that scrapes a running demo
	@$(BIN)/python -m pytest -s $(ARGS) tests/dashboards

pictures: $(STAMP) ## renew docs/pictures: the terminal demo, and the dashboards over a demo of 8 minutes; ARGS='--minutes 3'
	@$(BIN)/python -m tools.pictures $(ARGS)

docs: $(STAMP) ## build the documentation strictly, into .cache/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict --site-dir .cache/site

clean: ## remove the environment and every cache
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist

.PHONY: help setup run test check format chaos chaos-commands drain soak bench bench-report bench-guard pins schemas helm helm-test dashboards-test pictures docs clean
