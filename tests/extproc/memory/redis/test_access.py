"""Who may in: users, passwords and certificates from the files of a Secret, and what changes when they change."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from tests.extproc.memory.conftest import Gateways
from tests.extproc.memory.redis.test_failures import LogLines, away, remembered, works
from tests.extproc.memory.redis_server import RedisServer, servers
from tests.waiting import until

pytestmark = pytest.mark.slow

RIGHTS = "on resetkeys ~lmpt:* nocommands +get +set +del +eval +evalsha +hset +hgetall +expire"
"""Enough by docs/memory.md."""


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    directory = tmp_path / "credentials"
    directory.mkdir()
    return directory


def write(directory: Path, **files: str) -> Path:
    for name, text in files.items():
        (directory / name).write_text(text)
    return directory


def guarded(directory: Path, user: str = "limpet", password: str = "open sesame") -> RedisServer:
    acl = directory / "users.acl"
    acl.write_text(
        f"user default off\nuser admin on >admin ~* &* +@all\nuser {user} {RIGHTS} >{password.replace(' ', '')}\n"
    )
    return RedisServer(directory / "redis", {"aclfile": str(acl)}, client={"username": "admin", "password": "admin"})


@pytest.fixture
def guarded_redis(tmp_path: Path) -> Iterator[RedisServer]:
    with servers(guarded(tmp_path)) as (server,):
        yield server


async def test_user_and_password_with_no_more_rights_than_needed(
    guarded_redis: RedisServer, credentials: Path, gateways: Gateways, key: bytes
) -> None:
    write(credentials, username="limpet\n", password="opensesame\n")
    await works(await gateways.open(guarded_redis.url, credentials=credentials), key)


async def test_a_password_alone(tmp_path: Path, credentials: Path, gateways: Gateways, key: bytes) -> None:
    server = RedisServer(tmp_path / "redis", {"requirepass": "opensesame"}, client={"password": "opensesame"})
    write(credentials, password="opensesame")
    with servers(server):
        await works(await gateways.open(server.url, credentials=credentials), key)


@pytest.mark.parametrize("files", [{"username": "limpet", "password": "wrong"}, {}], ids=["wrong", "none"])
async def test_a_wrong_password_is_logged_once_and_a_right_one_is_taken_up(
    guarded_redis: RedisServer,
    credentials: Path,
    gateways: Gateways,
    key: bytes,
    log_lines: LogLines,
    files: dict[str, str],
) -> None:
    gateway = await gateways.open(guarded_redis.url, credentials=write(credentials, **files))
    assert await gateway.memory.lookup(key, 0.0) is None
    gateway.memory.expect(key, "a", 0.0)
    assert not gateway.up
    write(credentials, username="limpet", password="opensesame")
    await until(lambda: gateway.up)
    await works(gateway, key)
    complaints = [line for line in log_lines() if "is away" in line]
    assert len(complaints) == 1
    assert "user, password or rights are wrong" in complaints[0]
    assert "opensesame" not in "".join(log_lines())


async def test_a_password_that_changes_is_read_again(
    guarded_redis: RedisServer, credentials: Path, gateways: Gateways, key: bytes
) -> None:
    write(credentials, username="limpet", password="opensesame")
    gateway = await gateways.open(guarded_redis.url, credentials=credentials)
    await remembered(gateway, key)
    write(credentials, password="changed")
    guarded_redis.run("ACL", "SETUSER", "limpet", ">changed", "<opensesame")
    guarded_redis.run("CLIENT", "KILL", "USER", "limpet")
    async with asyncio.timeout(60):
        while await gateway.memory.lookup(key, 0.0) is None:  # noqa: ASYNC110 (it is Redis that it waits for)
            await asyncio.sleep(0.01)
    await works(gateway, key)


async def test_a_user_without_the_right_to_write(
    guarded_redis: RedisServer, credentials: Path, gateways: Gateways, key: bytes, log_lines: LogLines
) -> None:
    write(credentials, username="limpet", password="opensesame")
    guarded_redis.run("ACL", "SETUSER", "limpet", "-eval", "-evalsha")
    gateway = await gateways.open(guarded_redis.url, credentials=credentials)
    gateway.memory.expect(key, "a", 0.0)
    await gateway.memory.written()
    assert gateway.failures("write", "auth") == 1
    assert gateway.up
    assert not gateway.writable
    assert any("rights are wrong" in line for line in log_lines())


async def test_a_user_whose_rights_are_taken_away(
    guarded_redis: RedisServer, credentials: Path, gateways: Gateways, key: bytes
) -> None:
    write(credentials, username="limpet", password="opensesame")
    gateway = await gateways.open(guarded_redis.url, credentials=credentials)
    await remembered(gateway, key)
    guarded_redis.run("ACL", "SETUSER", "limpet", "-get")
    await away(gateway, key)
    assert gateway.failures("lookup", "auth") >= 3


async def test_tls_with_a_user(tmp_path: Path, credentials: Path, gateways: Gateways, key: bytes) -> None:
    server = with_tls(guarded(tmp_path), tmp_path, trustme.CA(), credentials)
    write(credentials, username="limpet", password="opensesame")
    with servers(server):
        await works(await gateways.open(f"rediss://127.0.0.1:{server.port}", credentials=credentials), key)


async def test_a_certificate_from_no_trusted_authority(
    tmp_path: Path, credentials: Path, gateways: Gateways, key: bytes, log_lines: LogLines
) -> None:
    server = with_tls(RedisServer(tmp_path / "redis"), tmp_path, trustme.CA(), credentials)
    right = (credentials / "ca.crt").read_bytes()
    trustme.CA().cert_pem.write_to_path(credentials / "ca.crt")
    with servers(server):
        gateway = await gateways.open(f"rediss://127.0.0.1:{server.port}", credentials=credentials)
        assert not gateway.up
        assert await gateway.memory.lookup(key, 0.0) is None
        assert any("certificate" in line for line in log_lines())
        (credentials / "ca.crt").write_bytes(right)
        await until(lambda: gateway.up)
        await works(gateway, key)


def with_tls(server: RedisServer, directory: Path, ca: trustme.CA, credentials: Path) -> RedisServer:
    """Make the server speak TLS with a certificate for 127.0.0.1."""
    certificate = ca.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(directory / "tls.key")
    certificate.cert_chain_pems[0].write_to_path(directory / "tls.crt")
    ca.cert_pem.write_to_path(credentials / "ca.crt")
    ca.cert_pem.write_to_path(directory / "ca.crt")
    server.tls = True
    server.client = {**server.client, "ssl_ca_certs": str(directory / "ca.crt")}
    server.options |= {
        "tls-cert-file": str(directory / "tls.crt"),
        "tls-key-file": str(directory / "tls.key"),
        "tls-ca-cert-file": str(directory / "ca.crt"),
        "tls-auth-clients": "no",
    }
    return server
