# Two commands matter: `make run` and `make test`.  Both do all set-up themselves.
# Needed on the machine: Python >= 3.11 and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= var
# The operators' page; its charts are drawn by a package of npm's.
PAGE := gateway/ops/dashboard

.DEFAULT_GOAL := help
SCENARIO ?= smoke
SIMULATE ?= --people 1000000
KILLS ?= 500

.PHONY: help run test test-pages test-alerts test-deploy check audit-checker torture rehearse rehearse-at rehearse-all capacity simulate format bench bench-take bench-limits bench-overload bench-room bench-line bench-screen bench-arrivals bench-scrape bench-spool bench-outage crash-matrix docs lock clean
.DELETE_ON_ERROR:

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.run ## Bring up Valkey, Kafka and the gateway; ends with READY and serves until Ctrl-C
	@GATEWAY_DATA_DIR=$(DATA) exec $(BIN)/python -m devstack run --data-dir $(DATA)/devstack -- $(BIN)/python -m gateway --config gateway.toml --dev

test: $(VENV)/.dev ## Run every test against a real Kafka and a real Valkey
	@$(BIN)/python -m pytest

# A Korean font comes along, or the screenshots would show boxes.
test-pages: $(VENV)/.dev ## Look at all pages in a real browser; installs Debian's chromium where there is none
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || { \
		echo "installing Debian's chromium and chromium-driver (once)"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver fonts-nanum >/dev/null; \
	} || { echo "make test-pages needs Debian's packages chromium and chromium-driver and could not install them: not root, not Debian, or no network"; exit 1; }
	@$(BIN)/python -m pytest -n 2 -m browser tests/browser

# Only promtool is taken out of the package: installing it would start a server.
test-alerts: $(VENV)/.dev ## Let promtool play every alert's fault and its control; takes it from Debian's prometheus where there is none
	@command -v promtool >/dev/null || test -x $(VENV)/promtool/usr/bin/promtool || { \
		echo "fetching promtool from Debian's prometheus (once)"; rm -rf $(VENV)/promtool; mkdir -p $(VENV)/promtool; \
		{ apt-get update -qq && cd $(VENV)/promtool && apt-get download -qq prometheus && dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb; } >/dev/null 2>&1; \
	} || { echo "make test-alerts needs promtool (Debian's package prometheus) and could not fetch it: not root, not Debian, or no network"; exit 1; }
	@PATH="$$PATH:$(CURDIR)/$(VENV)/promtool/usr/bin" $(BIN)/python -m pytest -m "alerts or not browser" tests/deploy/test_alerts.py

test-deploy: $(VENV)/.dev ## Run deploy/'s proxies and the image's steps as far as a machine without containers can; installs Debian's haproxy
	@PATH=$$PATH:/usr/sbin; command -v haproxy >/dev/null || { \
		echo "installing Debian's haproxy (once)"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends haproxy >/dev/null; \
	} || { echo "make test-deploy needs Debian's package haproxy and could not install it: not root, not Debian, or no network"; exit 1; }
	@$(BIN)/python -m pytest -m deploy tests/deploy

check: $(VENV)/.dev ## Lint, types, lock and generated documents
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

audit-checker: $(VENV)/.dev ## Let the checker of lost events judge seeded bugs and clean runs, of a model and of the code; a few minutes
	@$(BIN)/python -m tests.system.audit_checker

torture: $(VENV)/.dev ## Kill workers and the supervisor KILLS times under load, with Kafka away most of the time; and fill a small disk under the spool; the checker judges.  500 take half an hour
	@$(BIN)/python -m tests.system.small_disk || test $$? -eq 2
	@$(BIN)/python -m tests.system.torture --kills $(KILLS)

format: $(VENV)/.dev ## Format the sources
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix-only --quiet .

rehearse: $(VENV)/.dev ## Play SCENARIO (smoke, dec18, ...) against a stack of our own; ends with a verdict and a report
	@$(BIN)/python -m loadtests.rehearse $(SCENARIO) $(REHEARSE)

rehearse-at: $(VENV)/.dev ## The same against a gateway that is there: URL=https://... REHEARSE="--tokens FILE"
	@$(BIN)/python -m loadtests.rehearse $(SCENARIO) --url $(URL) $(REHEARSE)

rehearse-all: $(VENV)/.dev ## Play every scenario but the soak; each has to end as it expects; about three quarters of an hour
	@$(BIN)/python -m loadtests.rehearse_all $(REHEARSE)

