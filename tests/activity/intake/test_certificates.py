"""Over TCP only those with a gateway's certificate hand anything over, also after certificates were renewed."""

import asyncio
from pathlib import Path

import grpc
import pytest
import trustme
from tests.activity.intake.taking import batch, hand_over, serving

from limpet_activity.intake.certificates import TlsFilesError, server_credentials
from limpet_activity.store.in_memory import InMemoryStore
from limpet_activity.store.taking import taking

SERVER = "activity.test.svc"
GATEWAY = "gateway.test.svc"
OK = grpc.StatusCode.OK


def mount(folder: Path, authority: trustme.CA, name: str) -> Path:
    """What a Secret mounted there would hold."""
    folder.mkdir(exist_ok=True)
    certificate = authority.issue_cert(name)
    certificate.private_key_pem.write_to_path(str(folder / "tls.key"))
    (folder / "tls.crt").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    authority.cert_pem.write_to_path(str(folder / "ca.crt"))
    return folder


def client(folder: Path, trusted: trustme.CA) -> grpc.ChannelCredentials:
    key, chain = (folder / "tls.key").read_bytes(), (folder / "tls.crt").read_bytes()
    return grpc.ssl_channel_credentials(trusted.cert_pem.bytes(), key, chain)


async def test_who_may_hand_records_over(tmp_path: Path) -> None:
    ours, strange = trustme.CA(), trustme.CA()
    tls = mount(tmp_path / "server", ours, SERVER)
    gateway = client(mount(tmp_path / "gateway", ours, GATEWAY), ours)
    other = client(mount(tmp_path / "other", ours, "other.test.svc"), ours)
    stranger = client(mount(tmp_path / "stranger", strange, GATEWAY), ours)
    nobody = grpc.ssl_channel_credentials(ours.cert_pem.bytes())
    store = InMemoryStore()
    async with serving(taking(store), ["127.0.0.1:0"], tls) as service:
        (place,) = service.places
        for refused in (stranger, nobody, None):
            code, _ = await hand_over(place, batch(1), refused, SERVER)
            assert code is grpc.StatusCode.UNAVAILABLE
        code, why = await hand_over(place, batch(1), other, SERVER)
        assert (code, GATEWAY in why) == (grpc.StatusCode.PERMISSION_DENIED, True)
        assert store.last_number() == 0
        assert await hand_over(place, batch(1), gateway, SERVER) == (OK, "")
    assert store.last_number() == 1


async def test_renewed_certificates_hold_for_new_connections(tmp_path: Path) -> None:
    old, new = trustme.CA(), trustme.CA()
    tls = mount(tmp_path / "server", old, SERVER)
    before = client(mount(tmp_path / "before", old, GATEWAY), old)
    after = client(mount(tmp_path / "after", new, GATEWAY), new)
    async with serving(taking(InMemoryStore()), ["127.0.0.1:0"], tls) as service:
        (place,) = service.places
        assert await hand_over(place, batch(1), before, SERVER) == (OK, "")
        (tls / "tls.key").write_text("half written")
        assert await hand_over(place, batch(2), before, SERVER) == (OK, "")
        mount(tls, new, SERVER)
        assert await hand_over(place, batch(3), after, SERVER) == (OK, "")
        assert (await hand_over(place, batch(4), before, SERVER))[0] is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("missing", ["tls.crt", "tls.key", "ca.crt"])
def test_unusable_files_are_named(tmp_path: Path, missing: str) -> None:
    tls = mount(tmp_path / "server", trustme.CA(), SERVER)
    (tls / missing).write_text("nothing")
    with pytest.raises(TlsFilesError, match="not PEM files that belong together"):
        server_credentials(tls)
    (tls / missing).unlink()
    with pytest.raises(TlsFilesError, match=missing):
        server_credentials(tls)


async def test_with_unusable_files_the_socket_is_not_served_either(tmp_path: Path) -> None:
    tls, socket = mount(tmp_path / "server", trustme.CA(), SERVER), tmp_path / "s.sock"
    (tls / "tls.key").write_text("nothing")
    with pytest.raises(TlsFilesError):
        async with serving(taking(InMemoryStore()), [f"unix:{socket}", "127.0.0.1:0"], tls):
            pytest.fail("it serves")
    with pytest.raises(OSError):
        await asyncio.open_unix_connection(socket)


@pytest.mark.parametrize("turns", range(4))
async def test_a_service_whose_start_is_cancelled_does_not_listen(turns: int, tmp_path: Path) -> None:
    socket = tmp_path / "s.sock"

    async def serve() -> None:
        async with serving(taking(InMemoryStore()), [f"unix:{socket}"]):
            await asyncio.Event().wait()

    starting = asyncio.create_task(serve())
    for _ in range(turns):
        await asyncio.sleep(0)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    with pytest.raises(OSError):
        await asyncio.open_unix_connection(socket)
