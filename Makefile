# What one needs on a fresh machine: Python 3.11 or newer, make, and gcc.
#   make demo    see it work          make test    the fast tests          make help    the rest

.DEFAULT_GOAL := help
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
LIBRARIES := .venv/.libraries
STAMP := .venv/.installed
UV := 0.13.9

BENCH := .cache/bench-venv

# With PYTHONDONTWRITEBYTECODE set, each of the hundreds of processes that tests start would compile all modules again.
export PYTHONDONTWRITEBYTECODE :=

PYTEST := $(BIN)/python -m pytest
IN_PROCESSES := -n 4 --maxschedchunk 1 --durations 20 --durations-min 1# most tests with a broker wait: four share two cores
BASE := HEAD

.PHONY: help install demo kafka chaos bench check test test-slow test-interpreted test-all fuzz lint format docs lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1 - \2/'

install: $(STAMP) ## .venv with the `lifecycle` command, from locked versions with hashes

$(LIBRARIES): requirements-dev.lock
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with the venv module is needed: install it (Debian: apt-get install python3-venv), or name one with make PYTHON=…" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

# Compiles what every event goes through (setup.py): a minute or two, again whenever it changes.
$(STAMP): $(LIBRARIES) pyproject.toml setup.py $(wildcard streams/core/*/*.py streams/contracts/*.py)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: install ## real shop history through Kafka, live in the terminal; ARGS=--once ends after the history
	@$(BIN)/lifecycle demo $(ARGS)

kafka: install ## Apache Kafka in the foreground, for trying things out; ARGS="--port 9092". Needs Java 17 and Maven
	@$(BIN)/python -m streams.devtools.apache_kafka $(ARGS)

chaos: install ## kills, outages, full disks and wrong clocks against workers, for hours; ARGS="--only kills --seed 7". Needs Java 17 and Maven
	@$(BIN)/python -m tests.chaos $(ARGS)

bench: install $(BENCH)/.installed ## the common job by this project and its peers, for hours; ARGS=--quick for minutes. Needs Java 17 and Maven
	@$(BENCH)/bin/python -m benchmarks.run $(ARGS)

$(BENCH)/.installed: requirements-bench.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with the venv module is needed." >&2; exit 1; }
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	STREAMS_INTERPRETED=1 $(BENCH)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . # what `install` compiled is found beside its source
	@touch $@

check: lint ## the linters, and the tests of what changed since BASE (a git revision; HEAD): a minute, nothing is compiled
	@tests=$$($(BIN)/python -m tests.support.changed $(BASE)) || exit 1; \
	if [ -z "$$tests" ]; then echo "No test is about what changed."; exit 0; fi; \
	HYPOTHESIS_PROFILE=quick STREAMS_INTERPRETED=1 $(PYTEST) $(IN_PROCESSES) -m "not slow and not broker" $(ARGS) $$tests || [ $$? = 5 ]

test: install ## the fast tests, minutes; ARGS goes to pytest
	@$(PYTEST) $(IN_PROCESSES) -m "not slow" $(ARGS)

test-slow: install ## the tests of worker processes on Apache Kafka: a quarter of an hour. Needs Java 17 and Maven
	@$(PYTEST) $(IN_PROCESSES) -m slow $(ARGS)

test-interpreted: install ## the tests of the core once more, as interpreted Python
	@STREAMS_INTERPRETED=1 $(PYTEST) $(IN_PROCESSES) $(ARGS) tests/core tests/contracts tests/property

test-all: test test-slow test-interpreted ## all tests

fuzz: install ## properties on 20,000 random examples each, for hours; ARGS="-k merge" for some of them
	@HYPOTHESIS_PROFILE=thorough $(PYTEST) -n 2 --maxschedchunk 1 --timeout 0 -m hypothesis $(ARGS)

lint: $(LIBRARIES) ## ruff, mypy, import-linter
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: install ## let ruff put the code in form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: install ## write the reference pages that are made from tables in the code
	$(BIN)/lifecycle settings --markdown > docs/settings.md
	$(BIN)/python -m streams.observe.docs > docs/metrics.md
	$(BIN)/python -m tests.docs.chaos_report
	$(BIN)/python -m streams.playbooks.docs > docs/playbook-keys.md
	$(BIN)/python -m streams.playbooks.schema > schemas/playbook.schema.json

# The lock files name no package index: pip takes the one it is configured for. Entries that still fit are kept; delete
# a file to renew all of it, or pass ARGS="--upgrade-package NAME".
lock: ## refresh the lock files from pyproject.toml
	$(PYTHON) -m venv .cache/lock
	.cache/lock/bin/pip install --quiet --disable-pip-version-check uv==$(UV)
	$(call compile,requirements.lock,build)
	$(call compile,requirements-dev.lock,dev)
	$(call compile,requirements-bench.lock,bench)

define compile
UV_CUSTOM_COMPILE_COMMAND="make lock" UV_FIND_LINKS= .cache/lock/bin/uv pip compile pyproject.toml --quiet --universal \
	--python-version 3.11 --generate-hashes --no-emit-package lifecycle-streams --extra $(2) --output-file $(1) $(ARGS)
endef

clean: ## remove what was made here
	rm -rf .venv .cache build dist *.egg-info *.so streams/*/*.so streams/*/*/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
