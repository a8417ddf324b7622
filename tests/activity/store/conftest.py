from collections.abc import Callable, Iterator
from itertools import count
from typing import Protocol

import pytest

from limpet_activity.store.combinations import KnownCombinations
from limpet_activity.store.databases import parse_url
from limpet_activity.store.sql_store import SqlStore
from limpet_lab.postgresql import PostgresqlServer, postgresql_server


class Open(Protocol):
    """Makes a new store, prepared and empty, with room for so many combinations of records."""

    def __call__(self, known: Callable[[], KnownCombinations] = KnownCombinations) -> SqlStore: ...


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    with postgresql_server(["fsync=off", "max_connections=50", "shared_buffers=32MB"]) as server:
        yield server


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    return count()


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def new_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, numbers: Iterator[int]
) -> Callable[[], str]:
    """The URL of a database that has no tables yet."""
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path_factory.mktemp('store')}/kept/activity.sqlite3"
    server: PostgresqlServer = request.getfixturevalue("postgresql")

    def url() -> str:
        name = f"limpet{next(numbers)}"
        server.run(f"CREATE DATABASE {name}")
        return server.url(name)

    return url


@pytest.fixture(scope="module")
def open_store(new_url: Callable[[], str]) -> Iterator[Open]:
    opened = []

    def open_one(known: Callable[[], KnownCombinations] = KnownCombinations) -> SqlStore:
        store = SqlStore(parse_url(new_url()), known)
        opened.append(store)
        store.prepare()
        return store

    yield open_one
    for store in opened:
        store.close()
