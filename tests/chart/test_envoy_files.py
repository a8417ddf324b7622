"""Envoy's files in the chart: the same as Python's, and accepted by Envoy itself."""

import subprocess
from pathlib import Path

import pytest
import trustme
import yaml
from tests.chart.rendered import CHART, container, objects, one, pod

from limpet_operator.local import EXTPROC_ENVIRONMENT, envoy_binary
from limpet_operator.publish.bootstrap import pod_bootstrap, pod_secrets

HOST = "limpet-operator.ai.svc"


@pytest.fixture(scope="module")
def data() -> dict[str, str]:
    files: dict[str, str] = one(objects(), "ConfigMap", "limpet-envoy")["data"]
    return files


def test_the_charts_files_say_what_python_says(data: dict[str, str]) -> None:
    assert yaml.safe_load(data["envoy.yaml"]) == pod_bootstrap(HOST)
    assert {name: yaml.safe_load(data[name]) for name in ("client.yaml", "ca.yaml")} == pod_secrets(HOST)
    assert data["drain.sh"] == (CHART / "files" / "drain.sh").read_text()
    assert set(data) == {"envoy.yaml", "client.yaml", "ca.yaml", "drain.sh"}


def test_the_operators_name_follows_release_and_namespace() -> None:
    data = one(objects(name="edge", namespace="prod"), "ConfigMap", "edge-limpet-envoy")["data"]
    assert yaml.safe_load(data["envoy.yaml"]) == pod_bootstrap("edge-limpet-operator.prod.svc")


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
