# Everything here works on a fresh Debian or Ubuntu with Python 3.11 or newer; the environment lives in .venv.
.PHONY: demo install test fuzz check bench lock clean

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
BIN := $(VENV)/bin

demo: $(READY)
	$(BIN)/limpet demo

install: $(READY)
	@echo "The command is $(BIN)/limpet; try: $(BIN)/limpet --help"

# Everything runs in a network and process namespace of its own, where no test reaches further than this machine. There
# is only one user there, so what another user must not reach is tried once more outside.
test: $(READY)
	@command -v ip >/dev/null || { echo "installing iproute2, which gives the tests' pods their network"; $(call install,iproute2); }
	@command -v redis-server >/dev/null || { echo "installing redis-server for the tests"; $(call redis); }
	@$(BIN)/python -m limpet_lab.kubernetes.assets
	@$(BIN)/python -m tests.cluster.portforward.build
	$(BIN)/python -m tests.cluster.world $(BIN)/python -m pytest
	@if [ "$$(id -u)" = 0 ]; then $(BIN)/python -m pytest tests/envoy/test_other_users.py; \
	else echo "tests/envoy/test_other_users.py becomes another user, which only root can: run 'make test' as root for it"; fi

# What `make test` does with 500 odd bodies, with as many as an attacker would try, and others each time.
fuzz: $(READY)
	LIMPET_FUZZ_BODIES=20000 LIMPET_FUZZ_SEED=$$(date +%s) $(BIN)/python -m tests.cluster.world $(BIN)/python -m pytest tests/envoy/test_odd_bodies.py

check: $(READY)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)
	@command -v wrk >/dev/null || { echo "installing wrk, the load generator of 'limpet bench latency'"; $(call install,wrk); }
	$(BIN)/limpet bench infron
	$(BIN)/limpet bench latency
	$(BIN)/limpet bench reload
	$(BIN)/limpet bench bodies
	@command -v redis-server >/dev/null || { echo "installing redis-server, which 'limpet bench memory' fills"; $(call redis); }
	$(BIN)/limpet bench memory
	$(BIN)/limpet bench apply

# Hashes pin what is installed, whatever the index; --no-build-isolation takes hatchling from the same lock.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Limpet needs Python 3.11 or newer; say which with 'make PYTHON=python3.12 …'"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "installing Python's venv module"; $(call install,python3-venv); }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

# Refresh the locks: newest versions that pyproject.toml allows, for every supported Python, without index addresses. Those of
# the image are parts of the first.
LOCK := uv pip compile --universal --generate-hashes --no-emit-index-url --no-header --quiet
IMAGE_LOCK := $(LOCK) --python-version 3.13 --no-annotate --constraint requirements.lock
lock:
	$(LOCK) pyproject.toml --extra dev --python-version 3.11 --upgrade --output-file requirements.lock
	$(IMAGE_LOCK) pyproject.toml --extra operator --extra extproc --output-file docker/runtime.lock
	echo hatchling | $(IMAGE_LOCK) - --output-file docker/build.lock

clean:
	rm -rf $(VENV)

# $(call install,PACKAGE): from the distribution, as root or with sudo.
install = s=; [ "$$(id -u)" = 0 ] || s=sudo; $$s apt-get update -qq && $$s apt-get install -y -qq $(1) >/dev/null

# Redis without the service that comes with it.
redis = $(call install,redis-server); $$s systemctl disable --now redis-server 2>/dev/null || $$s service redis-server stop || true
