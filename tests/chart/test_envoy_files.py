"""Envoy's files in the chart: the same as Python's, and accepted by Envoy itself."""

import subprocess
from pathlib import Path

import pytest
import trustme
import yaml
from tests.chart.rendered import CHART, container, containers, objects, one, pod

from limpet_operator.local import EXTPROC_ENVIRONMENT, envoy_binary
from limpet_operator.publish.bootstrap import pod_bootstrap, pod_secrets

HOST = "limpet-operator.ai.svc"
HEAP_BYTES = 2 * 1024**3 * 4 // 5
"""Of the chart's default limit."""


@pytest.fixture(scope="module")
def data() -> dict[str, str]:
    files: dict[str, str] = one(objects(), "ConfigMap", "limpet-envoy")["data"]
    return files


def test_the_charts_files_say_what_python_says(data: dict[str, str]) -> None:
    assert yaml.safe_load(data["envoy.yaml"]) == pod_bootstrap(HOST, HEAP_BYTES)
    assert {name: yaml.safe_load(data[name]) for name in ("client.yaml", "ca.yaml")} == pod_secrets(HOST)
    assert data["drain.sh"] == (CHART / "files" / "drain.sh").read_text()
    assert set(data) == {"envoy.yaml", "client.yaml", "ca.yaml", "drain.sh"}


def test_the_operators_name_follows_release_and_namespace() -> None:
    data = one(objects(name="edge", namespace="prod"), "ConfigMap", "edge-limpet-envoy")["data"]
    assert yaml.safe_load(data["envoy.yaml"]) == pod_bootstrap("edge-limpet-operator.prod.svc", HEAP_BYTES)


@pytest.mark.parametrize(
    ("limit", "heap_bytes"),
    [
        ("1Gi", 1024**3 * 4 // 5),
        ("1.5Gi", 3 * 1024**3 // 2 * 4 // 5),
        ("3000M", 3_000_000_000 * 4 // 5),
        ("2147483648", 2 * 1024**3 * 4 // 5),
        (2147483648, 2 * 1024**3 * 4 // 5),
        (None, None),
    ],
)
def test_envoys_heap_follows_its_containers_limit(limit: str | int | None, heap_bytes: int | None) -> None:
    data = one(objects({"envoy": {"resources": {"limits": {"memory": limit}}}}), "ConfigMap", "limpet-envoy")["data"]
    assert yaml.safe_load(data["envoy.yaml"]) == pod_bootstrap(HOST, heap_bytes)


def test_all_listen_where_they_are_told() -> None:
    found = objects({"listenAddress": "0.0.0.0", "envoy": {"maxConnections": 500}})
    envoy = yaml.safe_load(one(found, "ConfigMap", "limpet-envoy")["data"]["envoy.yaml"])
    assert envoy == pod_bootstrap(HOST, HEAP_BYTES, "0.0.0.0", max_connections=500)
    arguments = [
        argument
        for deployment in ("limpet-operator", "limpet-gateway")
        for each in containers(pod(found, deployment))
        for argument in each.get("args", [])
    ]
    assert {argument for argument in arguments if "[::]" in argument} == set()
    assert "--gateway-host=0.0.0.0" in arguments


def test_ext_proc_is_started_with_the_environment_that_was_measured() -> None:
    env = {
        entry["name"]: entry.get("value") for entry in container(pod(objects(), "limpet-gateway"), "ext-proc")["env"]
    }
    assert {name: env[name] for name in EXTPROC_ENVIRONMENT} == EXTPROC_ENVIRONMENT


@pytest.mark.envoy
def test_envoy_accepts_them(data: dict[str, str], tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    leaf = authority.issue_cert("limpet-gateway")
    leaf.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    leaf.private_key_pem.write_to_path(tmp_path / "tls.key")
    for name, text in data.items():
        moved = text.replace("/etc/limpet/envoy", str(tmp_path)).replace("/etc/limpet/tls", str(tmp_path))
        (tmp_path / name).write_text(moved)
    arguments = container(pod(objects(), "limpet-gateway"), "envoy")["args"]
    command = [argument.replace("/etc/limpet/envoy", str(tmp_path)) for argument in arguments]
    done = subprocess.run(
        [envoy_binary(), "--mode", "validate", *command], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr.lower()
