"""`python -m limpet_operator` where something is in its way: one line that says what to do, and status 1."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import trustme
import yaml

from limpet_extproc.contract.catalog import WATCH_METHOD
from limpet_operator.fleet.peer_contract import PEER_METHOD
from limpet_operator.laptop.machine import free_port

pytestmark = pytest.mark.slow

KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "test",
    "clusters": [{"name": "test", "cluster": {"server": "http://127.0.0.1:9"}}],
    "users": [{"name": "test", "user": {"token": "t"}}],
    "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
}


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(KUBECONFIG))
    return path


def started(*flags: str, home: Path) -> tuple[int, list[dict[str, str]]]:
    """Its exit status and what it logged."""
    command = [sys.executable, "-m", "limpet_operator", "--all-namespaces", "--http", "127.0.0.1:0", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env={"HOME": str(home)})
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_no_cluster_is_known(tmp_path: Path) -> None:
    status, entries = started(home=tmp_path)
    assert (status, entries[-1]["level"]) == (1, "error")
    assert "name a file with --kubeconfig or KUBECONFIG" in entries[-1]["message"]


def test_it_does_not_listen_for_others_without_certificates(kubeconfig: Path, tmp_path: Path) -> None:
    status, entries = started("--kubeconfig", str(kubeconfig), "--listen", "0.0.0.0:0", home=tmp_path)
    assert status == 1
    assert entries[-1]["message"].startswith("not listening on 0.0.0.0:0 without TLS")


def test_an_address_in_use(kubeconfig: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for flag in ("--listen", "--http"):
            status, entries = started("--kubeconfig", str(kubeconfig), flag, address, home=tmp_path)
            assert status == 1
            assert str(taken.getsockname()[1]) in entries[-1]["message"], flag
            assert entries[-1]["level"] == "error"


XDS_METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
GATEWAY, REPLICA = "limpet-gateway.ai.svc", "limpet-operator-peers.ai.svc"


def certificate(directory: Path, authority: trustme.CA, name: str) -> Path:
    """A mounted Secret with a certificate of that name."""
    directory.mkdir()
    issued = authority.issue_cert(name)
    issued.private_key_pem.write_to_path(directory / "tls.key")
    issued.cert_chain_pems[0].write_to_path(directory / "tls.crt")
    authority.cert_pem.write_to_path(directory / "ca.crt")
    return directory


@contextmanager
def serving(kubeconfig: Path, tls_dir: Path) -> Iterator[str]:
    """A replica as in a pod, whose cluster is away; its address."""
    port = free_port()
    flags = (
        *("--all-namespaces", "--http", "127.0.0.1:0", "--kubeconfig", str(kubeconfig), "--listen", f"[::]:{port}"),
        *("--tls-dir", str(tls_dir), "--gateway-name", GATEWAY, "--peers", f"{REPLICA}:{port}"),
    )
    command = [sys.executable, "-m", "limpet_operator", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"HOME": str(tls_dir)}) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if json.loads(line)["message"] == "listening":
                    break
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()


async def refusal(address: str, method: str, tls_dir: Path) -> tuple[grpc.StatusCode, str] | None:
    """Why a stream is ended; None: it is open."""
    key, chain, authority = ((tls_dir / name).read_bytes() for name in ("tls.key", "tls.crt", "ca.crt"))
    credentials = grpc.ssl_channel_credentials(authority, key, chain)
    options = (("grpc.ssl_target_name_override", REPLICA), ("grpc.use_local_subchannel_pool", 1))
    channel: Any
    async with grpc.aio.secure_channel(address, credentials, options=options) as channel:
        call = channel.stream_stream(method, lambda raw: raw, lambda raw: raw)(timeout=1.0)
        try:
            await call.read()
        except grpc.aio.AioRpcError as error:
            silent = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            return None if silent else (error.code(), error.details() or "")
        return None


async def test_each_stream_is_for_those_by_whose_name_it_is_asked(kubeconfig: Path, tmp_path: Path) -> None:
    authority = trustme.CA()
    whose = {name: certificate(tmp_path / name, authority, name) for name in (GATEWAY, REPLICA, "shop.ai.svc")}
    with serving(kubeconfig, whose[REPLICA]) as address:
        for method, name in ((XDS_METHOD, GATEWAY), (WATCH_METHOD, GATEWAY), (PEER_METHOD, REPLICA)):
            assert await refusal(address, method, whose[name]) is None
            for other in whose.keys() - {name}:
                refused = await refusal(address, method, whose[other])
                assert refused is not None, f"{other} was let in to {method}"
                assert refused[0] is grpc.StatusCode.PERMISSION_DENIED
                assert refused[1].endswith(f"whose certificate carries the DNS name {name}")
