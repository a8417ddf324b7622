"""Redis itself: opens one server, the master that sentinels name, or a cluster, and reads and writes in batches.

The only module that knows the Redis client. Its errors become `RedisError`, with a reason from a closed list.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha1
from pathlib import Path
from typing import Any, Final, Protocol

from redis import exceptions
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider

from limpet_extproc.memory.redis.address import Address
from limpet_extproc.memory.redis.errors import ErrorReason, RedisError
from limpet_extproc.memory.redis.script import SCRIPT

TIMEOUT_S: Final = 1.0
"""For a connection to open, and for an answer before the connection is dropped: background time, no request's."""

READS_AT_ONCE: Final = 4
"""Reads under way on one store, beside one write: a connection each."""

_SHA: Final = sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()

Write = tuple[bytes, Sequence[bytes]]
"""A Redis key, and the arguments for `SCRIPT`."""


class RedisStore(Protocol):
    """A Redis that has been opened."""

    async def read(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        """The values of these keys. Raises `RedisError`."""

    async def write(self, writes: Sequence[Write]) -> Sequence[bytes | RedisError | None]:
        """Do these in order: the value after each, or its error. Raises `RedisError` if none is known to be done."""

    async def close(self) -> None:
        """Close the connections; reads and writes must have ended."""


class FieldStore(Protocol):
    """A Redis that has been opened, for values of many fields."""

    async def put_fields(self, key: bytes, fields: Mapping[bytes, bytes], kept_s: int) -> None:
        """Set these fields of a key, which is kept so long from now on. Raises `RedisError`."""

    async def fields(self, keys: Sequence[bytes]) -> Sequence[Mapping[bytes, bytes]]:
        """All fields of each of these keys. Raises `RedisError`."""

    async def close(self) -> None:
        """Close the connections."""


class Credentials(CredentialProvider):
    """User and password from the files of a mounted Secret; read for every connection, so that they can be changed."""

    def __init__(self, directory: Path, prefix: str = "") -> None:
        self._user = directory / f"{prefix}username"
        self._password = directory / f"{prefix}password"

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """As the client library wants them, without the line end that editors add."""
        password = self._password.read_text().rstrip("\r\n")
        user = self._user.read_text().rstrip("\r\n") if self._user.is_file() else ""
        return (user, password) if user else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """The same: two small files are read sooner than a thread starts."""
        return self.get_credentials()


class ClientStore:
    """A `RedisStore` by redis-py."""

    def __init__(self, client: "Redis | RedisCluster", sentinel: Sentinel | None = None) -> None:
        self._client: Any = client
        self._sentinels: list[Any] = sentinel.sentinels if sentinel else []

    async def read(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        """See `RedisStore`."""
        try:
            if len(keys) == 1:
                return [await self._client.get(keys[0])]
            pipeline = self._client.pipeline(transaction=False)
            for key in keys:
                pipeline.get(key)
            values: list[bytes | None] = await pipeline.execute()
        except Exception as error:
            raise redis_error(error) from None
        return values

    async def write(self, writes: Sequence[Write]) -> Sequence[bytes | RedisError | None]:
        """See `RedisStore`."""
        try:
            done = await self._run("EVALSHA", _SHA, writes)
            unknown = [index for index, result in enumerate(done) if isinstance(result, exceptions.NoScriptError)]
            if unknown:
                again = await self._run("EVAL", SCRIPT, [writes[index] for index in unknown])
                for index, result in zip(unknown, again, strict=True):
                    done[index] = result
        except Exception as error:
            raise redis_error(error) from None
        return [redis_error(result) if isinstance(result, Exception) else result for result in done]

    async def _run(self, command: str, script: str, writes: Sequence[Write]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for key, changes in writes:
            pipeline.execute_command(command, script, 1, key, *changes)
        results: list[Any] = await pipeline.execute(raise_on_error=False)
        return results

    async def put_fields(self, key: bytes, fields: Mapping[bytes, bytes], kept_s: int) -> None:
        """See `FieldStore`."""
        try:
            pipeline = self._client.pipeline(transaction=False)
            pipeline.hset(key, mapping=fields)
            pipeline.expire(key, kept_s)
            await pipeline.execute()
        except Exception as error:
            raise redis_error(error) from None

    async def fields(self, keys: Sequence[bytes]) -> Sequence[Mapping[bytes, bytes]]:
        """See `FieldStore`."""
        try:
            pipeline = self._client.pipeline(transaction=False)
            for key in keys:
                pipeline.hgetall(key)
            values: list[Mapping[bytes, bytes]] = await pipeline.execute()
        except Exception as error:
            raise redis_error(error) from None
        return values

    async def close(self) -> None:
        """See `RedisStore`."""
        for client in (self._client, *self._sentinels):
            # A connection that breaks while it is closed is closed.
            with suppress(Exception):
                await client.aclose()


async def open_store(address: Address, credentials: Path | None) -> ClientStore:
    """Open Redis; credential files are read again each time. Raises `RedisError`."""
    try:
        store = ClientStore(*_client(address, credentials))
    except Exception as error:
        raise redis_error(error) from None
    return store


def _client(address: Address, credentials: Path | None) -> tuple["Redis | RedisCluster", Sentinel | None]:
    common = _common(address, credentials)
    if address.topology == "cluster":
        nodes = [ClusterNode(host, port) for host, port in address.hosts]
        return RedisCluster(startup_nodes=nodes, max_connections=_MAX_CONNECTIONS, **common), None
    common |= {"max_connections": _MAX_CONNECTIONS}
    if address.topology == "single":
        ((host, port),) = address.hosts
        return Redis(host=host, port=port, db=address.database, **common), None
    asking = _common(address, credentials, "sentinel-")
    sentinel = Sentinel(  # type: ignore[no-untyped-call]  # untyped in the library
        address.hosts, sentinel_kwargs=asking, db=address.database, **common
    )
    return sentinel.master_for(address.service), sentinel


def _common(address: Address, credentials: Path | None, prefix: str = "") -> dict[str, Any]:
    options: dict[str, Any] = {
        "socket_timeout": TIMEOUT_S,
        "socket_connect_timeout": TIMEOUT_S,
        # A connection that the server has closed is opened again, once; nothing else is tried twice.
        "retry": Retry(NoBackoff(), 1, (exceptions.ConnectionError,)),
        "protocol": 2,
        "driver_info": None,
    }
    if credentials is not None and (credentials / f"{prefix}password").is_file():
        options["credential_provider"] = Credentials(credentials, prefix)
    if address.tls:
        options |= {"ssl": True, "ssl_cert_reqs": "required", "ssl_check_hostname": True}
        if credentials is not None and (credentials / "ca.crt").is_file():
            options["ssl_ca_certs"] = str(credentials / "ca.crt")
    return options


_MAX_CONNECTIONS: Final = 32
"""A safety net: with `READS_AT_ONCE` and one write there are five, or five for each node of a cluster."""

_REASONS: Final[Mapping[type[Exception], ErrorReason]] = {
    exceptions.AuthenticationError: "auth",
    exceptions.AuthorizationError: "auth",
    exceptions.NoPermissionError: "auth",
    exceptions.OutOfMemoryError: "full",
    exceptions.ReadOnlyError: "readonly",
    exceptions.TimeoutError: "timeout",
    TimeoutError: "timeout",
    exceptions.BusyLoadingError: "connection",
    exceptions.ConnectionError: "connection",
    OSError: "connection",
}
"""First match wins, so the more specific stand before the more general."""

_AUTH_WORDS: Final = ("NOAUTH", "WRONGPASS", "invalid username-password", "AUTH ")


def redis_error(error: Exception) -> RedisError:
    """An error of the client library in our terms."""
    text = str(error)
    if any(word in text for word in _AUTH_WORDS):
        return RedisError("auth", _short(text))
    for kind, reason in _REASONS.items():
        if isinstance(error, kind):
            return RedisError(reason, _short(text))
    return RedisError("error", _short(text) or type(error).__name__)


_ECHOES: Final = (" script: ", ", with args beginning with: ")
"""What follows these in an error is part of a command, which may be a password or a key."""


def _short(text: str) -> str:
    """The first line, without what it repeats of the command."""
    for echo in _ECHOES:
        text = text.partition(echo)[0]
    return text.partition("\n")[0][:200]
