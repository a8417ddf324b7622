"""The ledger in a file that several processes write and read at once, over restarts: SQLite.

Each process has a number of its own, and writes its own sums; those of a row are added up where they are read.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, cast

from limpet_extproc.contract.ledger import HOUR_S, KEY_FIELDS, SUMS, RowKey, Rows, RowSums, added
from limpet_extproc.memory.ledger import LedgerUnavailableError

KEPT_S: Final = 400 * 24 * HOUR_S
"""A year, and a month to compare it with."""

_BUSY_S: Final = 5.0
"""How long another process may be writing."""
_AGAIN_S: Final = 0.05
_VERSION: Final = 2

_COLUMNS: Final = (*KEY_FIELDS, "writer", *SUMS)
_TABLE: Final = f"""create table if not exists rows (
  {", ".join(f"{name} text not null" if name not in ("hour", *SUMS) else f"{name} not null" for name in _COLUMNS)},
  primary key ({", ".join((*KEY_FIELDS, "writer"))})
) without rowid"""
_WRITE: Final = f"insert or replace into rows ({', '.join(_COLUMNS)}) values ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608
_READ: Final = f"select {', '.join((*KEY_FIELDS, *SUMS))} from rows where hour >= ? and hour < ?"  # noqa: S608


class LedgerFile:
    """A `LedgerStore`. `writer` tells this process from all others that have ever written to the file."""

    def __init__(self, path: Path, writer: str) -> None:
        self._path = path
        self._writer = writer
        self._swept_hour = 0

    async def write(self, totals: Rows) -> None:
        """See `LedgerStore`."""
        await asyncio.to_thread(self._write, totals)

    async def close(self) -> None:
        """See `LedgerStore`: nothing stays open between two writes."""

    def _write(self, totals: Rows) -> None:
        with _unavailable(self._path), closing(_opened(self._path)) as database, database:
            _prepare(database)
            database.executemany(
                _WRITE,
                [
                    (*(getattr(key, n) for n in KEY_FIELDS), self._writer, *(getattr(sums, n) for n in SUMS))
                    for key, sums in totals.items()
                ],
            )
            newest = max((key.hour for key in totals), default=0)
            if newest > self._swept_hour:
                database.execute("delete from rows where hour < ?", (newest - KEPT_S // HOUR_S,))
                self._swept_hour = newest


def read_ledger_file(path: Path, from_hour: int, to_hour: int) -> dict[RowKey, RowSums]:
    """All rows of these hours, `to_hour` not among them. Raises LedgerUnavailableError, also where there is no file."""
    if not path.is_file():
        raise LedgerUnavailableError(f"{path} does not exist")
    with _unavailable(path), closing(_opened(path)) as database:
        if _version(database) == 0:
            return {}
        rows = cast("list[tuple[object, ...]]", database.execute(_READ, (from_hour, to_hour)).fetchall())
    keys = len(KEY_FIELDS)
    return added((RowKey(*row[:keys]), RowSums(*row[keys:])) for row in rows)  # type: ignore[arg-type]


def _opened(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=_BUSY_S)
    version = _version(database)
    if version not in (0, _VERSION):
        database.close()
        raise LedgerUnavailableError(
            f"{path} was written by another version of Limpet (layout {version}, here {_VERSION}): "
            "move it away, and a new one begins"
        )
    return database


def _version(database: sqlite3.Connection) -> int:
    return int(database.execute("pragma user_version").fetchone()[0])


def _prepare(database: sqlite3.Connection) -> None:
    """For writing. Readers go on meanwhile, and what is written last may be lost with the machine's power."""
    write_ahead(database, time.sleep, time.monotonic)
    database.execute("pragma synchronous = normal")
    if _version(database) == 0:
        database.execute(_TABLE)
        database.execute(f"pragma user_version = {_VERSION}")


def write_ahead(database: sqlite3.Connection, sleep: Callable[[float], None], clock: Callable[[], float]) -> None:
    """Have it write ahead. Where several begin a file at once, SQLite does not always wait for the other.

    Raises sqlite3.OperationalError if the other is not done within the time that SQLite would wait for it.
    """
    latest_s = clock() + _BUSY_S
    while True:
        try:
            database.execute("pragma journal_mode = wal")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or clock() >= latest_s:
                raise
            sleep(_AGAIN_S)
        else:
            return


@contextmanager
def _unavailable(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise LedgerUnavailableError(f"{path}: {error}") from error
