# Branchline's commands. Each sets up what it needs; a second run finds it done.
#   make demo          the whole line on http://127.0.0.1:8080 with a sample bank; Ctrl-C stops it
#   make demo-reset    forgets the demo's bank
#   make test          everything: format, lint, types, import contracts, migrations, documents, tests in two processes;
#                      PROCESSES=… as many, PYTEST_ARGS=… which, and how
#   make audit-dependencies  looks for known vulnerabilities in what is locked
#   make demo-test     the demo killed with -9 ten times while it opens its bank, and compared with one undisturbed
#   make compose-test  the containers: journeys through the gateway, then every container killed while events flow
#   make bench-events  Branchline's event core beside FastStream and a bare COPY, on real Kafka and PostgreSQL;
#                      PUBLISH=1 keeps what it measured in bench/results.json and bench/README.md
#   make bench-backlog the consumer's memory over a backlog of five million events
#   make bench-http    what authentication, row-level security and the audit cost a read, layer by layer
#   make fuzz          schemathesis over every service's OpenAPI document; REQUESTS=… (20000), SEED=… the first
#   make test-postgres POSTGRES=/usr/lib/postgresql/15/bin  migrations and tests on another PostgreSQL than the wheel's
#   make torture       the line on real Kafka and PostgreSQL, killed, paused and cut off; SEED=… replays, MINUTES=… (2)
#   make simulation    consumer and relay on virtual time, thousands of interleavings; SEED=… the first, SECONDS=… (60)
#   make torture-guards  each guard of the event core taken out in turn, and the torture has to notice
#   make up, down      the containers with an empty bank; down keeps what they hold
#   make format        puts the code into its format
#   make lock          locks requirements/*.in with hashes; UPGRADE=1 to newer versions

PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo demo-reset test audit-dependencies demo-test compose-test torture simulation torture-guards bench-events up down format lock
.PHONY: bench-http fuzz test-postgres installed-demo installed-bench installed-dev
.NOTPARALLEL:

help:
	@sed -n 's/^#   //p' Makefile

demo: installed-demo
	@exec $(BIN)/branchline demo

demo-reset: installed-demo
	@exec $(BIN)/branchline demo-reset

test: installed-dev
	$(call heading,format: ruff format)
	@$(BIN)/ruff format --check .
	$(call heading,lint: ruff check)
	@$(BIN)/ruff check .
	$(call heading,security: bandit)
	@$(BIN)/bandit -q -c pyproject.toml -r bench deploy feeds services shared
	$(call heading,types: mypy)
	@$(BIN)/mypy
	$(call heading,import contracts: lint-imports)
	@$(BIN)/lint-imports
	$(call heading,migrations: every service from nothing to its models)
	@$(BIN)/branchline check-migrations
	$(call heading,generated documents)
	@$(BIN)/branchline docs --check
	$(call heading,tests: pytest)
	@$(BIN)/python -m pytest -n $(or $(PROCESSES),2) $(PYTEST_ARGS)

# Asks an index of vulnerabilities, which not every network reaches; says so loudly, and fails, where it is not.
audit-dependencies: installed-dev
	@for lock in base backfill compose demo; do \
	  found=$$($(BIN)/pip-audit --requirement requirements/$$lock.txt --require-hashes --disable-pip --strict \
	    --progress-spinner off --timeout 15 2>&1) && { echo "requirements/$$lock.txt: no known vulnerability"; continue; }; \
	  if echo "$$found" | grep -q '^Found [0-9]* known vuln'; then \
	    echo "$$found"; echo "!!! requirements/$$lock.txt HAS KNOWN VULNERABILITIES !!!" >&2; exit 1; \
	  fi; \
	  echo "$$found" | tail -n 1 >&2; \
	  echo "!!! NOT AUDITED: no index of vulnerabilities is reached from here; run this where one is !!!" >&2; exit 2; \
	done

demo-test: installed-dev
	@exec $(BIN)/python -m tests.demo

compose-test: installed-dev
	@exec $(BIN)/python -m tests.compose

bench-http: installed-bench
	@exec $(BIN)/python -m bench.http $(if $(ROUNDS),--rounds $(ROUNDS))

