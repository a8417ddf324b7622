# Everything here works on a fresh Debian or Ubuntu with Python 3.11 or newer; the environment lives in .venv.
.DEFAULT_GOAL := help
.PHONY: help demo install tools dist test test-fast fuzz check bench lock clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := $(VENV)/.demo
READY := $(VENV)/.ready

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(DEMO)  ## the whole thing with simulated providers: no key, no cluster
	$(BIN)/limpet demo

install: $(DEMO)  ## the command .venv/bin/limpet, and nothing that only tests need
	@echo "The command is $(BIN)/limpet; try: $(BIN)/limpet --help"

tools: $(READY)  ## what tests and benchmarks need besides, into the same environment

dist: $(DEMO)  ## a wheel that stands alone: pipx install 'dist/limpet-….whl[lab]'
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .

# The part of the tests that T names: `cluster` of tests/cluster/e2e/test_readme.py, nothing if T is empty or `tests`.
PART := $(word 2,$(subst /, ,$(T)))
# Most tests run in a network and process namespace of their own, where they reach nothing beyond this machine; these do without.
ANYWHERE := chart contract crds docs extproc operator release
WORLD := $(if $(filter $(ANYWHERE),$(PART)),,$(BIN)/python -m tests.cluster.world)
# All of them mostly wait, for processes to start and time to pass, so several files run at once, each process in such a world.
# In the order of their names: the longest stories, of tests/cluster, are then not the last.
AT_ONCE ?= 4
SIDE_BY_SIDE := --dist loadfile --no-loadscope-reorder --tx '$(AT_ONCE)*popen//python=$(BIN)/python -m tests.cluster.world $(BIN)/python'
# What failed there (status 1, not 2 and above: nothing else went wrong), with the machine to itself; docs/testing.md says why.
ALONE := { [ $$? = 1 ] && echo "Once more, alone:" && $(BIN)/python -m tests.cluster.world $(BIN)/python -m pytest --last-failed --last-failed-no-failures=none --ignore=tests/release; }

test: $(READY)  ## all tests, or those of T: make test T=tests/envoy/test_stickiness.py
	@$(if $(WORLD),command -v ip >/dev/null || { echo "installing iproute2 for the network of the tests' pods"; $(call install,iproute2); })
	@$(if $(filter-out chart contract crds docs operator release,$(or $(PART),all)),command -v redis-server >/dev/null || { echo "installing redis-server for the tests"; $(call redis); })
	@$(if $(filter activity,$(or $(PART),activity)),$(servers_of_activity))
	@$(if $(filter chart,$(PART)),command -v promtool >/dev/null || { echo "installing prometheus for the tests of alerts"; $(promtool); })
	@$(if $(filter mesh,$(or $(PART),mesh)),command -v nft >/dev/null || { echo "installing nftables for the tests of meshes"; $(call install,nftables); })
	@$(if $(filter cluster lab mesh,$(or $(PART),cluster)),$(BIN)/python -m limpet_lab.kubernetes.assets)
	@$(if $(filter mesh,$(or $(PART),mesh)),$(BIN)/python -m limpet_lab.kubernetes.mesh_assets)
	@$(if $(filter cluster,$(or $(PART),cluster)),$(BIN)/python -m tests.cluster.portforward.build)
	@$(if $(filter extproc,$(or $(PART),extproc)),$(BIN)/python -m tests.extproc.envoy.h2spec.build)
	@$(WORLD) true  # fails at once if something is missing
	$(if $(T),$(WORLD)) $(BIN)/python -m pytest $(if $(T),'$(T)',$(SIDE_BY_SIDE) --ignore=tests/release || $(ALONE))
ifeq ($(T),)
	@# Outside of the world there are a package index and other users.
	$(BIN)/python -m pytest tests/release
	@if [ "$$(id -u)" = 0 ]; then $(BIN)/python -m pytest tests/envoy/test_other_users.py; \
	else echo "tests/envoy/test_other_users.py becomes another user, which only root can: run 'make test' as root for it"; fi
endif

