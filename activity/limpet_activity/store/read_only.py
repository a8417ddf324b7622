"""Ways into a store for those that only ask: nothing is made, changed or brought up to date."""

import sqlite3
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sqlalchemy import Connection, Engine, NullPool, create_engine, inspect, text

from limpet_activity.store.port import StoreError

_PRAGMAS: Final = ("query_only = ON", "busy_timeout = 5000", "cache_size = -65536", "temp_store = MEMORY")
_FIRST_BYTES: Final = b"SQLite format 3\0"
_OUR_TABLES: Final = frozenset({"alembic_version", "records", "rollups", "workers"})


def sqlite_reader(path: Path) -> Engine:
    """Connections that cannot write. Raises StoreError if there is no such database."""
    try:
        with path.open("rb") as file:
            if file.read(len(_FIRST_BYTES)) != _FIRST_BYTES:
                raise StoreError(f"{path} is not a SQLite database: name the file that limpet-activity writes")
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error

    def connect() -> sqlite3.Connection:
        # While a service has the file open, the newest is in its log. Where there is no log, SQLite would make one
        # even to read, and leave it there; each connection looks anew, as a service may have been started since.
        way = "mode=ro" if Path(f"{path}-wal").exists() else "mode=ro&immutable=1"
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?{way}", uri=True, check_same_thread=False, isolation_level=None
        )
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        return connection

    return create_engine("sqlite://", creator=connect, hide_parameters=True, poolclass=NullPool)


def require_tables(connection: Connection, newest: str | None) -> None:
    """Raises StoreError unless these are the tables of this version, whose newest revision is `newest`."""
    if _OUR_TABLES.difference(inspect(connection).get_table_names()):
        raise StoreError("that database is not a store of limpet-activity: name the one that its --store names")
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if found != newest:
        raise StoreError(
            f"the store's tables are of version {found}, and this command reads those of {newest}: use the version of "
            "Limpet that writes the store, or start limpet-activity of this version once, which brings it up to date"
        )
