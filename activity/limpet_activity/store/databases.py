"""SQLite and PostgreSQL: how each is opened, and the little in which questions to them differ."""

import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from limpet_activity.store.port import StoreError
from limpet_activity.store.read_only import sqlite_reader

_CONNECT_S: Final = 5
_STATEMENT_MS: Final = 60_000
_LOCK_MS: Final = 10_000
_UNANSWERED_MS: Final = 20_000
"""What was sent to a server that does not even acknowledge it."""

_PRAGMAS: Final = (
    "auto_vacuum = INCREMENTAL",  # Only has an effect before there are tables.
    "journal_mode = WAL",
    "synchronous = FULL",  # What was accepted is kept when the power fails; writes come in groups.
    "busy_timeout = 5000",
    "cache_size = -65536",
    "mmap_size = 268435456",
    "temp_store = MEMORY",
)


_OURS: Final = frozenset({"alembic_version", "records", "rollups"})
"""Tables by which a file is known to be one of ours."""


class UrlError(ValueError):
    """A database's URL that is none; the text says what is right."""


def parse_url(text: str, ca_file: Path | None = None) -> URL:
    """`sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/NAME?sslmode=…`; never tells the password. Raises UrlError.

    With `ca_file` PostgreSQL has to show a certificate from there for its host.
    """
    try:
        url = make_url(text.strip())
    except (ArgumentError, ValueError):
        raise UrlError("not a URL of a database: sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE") from None
    match url.drivername:
        case "sqlite":
            if url.database in (None, "", ":memory:"):
                raise UrlError("a file is missing: sqlite:///relative/path or sqlite:////absolute/path")
            if url.query:
                raise UrlError("sqlite:///FILE takes no ?options")
            return url
        case "postgresql" | "postgres" | "postgresql+psycopg":
            url = url.set(drivername="postgresql+psycopg")
            tls = {"sslmode": "verify-full", "sslrootcert": str(ca_file)} if ca_file else {}
            return url.update_query_dict(tls)
        case other:
            raise UrlError(f"{other}: not a database that this can use; sqlite or postgresql")


