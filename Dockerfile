# One image for operator, ext_proc and activity; the chart sets which of them a container runs.
FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ONLY_BINARY=:all: PIP_REQUIRE_VIRTUALENV=1
WORKDIR /src

# Pinned by hash, wheels only: nothing is compiled here. docs/kubernetes.md explains how the two files are made.
COPY docker/ docker/
RUN python -m venv /opt/build && /opt/build/bin/pip install --require-hashes -r docker/build.lock
RUN python -m venv /opt/limpet && /opt/limpet/bin/pip install --require-hashes -r docker/runtime.lock

COPY pyproject.toml README.md LICENSE ./
COPY operator/ operator/
COPY extproc/ extproc/
COPY activity/ activity/
COPY lab/ lab/
COPY crds/ crds/
COPY examples/ examples/
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/limpet/bin/pip install --no-deps --no-index --find-links /wheels limpet \
 && /opt/limpet/bin/pip uninstall --yes pip

FROM python:3.13-slim
LABEL org.opencontainers.image.title="limpet" \
      org.opencontainers.image.description="Sticky routing for LLM traffic: operator, ext_proc and activity" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/limpet /opt/limpet
# The root file system is read-only there; pip has compiled everything already.
ENV PATH=/opt/limpet/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
CMD ["limpet", "--help"]
