"""Certificates change in a running pod: Envoy, with the chart's files, presents the new one, and trusts no other."""

import asyncio
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from tests.chart.rendered import objects, one

from limpet_operator.laptop.machine import envoy_binary, free_port

HOST = "limpet-operator.ai.svc"
AT_MOST_S = 60


def put(mount: Path, leaf: trustme.LeafCert, authority: trustme.CA) -> None:
    """As a kubelet refreshes a Secret: a new directory, and one link that is swapped."""
    mount.mkdir(exist_ok=True)
    fresh = mount / f"..{leaf.cert_chain_pems[0].bytes()[-80:-60].hex()}"
    fresh.mkdir()
    leaf.cert_chain_pems[0].write_to_path(fresh / "tls.crt")
    leaf.private_key_pem.write_to_path(fresh / "tls.key")
    authority.cert_pem.write_to_path(fresh / "ca.crt")
    (mount / "..next").symlink_to(fresh.name)
    (mount / "..next").replace(mount / "..data")
    for name in ("tls.crt", "tls.key", "ca.crt"):
        if not (mount / name).is_symlink():
            (mount / name).symlink_to(Path("..data", name))


@asynccontextmanager
async def envoy(directory: Path, operator_port: int) -> AsyncIterator[None]:
    """Envoy with the chart's files, moved into a directory, and the operator on loopback."""
    moves = {
        "/etc/limpet/envoy": str(directory),
        "/etc/limpet/tls": str(directory / "tls"),
        f"{{address: {HOST}, port_value: 18000}}": f"{{address: 127.0.0.1, port_value: {operator_port}}}",
        "port_value: 9901": f"port_value: {free_port()}",
        "port_value: 9902": f"port_value: {free_port()}",
    }
    for name, text in one(objects(), "ConfigMap", "limpet-envoy")["data"].items():
        for old, new in moves.items():
            text = text.replace(old, new)
        (directory / name).write_text(text)
    assert f"127.0.0.1, port_value: {operator_port}" in (directory / "envoy.yaml").read_text()
    process = await asyncio.create_subprocess_exec(
        str(envoy_binary()),
        *("--config-path", str(directory / "envoy.yaml"), "--service-node", "pod-1", "--service-cluster", "limpet"),
        *("--log-level", "error", "--disable-hot-restart", "--concurrency", "1"),
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def operator(
    leaf: trustme.LeafCert, authority: trustme.CA, seen: "asyncio.Queue[int]", tried: "asyncio.Queue[str] | None" = None
) -> AsyncIterator[int]:
    """Notes which certificate each client shows, and hangs up; its port. `tried` gets the name each one asks for."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.verify_mode = ssl.CERT_REQUIRED
    leaf.configure_cert(context)
    authority.configure_trust(context)

    if tried is not None:
        context.sni_callback = lambda _, name, __: tried.put_nowait(name)

    async def note(_: StreamReader, writer: StreamWriter) -> None:
        seen.put_nowait(int(writer.get_extra_info("peercert")["serialNumber"], 16))
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def next_other_than(seen: "asyncio.Queue[int]", old: int) -> int:
    async with asyncio.timeout(AT_MOST_S):
        while (shown := await seen.get()) == old:
            pass
    return shown


def serial(leaf: trustme.LeafCert) -> int:
    return x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes()).serial_number


@pytest.mark.envoy
async def test_a_new_certificate_is_shown_without_a_restart(tmp_path: Path) -> None:
    authority = trustme.CA()
    first, second = authority.issue_cert("limpet-gateway"), authority.issue_cert("limpet-gateway")
    put(tmp_path / "tls", first, authority)
    seen: asyncio.Queue[int] = asyncio.Queue()
    async with operator(authority.issue_cert(HOST), authority, seen) as port, envoy(tmp_path, port):
        async with asyncio.timeout(AT_MOST_S):
            assert await seen.get() == serial(first)
        put(tmp_path / "tls", second, authority)
        assert await next_other_than(seen, serial(first)) == serial(second)


@pytest.mark.envoy
async def test_only_the_operator_by_its_name_gets_to_see_one(tmp_path: Path) -> None:
    authority = trustme.CA()
    put(tmp_path / "tls", authority.issue_cert("limpet-gateway"), authority)
    strangers: asyncio.Queue[int] = asyncio.Queue()
    tried: asyncio.Queue[str] = asyncio.Queue()
    seen: asyncio.Queue[int] = asyncio.Queue()
    async with (
        operator(authority.issue_cert("limpet-operator.other.svc"), authority, strangers, tried) as port,
        envoy(tmp_path, port),
        asyncio.timeout(AT_MOST_S),
    ):
        # It tries again because it has broken off before.
        assert [await tried.get() for _ in range(3)] == [HOST] * 3
        assert strangers.empty()
    async with operator(authority.issue_cert(HOST), authority, seen) as port, envoy(tmp_path, port):
        async with asyncio.timeout(AT_MOST_S):
            assert await seen.get()
