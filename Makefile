# The same commands here and in CI (.ci/run). CONTRIBUTING.md says what each is for.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV ?= .venv
# The first Python from 3.11 on; `make PYTHON=/path/to/python` decides otherwise.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check -q
BASE := $(VENV)/.leukocds-base
EXTRAS := $(VENV)/.leukocds-extras
# Extra arguments for pytest: make test ARGS="-k store"
ARGS ?=

.PHONY: help demo test check format profiles servers servers-stop constraints

help:
	@echo 'make demo          six synthetic patients, end to end, then a chart to work in (ONCE=1: end after that; SMART=1: SMART launch)'
	@echo 'make test          real servers, then every test (ARGS="-k store" chooses)'
	@echo 'make check         ruff, mypy, import contracts'
	@echo 'make format        let ruff format and mend'
	@echo 'make profiles      FHIR definitions, examples and package anew from fhir_profiles/fsh (needs Node)'
	@echo 'make servers       install and start HAPI, Orthanc, Redis, PostgreSQL on loopback'
	@echo 'make servers-stop  end exactly those'
	@echo 'make constraints   resolve every dependency anew and write constraints.txt'

demo: $(BASE)
	@exec $(VENV)/bin/leukocds demo $(if $(filter 1 yes true,$(ONCE)),--once) $(if $(filter 1 yes true,$(SMART)),--smart)

# servers.py ends what it started, also after a failure, and prints nothing after pytest's summary.
test: $(EXTRAS)
	@exec $(VENV)/bin/python scripts/servers.py run -- $(VENV)/bin/python -m pytest $(ARGS)

check: $(EXTRAS)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: $(EXTRAS)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

profiles: $(EXTRAS)
	@exec $(VENV)/bin/python scripts/profiles.py

servers: python-is-there
	@exec $(PYTHON) scripts/servers.py start

servers-stop: python-is-there
	@exec $(PYTHON) scripts/servers.py stop

# In a fresh environment, so that nothing installed by chance is pinned.
constraints: python-is-there
	rm -rf .cache/constraints && $(PYTHON) -m venv .cache/constraints
	.cache/constraints/bin/python -m pip install -q -U pip
	.cache/constraints/bin/python -m pip install -q -e '.[train,postgres,redis,dev]'
	.cache/constraints/bin/python -m pip list --format=freeze --exclude-editable --exclude pip | LC_ALL=C sort -f > constraints.txt
	rm -rf .cache/constraints

# The demo's environment: no extras, no torch. Stamps make a second run start at once.
$(BASE): pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo 'installing LeukoCDS into $(VENV)' >&2
	@$(PIP) install -c constraints.txt -e .
	@touch $@

# The same environment with the extras added: constraints keep the base as it was.
$(EXTRAS): pyproject.toml constraints.txt | $(BASE)
	@echo 'installing the extras train, postgres, redis and dev into $(VENV) (torch: some gigabytes)' >&2
	@$(PIP) install -c constraints.txt -e '.[train,postgres,redis,dev]'
	@touch $@

$(VENV)/bin/python: | python-is-there
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo 'No virtual environment could be made; on Debian: apt-get install python3-venv' >&2; exit 1; }

.PHONY: python-is-there
python-is-there:
	@[ -n '$(PYTHON)' ] || { echo 'LeukoCDS needs Python 3.11 or newer (make PYTHON=/path/to/python3.11)' >&2; exit 1; }