test-fast: $(READY)  ## the tests that start no servers, with fewer generated cases: less than a minute
	$(BIN)/python -m pytest -n 2 --hypothesis-profile=fast -m "not slow and not envoy" tests/activity tests/contract tests/crds tests/docs tests/extproc tests/lab tests/operator

# What `make test` does with 500 odd bodies, with as many as an attacker would try, and others each time.
fuzz: $(READY)  ## twenty thousand odd bodies against a gateway, others each time
	LIMPET_FUZZ_BODIES=20000 LIMPET_FUZZ_SEED=$$(date +%s) $(BIN)/python -m tests.cluster.world $(BIN)/python -m pytest tests/envoy/test_odd_bodies.py

check: $(READY)  ## format, lint, types, imports, names
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.names

bench: $(READY)  ## all benchmarks
	@command -v wrk >/dev/null || { echo "installing wrk, the load generator of 'limpet bench latency'"; $(call install,wrk); }
	$(BIN)/limpet bench infron
	$(BIN)/limpet bench latency
	$(BIN)/limpet bench latency --dialects
	$(BIN)/limpet bench mesh
	$(BIN)/limpet bench reload
	$(BIN)/limpet bench bodies
	$(BIN)/limpet bench exchange
	$(BIN)/limpet bench translation
	@command -v redis-server >/dev/null || { echo "installing redis-server, which 'limpet bench memory', 'outcomes', 'growth' and 'faults' need"; $(call redis); }
	$(BIN)/limpet bench memory
	$(BIN)/limpet bench outcomes
	$(BIN)/limpet bench growth
	$(BIN)/limpet bench faults
	$(BIN)/limpet bench apply

# Hashes pin what is installed, whatever the index; --no-build-isolation takes hatchling from the same lock. Python compiles
# what the demo imports when it does, instead of all that is installed.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
$(DEMO): lab/requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Limpet needs Python 3.11 or newer; say which with 'make PYTHON=python3.12 …'"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "installing Python's venv module"; $(call install,python3-venv); }
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --require-hashes -r lab/requirements.lock
	$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(READY): $(DEMO) requirements.lock
	$(PIP_INSTALL) --require-hashes -r requirements.lock
	$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null || true
	@touch $@

# Newest versions that pyproject.toml allows, for every supported Python, without index addresses. All further locks are
# parts of the first.
LOCK := uv pip compile --universal --generate-hashes --no-emit-index-url --no-header --quiet
PART_OF_LOCK := $(LOCK) --no-annotate --constraint requirements.lock
lock:  ## refresh the pinned versions of all packages (needs uv)
	$(LOCK) pyproject.toml --extra dev --python-version 3.11 --upgrade --output-file requirements.lock
	printf 'editables\nhatchling\n' | $(PART_OF_LOCK) pyproject.toml - --extra lab --python-version 3.11 --output-file lab/requirements.lock
	$(PART_OF_LOCK) pyproject.toml --extra operator --extra extproc --extra activity --python-version 3.13 --output-file docker/runtime.lock
	echo hatchling | $(PART_OF_LOCK) - --python-version 3.13 --output-file docker/build.lock

clean:  ## remove the environment and what was built
	rm -rf $(VENV) dist

# $(call install,PACKAGE): from the distribution, as root or with sudo.
install = s=; [ "$$(id -u)" = 0 ] || s=sudo; $$s apt-get update -qq && $$s apt-get install -y -qq $(1) >/dev/null

# Redis without the service that comes with it.
redis = $(call install,redis-server); $$s systemctl disable --now redis-server 2>/dev/null || $$s service redis-server stop || true

# promtool without the service that comes with it.
promtool = $(call install,--no-install-recommends prometheus); $$s systemctl disable --now prometheus 2>/dev/null || $$s service prometheus stop || true

# What the tests of the activity service and the chart need: a database, a browser and promtool, each without the service that comes with it.
servers_of_activity = command -v psql >/dev/null && command -v chromium >/dev/null && command -v promtool >/dev/null || { \
	echo "installing postgresql, chromium and prometheus for the tests"; $(call install,--no-install-recommends postgresql chromium prometheus); \
	for each in postgresql prometheus; do $$s systemctl disable --now $$each 2>/dev/null || $$s service $$each stop 2>/dev/null || true; done; }