class Database(Protocol):
    """What differs."""

    @property
    def engine(self) -> Engine:
        """Where connections come from."""

    @property
    def is_postgresql(self) -> bool:
        """Whether it is a server's, with partitions."""

    def check(self, connection: Connection) -> None:
        """Raises StoreError for one that cannot hold what is to be kept."""

    def has_gone(self) -> bool:
        """Whether what is open is not what its name means any more."""

    def reopen(self) -> None:
        """Open what its name means now. Raises StoreError."""

    def write(self, connection: Connection) -> None:
        """Begin to write in this transaction, and be the only one that does."""

    @property
    def combinations_and_sums(self) -> str:
        """SQL, after FROM: combinations, each with its roll-ups of `:grain` from `:begin` and before `:end`.

        Combinations first, as a filter leaves few of them: neither database sees that by itself.
        """

    def among(self, column: str, numbers: str) -> str:
        """SQL: whether a column is one of the numbers in this parameter, which `numbers` makes."""

    def numbers(self, values: Sequence[int]) -> object:
        """The parameter of `among`."""

    def step_of(self, time_s: str) -> str:
        """SQL: the number of the step of `:step` seconds that a time is in."""

    def by(self, index: str) -> str:
        """SQL, after the name of a table: go by this index. Empty where the database knows better."""

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection on which everything is of one moment. Raises StoreError."""

    def size_bytes(self, connection: Connection) -> int:
        """What the store takes."""


class SqliteDatabase:
    """A file, which this process alone writes to."""

    is_postgresql: Final = False
    combinations_and_sums: Final = (
        "combinations CROSS JOIN rollups ON rollups.combination = combinations.id AND rollups.grain = :grain"
        " AND rollups.begin >= :begin AND rollups.begin < :end"
    )

    def __init__(self, url: URL, *, read_only: bool = False) -> None:
        """Creates the file, which only its user may read, and its folder, unless `read_only`.

        Raises StoreError, also for a file of another program, which is left as it is.
        """
        assert url.database is not None
        path = Path(url.database)
        self._path: Final = path
        self._file = None if read_only else _opened(path)
        self.engine: Final = (
            sqlite_reader(path) if read_only else create_engine(url, hide_parameters=True, pool_size=8, max_overflow=8)
        )
        if not read_only:
            event.listen(self.engine, "connect", _set_pragmas)
        event.listen(self.engine, "begin", _begin)

    def check(self, _connection: Connection) -> None:
        """See `Database`. A file was looked at before it was opened."""

    def has_gone(self) -> bool:
        """See `Database`. What is written to a file that was removed is gone with the process."""
        try:
            return self._file is not None and _identity(self._path) != self._file
        except OSError:
            return True

    def reopen(self) -> None:
        """See `Database`."""
        self.engine.dispose()
        self._file = _opened(self._path)

    def write(self, connection: Connection) -> None:
        """See `Database`. The store has one lock for those that write, SQLite another for other processes."""
        connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def among(self, column: str, numbers: str) -> str:
        """See `Database`."""
        return f"{column} IN (SELECT value FROM json_each(:{numbers}))"

    def numbers(self, values: Sequence[int]) -> object:
        """See `Database`."""
        return f"[{','.join(map(str, values))}]"

    def step_of(self, time_s: str) -> str:
        """See `Database`."""
        return f"CAST({time_s} / :step AS INTEGER)"

    def by(self, index: str) -> str:
        """See `Database`. Without statistics SQLite guesses, and one bad guess reads everything."""
        return f"INDEXED BY {index}" if index else ""

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """See `Database`."""
        with explained(), self.engine.connect() as connection:
            yield connection

    def size_bytes(self, connection: Connection) -> int:
        """See `Database`. Without pages that are free and will be given back."""
        pages, free, each = (
            int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * each


def _set_pragmas(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # Python's own idea of when a transaction begins is not ours.
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _check_file(path: Path) -> None:
    """Raises StoreError for one that is not ours; changes nothing."""
    try:
        if not path.exists() or path.stat().st_size == 0:
            return
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{path} cannot be read as a database of SQLite: {error}") from error
    if names and not names >= _OURS:
        raise StoreError(f"{path} is the database of another program, and was left as it is: name another file")


def _opened(path: Path) -> tuple[int, int]:
    """Make it if it is missing; which file the path means."""
    _check_file(path)
    _private_file(path)
    return _identity(path)


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _private_file(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error


class PostgresqlDatabase:
    """A server, which several processes may write to: one after the other."""

    is_postgresql: Final = True
    combinations_and_sums: Final = (
        "combinations CROSS JOIN LATERAL (SELECT * FROM rollups AS its WHERE its.combination = combinations.id"
        " AND its.grain = :grain AND its.begin >= :begin AND its.begin < :end OFFSET 0) AS rollups"
    )

    _LOCK: Final = 0x6C696D706574
    """Advisory: of the one that writes."""

    def __init__(self, url: URL, *, read_only: bool = False) -> None:
        options = f"-c statement_timeout={_STATEMENT_MS} -c lock_timeout={_LOCK_MS} -c timezone=UTC"
        options += " -c jit=off"  # To compile a question takes longer than to answer it.
        if read_only:
            options += " -c default_transaction_read_only=on"
        self.engine: Final = create_engine(
            url,
            hide_parameters=True,
            pool_pre_ping=True,
            pool_size=5,
            max_overflow=5,
            pool_timeout=_CONNECT_S,
            connect_args={
                "connect_timeout": _CONNECT_S,
                "application_name": "limpet-activity",
                "options": options,
                "client_encoding": "utf8",
                "tcp_user_timeout": _UNANSWERED_MS,
            },
        )

    def check(self, connection: Connection) -> None:
        """See `Database`. One name that its encoding has not would keep all records from being taken."""
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
        if encoding != "UTF8":
            raise StoreError(f"the database is encoded in {encoding}: make one with ENCODING 'UTF8' TEMPLATE template0")

    def has_gone(self) -> bool:
        """See `Database`."""
        return False

    def reopen(self) -> None:
        """See `Database`."""
        self.engine.dispose()

    def write(self, connection: Connection) -> None:
        """See `Database`. Held until the transaction ends, so numbers become visible in their order."""
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({self._LOCK})")

    def among(self, column: str, numbers: str) -> str:
        """See `Database`."""
        return f"{column} = ANY(:{numbers})"

    def numbers(self, values: Sequence[int]) -> object:
        """See `Database`."""
        return list(values)

    def step_of(self, time_s: str) -> str:
        """See `Database`."""
        return f"CAST(floor({time_s} / :step) AS bigint)"

    def by(self, _index: str) -> str:
        """See `Database`."""
        return ""

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """See `Database`."""
        with explained(), self.engine.connect() as connection:
            yield connection.execution_options(isolation_level="REPEATABLE READ")

    def size_bytes(self, connection: Connection) -> int:
        """See `Database`."""
        return int(
            connection.exec_driver_sql(
                "SELECT coalesce((SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('records')), 0)"
                " + pg_total_relation_size('rollups') + pg_total_relation_size('combinations')"
            ).scalar_one()
        )


def open_database(url: URL, *, read_only: bool = False) -> Database:
    """Open it without speaking to it yet. Raises StoreError."""
    opened = SqliteDatabase if url.drivername == "sqlite" else PostgresqlDatabase
    return opened(url, read_only=read_only)


@contextmanager
def explained() -> Iterator[None]:
    """Turn errors of the database into StoreErrors that say what it says, without statements and their values."""
    try:
        yield
    except (SQLAlchemyError, psycopg.Error) as error:  # Its own, where records are copied to it.
        cause = getattr(error, "orig", None) or error
        words = " ".join(str(cause).split("\n", 1)[0].split())
        raise StoreError(f"the database does not do what it is asked: {words}") from error
