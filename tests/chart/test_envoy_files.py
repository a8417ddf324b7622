"""Envoy's files in the chart: the same as Python's, and accepted by Envoy itself."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trustme
import yaml
from tests.chart.rendered import CHART, container, containers, objects, one, pod

from limpet_operator.laptop.local import EXTPROC_ENVIRONMENT
from limpet_operator.laptop.machine import envoy_binary
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


@pytest.fixture
def command(data: dict[str, str], tmp_path: Path) -> list[str]:
    """Envoy as its container starts it, with the files where the test has them."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    leaf = authority.issue_cert("limpet-gateway")
    leaf.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    leaf.private_key_pem.write_to_path(tmp_path / "tls.key")
    for name, text in data.items():
        moved = text.replace("/etc/limpet/envoy", str(tmp_path)).replace("/etc/limpet/tls", str(tmp_path))
        (tmp_path / name).write_text(moved)
    arguments = container(pod(objects(), "limpet-gateway"), "envoy")["args"]
    return [str(envoy_binary()), *(argument.replace("/etc/limpet/envoy", str(tmp_path)) for argument in arguments)]


@pytest.mark.envoy
def test_envoy_accepts_them(command: list[str]) -> None:
    done = subprocess.run([*command, "--mode", "validate"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr.lower()


ASKED = """
import http.client, sys, time
for port, path in ((9902, "/stats/prometheus"), (9902, "/ready"), (9903, "/ready"), (9903, "/stats/prometheus")):
    deadline = time.monotonic() + 60
    while True:
        try:
            connection = http.client.HTTPConnection(sys.argv[1], port, timeout=10)
            connection.request("GET", path)
            print(port, path, connection.getresponse().status)
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
"""


@pytest.mark.envoy
@pytest.mark.parametrize(
    ("address", "asked"),
    [("-4 addr add 10.9.9.2/24", "10.9.9.2"), ("-6 addr add fd09::2/64 nodad", "fd09::2")],
    ids=["IPv4 only", "IPv6 only"],
)
@pytest.mark.skipif(shutil.which("unshare") is None or shutil.which("ip") is None, reason="needs util-linux, iproute2")
def test_a_pod_is_asked_at_the_address_that_it_has(
    command: list[str], tmp_path: Path, address: str, asked: str
) -> None:
    # Without an operator its ports would stay closed.
    config = yaml.safe_load((tmp_path / "envoy.yaml").read_text())
    del config["dynamic_resources"]
    (tmp_path / "envoy.yaml").write_text(yaml.safe_dump(config))
    script = (
        "ip link add eth0 type veth peer name node && ip link set lo up && ip link set node up && "
        f"ip link set eth0 up && ip {address} dev eth0 || exit 1; {shlex.join(command)} 2>/dev/null & envoy=$!; "
        f"{shlex.join([sys.executable, '-c', ASKED, asked])}; kill $envoy; wait $envoy"
    )
    inside = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", script]
    done = subprocess.run(inside, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.splitlines() == [
        "9902 /stats/prometheus 200",
        "9902 /ready 200",
        "9903 /ready 200",
        "9903 /stats/prometheus 404",
    ], done.stderr
