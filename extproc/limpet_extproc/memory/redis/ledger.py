"""The ledger in Redis, shared by all workers of an installation.

A key is `lmpt:l` and the hour; its fields are the rows of that hour, each by its writer and what its requests have in
common, in MessagePack. A worker writes its own fields alone, in full: writing twice adds nothing, and nothing needs a
lock. They are added up where they are read.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, TypeVar

import msgspec

from limpet_extproc.contract.ledger import HOUR_S, RowKey, Rows, RowSums, added
from limpet_extproc.memory.ledger import LedgerUnavailableError
from limpet_extproc.memory.redis.errors import RedisError
from limpet_extproc.memory.redis.layout import PREFIX
from limpet_extproc.memory.redis.store import FieldStore

LEDGER: Final = b"l"
KEPT_S: Final = 40 * 24 * HOUR_S
"""A month and what it is compared with. Not as long as in a file: every worker writes rows of its own, into memory."""

_AT_ONCE: Final = 256
"""Hours, or rows, in one round trip."""

_T = TypeVar("_T")
_ENCODER: Final = msgspec.msgpack.Encoder()
_FIELD: Final[msgspec.msgpack.Decoder[tuple[str, RowKey]]] = msgspec.msgpack.Decoder(tuple[str, RowKey])
_SUMS: Final[msgspec.msgpack.Decoder[RowSums]] = msgspec.msgpack.Decoder(RowSums)


class RedisLedger:
    """A `LedgerStore`. `writer` tells this process from all others that have ever written."""

    def __init__(self, connect: Callable[[], Awaitable[FieldStore]], writer: str) -> None:
        self._connect = connect
        self._writer = writer
        self._store: FieldStore | None = None

    async def write(self, totals: Rows) -> None:
        """See `LedgerStore`."""
        by_hour: dict[int, dict[bytes, bytes]] = {}
        for key, sums in totals.items():
            by_hour.setdefault(key.hour, {})[_ENCODER.encode((self._writer, key))] = _ENCODER.encode(sums)
        try:
            if self._store is None:
                self._store = await self._connect()
            for hour, fields in by_hour.items():
                for some in _parts(list(fields.items())):
                    await self._store.put_fields(_redis_key(hour), dict(some), KEPT_S)
        except RedisError as error:
            await self.close()
            raise LedgerUnavailableError(f"Redis: {error}") from error

    async def close(self) -> None:
        """See `LedgerStore`."""
        if self._store is not None:
            store, self._store = self._store, None
            await store.close()


async def read_redis_ledger(store: FieldStore, from_hour: int, to_hour: int) -> dict[RowKey, RowSums]:
    """All rows of these hours, `to_hour` not among them. Raises LedgerUnavailableError."""
    rows: list[tuple[RowKey, RowSums]] = []
    try:
        for hours in _parts(range(from_hour, to_hour)):
            for fields in await store.fields([_redis_key(hour) for hour in hours]):
                rows += [(_FIELD.decode(field)[1], _SUMS.decode(value)) for field, value in fields.items()]
    except (RedisError, msgspec.MsgspecError) as error:
        raise LedgerUnavailableError(f"Redis: {error}") from error
    return added(rows)


def _redis_key(hour: int) -> bytes:
    return PREFIX + LEDGER + str(hour).encode()


def _parts(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    return (items[at : at + _AT_ONCE] for at in range(0, len(items), _AT_ONCE))