bench-events: installed-bench
	@exec $(BIN)/python -m bench.events $(if $(EVENTS),--events $(EVENTS)) $(if $(ROUNDS),--rounds $(ROUNDS)) \
	  $(if $(ONLY),--only $(ONLY)) $(if $(PUBLISH),--publish)

bench-backlog: installed-bench
	@exec $(BIN)/python -m bench.backlog $(if $(EVENTS),--events $(EVENTS)) $(if $(PUBLISH),--publish)

torture: installed-dev
	@exec $(BIN)/python -m tests.torture $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES))

fuzz: installed-dev
	@exec $(BIN)/python -m tests.fuzz $(if $(SEED),--seed $(SEED)) $(if $(REQUESTS),--requests $(REQUESTS))

# Everything that asks a database something; what needs Kafka as well is tested with the wheel's.
test-postgres: installed-dev
	@$(if $(POSTGRES),,echo "POSTGRES=… names the folder of its programs, as /usr/lib/postgresql/15/bin" >&2; exit 2)
	@$(POSTGRES)/postgres --version
	@BRANCHLINE_POSTGRES_BIN=$(POSTGRES) $(BIN)/branchline check-migrations
	@BRANCHLINE_POSTGRES_BIN=$(POSTGRES) $(BIN)/python -m pytest -m 'not kafka and not berka' tests/access tests/audit \
	  tests/messaging tests/customer tests/interaction tests/scoring tests/notification $(PYTEST_ARGS)

simulation: installed-dev
	@exec $(BIN)/python -m tests.torture.simulation $(if $(SEED),--seed $(SEED)) $(if $(SECONDS),--seconds $(SECONDS))

torture-guards: installed-dev
	@exec $(BIN)/python -m tests.torture.guards $(if $(WITHOUT),--guard $(WITHOUT))

up: .env
	@$(compose) up --build --detach
	@echo "Branchline is on http://127.0.0.1:$${BRANCHLINE_PORT:-8080}/docs, with an empty bank. 'make down' stops it and keeps its data."

down:
	@$(compose) down

# Every checkout has secrets of its own; none are in the tree.
.env:
	@deploy/compose/secrets >$@.new && mv $@.new $@

format: installed-dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: installed-dev
	$(call lock,base)
	$(call lock,backfill,-c base.txt)
	$(call lock,compose,-c backfill.txt)
	$(call lock,demo,-c compose.txt)
	$(call lock,bench,-c demo.txt)
	$(call lock,sbom)
	$(call lock,dev,-c bench.txt)

installed-demo installed-bench installed-dev: installed-%:
	@if ! $(venv_is_ours); then \
	  if ! $(python_is_right); then \
	    echo "Branchline needs Python 3.11 to 3.14; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 | head -n 1)." >&2; \
	    echo "Name one that is: make $(MAKECMDGOALS) PYTHON=python3.13" >&2; \
	    exit 1; \
	  fi; \
	  $(PYTHON) -m venv --clear .venv || exit 1; \
	fi; \
	for have in $* dev; do \
	  if cksum requirements/$$have.txt pyproject.toml | cmp -s - .venv/installed-$$have; then exit 0; fi; \
	done; \
	echo "Installing what requirements/$*.txt locks into .venv; this is done once."; \
	$(pip) --require-hashes -r requirements/$*.txt && \
	$(pip) --no-deps --no-build-isolation -e . && \
	cksum requirements/$*.txt pyproject.toml >.venv/installed-$*

# A checkout that was moved or copied, or a Python that was removed, leaves a .venv that no longer works.
venv_is_ours = { grep -q ' $(CURDIR)/\.venv$$' .venv/pyvenv.cfg && $(BIN)/python -c ''; } 2>/dev/null
python_is_right = $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null
pip = $(BIN)/python -m pip install --quiet --disable-pip-version-check
compose = $$(docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
heading = @printf '\n== %s\n' '$(1)'
lock = cd requirements && ../$(BIN)/uv pip compile -q $(if $(UPGRADE),--upgrade) --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-emit-find-links $(2) -o $(1).txt $(1).in
