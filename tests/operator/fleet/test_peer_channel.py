"""Who may be a replica: certificates, versions, names."""

import socket
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import trustme
from tests.operator.fleet.replicas import Names, Replica
from tests.waiting import until

from limpet_extproc.contract.catalog import WATCH_METHOD
from limpet_extproc.contract.health_stream import HEALTH_METHOD
from limpet_extproc.contract.host_port import HostPort
from limpet_operator.fleet.peer_contract import PEER_METHOD, PeerAck, PeerHello, encode
from limpet_operator.fleet.peers import dialer, resolver

HOST = "limpet-operator-peers.ai.svc"
GATEWAY = "limpet-gateway.ai.svc"


def certificates(directory: Path, authority: trustme.CA, *hosts: str) -> Path:
    directory.mkdir()
    issued = authority.issue_cert(*hosts)
    issued.private_key_pem.write_to_path(directory / "tls.key")
    issued.cert_chain_pems[0].write_to_path(directory / "tls.crt")
    authority.cert_pem.write_to_path(directory / "ca.crt")
    return directory


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


async def test_replicas_show_each_other_certificates(tmp_path: Path) -> None:
    authority, other = trustme.CA(), trustme.CA()
    ours = certificates(tmp_path / "ours", authority, HOST)
    stranger = certificates(tmp_path / "stranger", other, HOST)
    elsewhere = certificates(tmp_path / "elsewhere", authority, "somebody.else")
    a, b = Replica("a", free_address()), Replica("b", free_address())
    names = Names(a.address, b.address)
    async with a.running(names, dialer(HOST, ours), ours):
        a.plan(p="1")
        for tls_dir in (None, stranger):
            async with Replica("x", free_address()).running(Names(a.address), dialer(HOST, tls_dir), ours) as x:
                await until(lambda dialled=x.dialled: len(dialled) == 3)
                assert a.count("limpet_peers") == x.count("limpet_peers") == 0, "both attempts before have failed"
        async with b.running(Names(), tls_dir=elsewhere):
            a.dialled.clear()
            await until(lambda: a.dialled.count(b.address) == 3)
            assert a.count("limpet_peers") == 0, "a certificate of another name is not accepted"
        async with b.running(names, dialer(HOST, ours), ours):
            await until(lambda: a.count("limpet_peers") == b.count("limpet_peers") == 1)


@pytest.mark.parametrize("method", [WATCH_METHOD, HEALTH_METHOD])
async def test_a_replicas_certificate_opens_no_stream_of_a_worker(tmp_path: Path, method: str) -> None:
    authority = trustme.CA()
    ours = certificates(tmp_path / "ours", authority, HOST)
    a = Replica("a", free_address(), only={"gateways": GATEWAY, "replicas": HOST})
    async with a.running(Names(), tls_dir=ours), dialer(HOST, ours)(a.address) as channel:
        call: Any = channel.stream_stream(method)()  # type: ignore[call-arg]
        with pytest.raises(grpc.aio.AioRpcError, match=f"only for the gateways .* carries the DNS name {GATEWAY}"):
            await call.read()


async def test_a_gateways_certificate_does_not_make_it_a_replica(tmp_path: Path) -> None:
    authority = trustme.CA()
    ours = certificates(tmp_path / "ours", authority, HOST)
    gateways = certificates(tmp_path / "gateways", authority, GATEWAY)
    only = {"gateways": GATEWAY, "replicas": HOST}
    a = Replica("a", free_address(), only=only)
    async with a.running(Names(), tls_dir=ours):
        async with dialer(HOST, gateways)(a.address) as channel:
            call: Any = channel.stream_stream(PEER_METHOD)()  # type: ignore[call-arg]
            with pytest.raises(
                grpc.aio.AioRpcError, match=f"only for replicas, .* carries the DNS name {HOST}"
            ) as refused:
                await call.read()
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        b = Replica("b", free_address(), only=only)
        async with b.running(Names(a.address), dialer(HOST, ours), ours):
            await until(lambda: a.count("limpet_peers") == b.count("limpet_peers") == 1)


@pytest.mark.parametrize(
    ("first_words", "words"),
    [
        ([encode(PeerHello("x", version=99))], "version 99"),
        ([encode(PeerAck(1))], "first message must be PeerHello"),
        ([encode(PeerHello("x")), encode(PeerHello("x"))], "sends PeerHello once"),
        ([b"\xff"], "not a message"),
    ],
)
async def test_a_stranger_gets_the_reason(tmp_path: Path, first_words: list[bytes], words: str) -> None:
    a = Replica("a", f"unix:{tmp_path}/a.sock")
    async with a.running(Names()), grpc.aio.insecure_channel(a.address) as channel:
        call: Any = channel.stream_stream(PEER_METHOD)()  # type: ignore[call-arg]
        for word in first_words:
            await call.write(word)
        with pytest.raises(grpc.aio.AioRpcError, match=words) as refused:
            await read_all(call)
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        await until(lambda: a.count("limpet_peers") == 0)


async def read_all(call: Any) -> None:
    while await call.read():
        pass


async def test_names_are_looked_up_with_their_port() -> None:
    assert "127.0.0.1:18000" in await resolver(HostPort("localhost", 18000))()
    assert await resolver(HostPort("::1", 18000))() == {"[::1]:18000"}
    with pytest.raises(OSError, match=r"."):
        await resolver(HostPort("nowhere.invalid", 18000))()
