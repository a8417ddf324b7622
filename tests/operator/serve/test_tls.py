"""Who may listen without certificates, who may connect with which, and what happens when the files change."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import trustme

from limpet_operator.laptop.machine import free_port
from limpet_operator.serve.grpc_server import serve
from limpet_operator.serve.tls import TlsUnusableError, only_for, read_certificates, require_tls, server_credentials

NAME = "limpet-operator.test.svc"


def mount(directory: Path, authority: trustme.CA, *names: str) -> Path:
    """What a Secret mounted there would hold."""
    directory.mkdir(exist_ok=True)
    certificate = authority.issue_cert(*(names or (NAME,)))
    certificate.private_key_pem.write_to_path(str(directory / "tls.key"))
    (directory / "tls.crt").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    authority.cert_pem.write_to_path(str(directory / "ca.crt"))
    return directory


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def stranger() -> trustme.CA:
    return trustme.CA()


async def _echo(request: bytes, _: object) -> bytes:
    return request


HANDLER = grpc.method_handlers_generic_handler("test", {"Echo": grpc.unary_unary_rpc_method_handler(_echo)})


@asynccontextmanager
async def serving(directory: Path) -> AsyncIterator[str]:
    address = f"127.0.0.1:{free_port()}"
    server = await serve(address, HANDLER, credentials=server_credentials(directory))
    try:
        yield address
    finally:
        await server.stop(None)


async def outcome(address: str, credentials: grpc.ChannelCredentials | None) -> bytes | grpc.StatusCode:
    """What a call gives: the echo, or why not."""
    options = (("grpc.ssl_target_name_override", NAME), ("grpc.use_local_subchannel_pool", 1))
    if credentials is None:
        channel: Any = grpc.aio.insecure_channel(address, options=options)
    else:
        channel = grpc.aio.secure_channel(address, credentials, options=options)
    async with channel:
        try:
            answer: bytes = await channel.unary_unary("/test/Echo")(b"hello", timeout=5)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return answer


def client(directory: Path) -> grpc.ChannelCredentials:
    own = read_certificates(directory)
    return grpc.ssl_channel_credentials(own.authority, own.key, own.chain)


async def test_without_a_certificate_of_the_authority_there_is_no_stream(
    authority: trustme.CA, stranger: trustme.CA, tmp_path: Path
) -> None:
    good = mount(tmp_path / "good", authority, "gateway")
    strange = mount(tmp_path / "strange", stranger, "gateway")
    shutil.copy(good / "ca.crt", strange / "ca.crt")
    async with serving(mount(tmp_path / "server", authority)) as address:
        assert await outcome(address, client(good)) == b"hello"
        assert await outcome(address, client(strange)) == grpc.StatusCode.UNAVAILABLE
        anonymous = grpc.ssl_channel_credentials(read_certificates(good).authority)
        assert await outcome(address, anonymous) == grpc.StatusCode.UNAVAILABLE
        assert await outcome(address, None) == grpc.StatusCode.UNAVAILABLE


async def _words(_: object, context: Any) -> None:
    await context.write(b"the keys")


STREAM = grpc.method_handlers_generic_handler("test", {"Words": grpc.stream_stream_rpc_method_handler(_words)})


@pytest.mark.parametrize(
    ("names", "let_in"),
    [
        (["limpet-gateway.ai.svc"], True),
        (["other", "limpet-gateway.ai.svc"], True),
        (["shop.ai.svc"], False),
        (["limpet-gateway.ai.svc.example.com"], False),
        (["limpet-gateway"], False),
        (["*.ai.svc"], False),
    ],
)
async def test_a_stream_is_only_for_the_name_that_it_is_meant_for(
    authority: trustme.CA, tmp_path: Path, names: list[str], let_in: bool, caplog: pytest.LogCaptureFixture
) -> None:
    address, shown = f"127.0.0.1:{free_port()}", client(mount(tmp_path / "client", authority, *names))
    guarded = only_for(STREAM, "limpet-gateway.ai.svc", "gateways")
    server = await serve(address, guarded, credentials=server_credentials(mount(tmp_path / "server", authority)))
    try:
        for _ in range(2):
            options = (("grpc.ssl_target_name_override", NAME), ("grpc.use_local_subchannel_pool", 1))
            async with grpc.aio.secure_channel(address, shown, options=options) as channel:
                call: Any = channel.stream_stream("/test/Words")()  # type: ignore[call-arg]
                if let_in:
                    assert await call.read() == b"the keys"
                    continue
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await call.read()
                assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
                assert refused.value.details() == (
                    "this is only for gateways, whose certificate carries the DNS name limpet-gateway.ai.svc"
                )
    finally:
        await server.stop(None)
    logged = [record.getMessage() for record in caplog.records if record.name == "limpet_operator.serve.tls"]
    assert len(logged) == (0 if let_in else 1), "once, however often it comes again"
    assert let_in or logged[0].endswith(f"this one carries {', '.join(names)}")


async def test_changed_files_hold_without_a_restart(
    authority: trustme.CA, stranger: trustme.CA, tmp_path: Path
) -> None:
    directory = mount(tmp_path / "server", authority)
    before = client(mount(tmp_path / "before", authority, "gateway"))
    after = client(mount(tmp_path / "after", stranger, "gateway"))
    async with serving(directory) as address:
        assert await outcome(address, before) == b"hello"
        # Half written: what was good goes on serving.
        (directory / "tls.crt").write_bytes(b"")
        assert await outcome(address, before) == b"hello"
        mount(directory, stranger)
        assert await outcome(address, after) == b"hello"
        assert await outcome(address, before) == grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def directory(authority: trustme.CA, tmp_path: Path) -> Path:
    return mount(tmp_path / "server", authority)


def test_files_that_are_missing_or_no_certificates_are_named(directory: Path) -> None:
    (directory / "ca.crt").unlink()
    with pytest.raises(TlsUnusableError, match=r"must hold tls.key, tls.crt, ca.crt: No such file .*/ca.crt"):
        server_credentials(directory)
    (directory / "ca.crt").write_text("no certificate")
    with pytest.raises(TlsUnusableError, match=r"/ca.crt is not PEM"):
        server_credentials(directory)


def test_a_key_of_another_certificate_is_refused(directory: Path, stranger: trustme.CA, tmp_path: Path) -> None:
    shutil.copy(mount(tmp_path / "other", stranger) / "tls.key", directory / "tls.key")
    with pytest.raises(TlsUnusableError, match=r"tls.key is not the key of .*tls.crt"):
        server_credentials(directory)


@pytest.mark.parametrize(
    ("address", "certificates", "refused"),
    [
        ("0.0.0.0:18000", False, True),
        ("10.1.2.3:18000", False, True),
        ("[::]:18000", False, True),
        ("0.0.0.0:18000", True, False),
        ("127.0.0.1:18000", False, False),
        ("localhost:18000", False, False),
        ("[::1]:18000", False, False),
        ("unix:/run/limpet/operator.sock", False, False),
        ("127.0.0.1.example.com:18000", False, True),
    ],
)
def test_only_this_machine_is_served_without_certificates(
    address: str, certificates: bool, refused: bool, tmp_path: Path
) -> None:
    if not refused:
        require_tls(address, tmp_path if certificates else None)
        return
    with pytest.raises(TlsUnusableError, match=r"not listening on .* without TLS.*--tls-dir"):
        require_tls(address, None)