capacity: $(VENV)/.dev ## Find what a worker takes and how many are needed: CAPACITY="--people 1000000 --minutes 60"
	@$(BIN)/python -m loadtests.capacity $(CAPACITY)

simulate: $(VENV)/.dev ## Play SCENARIO with a million people in virtual time; minutes
	@$(BIN)/python -m loadtests.simulate --scenario $(SCENARIO) $(SIMULATE)

bench: $(VENV)/.dev ## Measure the path against bare aiohttp and two peers; BENCH="--against HEAD~1" compares commits
	@$(BIN)/python -m benchmarks.bench_path $(BENCH)

bench-take: $(VENV)/.dev ## Measure one rate-limit decision against three other limiters on one Valkey
	@$(BIN)/python -m benchmarks.bench_take $(BENCH)

bench-limits: $(VENV)/.dev ## Measure what a frozen Redis and one user who does not stop cost everybody else
	@$(BIN)/python -m benchmarks.bench_limits $(BENCH)

bench-overload: $(VENV)/.dev ## Measure goodput under 1 to 50 times the load that can be served; about four minutes
	@$(BIN)/python -m benchmarks.bench_overload $(BENCH)

bench-room: $(VENV)/.dev ## Measure what a million people in the waiting room cost Redis
	@$(BIN)/python -m benchmarks.bench_room $(BENCH)

bench-line: $(VENV)/.dev ## Measure the waiting room: a place's cost, the door under a crowd, its pace; about eight minutes
	@$(BIN)/python -m benchmarks.bench_line $(BENCH)

bench-screen: $(VENV)/.dev ## Measure the operators' screen: faults to lights, 1,000 viewers, the depth's age, the lever; about ten minutes
	@$(BIN)/python -m benchmarks.bench_screen $(BENCH)

bench-arrivals: $(VENV)/.dev ## Measure how many open arrivals a second the rehearsals' generator sends from one core; a minute and a half
	@$(BIN)/python -m benchmarks.bench_arrivals $(BENCH)

bench-scrape: $(VENV)/.dev ## Measure a scrape of eight workers beside prometheus_client's own, before and after 1,000 restarts
	@$(BIN)/python -m benchmarks.bench_scrape $(BENCH)

bench-spool: $(VENV)/.dev ## Measure the spool on this disk: appends, how soon a gigabyte of backlog serves, a day of it replayed, all spooled beside all to Kafka; five minutes
	@$(BIN)/python -m benchmarks.bench_spool $(BENCH)

bench-outage: $(VENV)/.dev ## Measure a minute without Kafka under load, then Kafka killed: acceptance, replay, latency; four minutes
	@$(BIN)/python -m benchmarks.bench_outage $(BENCH)

crash-matrix: $(VENV)/.dev ## Recover the spool from every crash of 1,000 random workloads; about twenty minutes
	@$(BIN)/python -m tests.crash_matrix --workloads 1000 $(MATRIX)

docs: $(VENV)/.dev ## Generate schemas, reference pages and the Grafana dashboard from the types and tables
	@$(BIN)/python -m gateway.openapi --write

lock: $(VENV)/.dev ## Resolve requirements/*.txt anew from pyproject.toml, and the page's lock from its package.json
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml requirements/build.in --extra devstack -o requirements/run.txt
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml -c requirements/run.txt -o requirements/gateway.txt
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml requirements/build.in --all-extras -c requirements/run.txt -o requirements/dev.txt
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header requirements/node.in -o requirements/node.txt
	@cd $(PAGE) && $(NPM) install --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund --silent

clean: ## Remove the virtual environment and all data of `make run`
	@rm -rf $(VENV) $(DATA) $(PAGE)/node_modules build .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed (PYTHON=... to name one)"; exit 1; }
	@echo "making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# The machine's own npm; where there is none, a wheel brings one into the environment.
NPM := PATH="$$PATH:$(CURDIR)/$(BIN)" npm

$(PAGE)/node_modules/.fetched: $(PAGE)/package-lock.json requirements/node.txt | $(VENV)/bin/python
	@echo "fetching what draws the operators' charts (once)"
	@command -v npm >/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/node.txt
	@cd $(PAGE) && $(NPM) ci --omit=dev --no-audit --no-fund --silent
	@touch $@

# The lock's hashes are required; the project itself is installed in place.
$(VENV)/.run: requirements/run.txt pyproject.toml $(PAGE)/node_modules/.fetched | $(VENV)/bin/python
	@echo "installing what the gateway and its servers need (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	@echo "installing what tests and benchmarks need (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@
