"""A PostgreSQL whose disk is full: nothing is lost that was said to be kept, and it goes on once there is room."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tests.activity.intake.taking import hand_over, serving
from tests.activity.store.answers import T0, one

from limpet_activity.store.databases import parse_url
from limpet_activity.store.port import ActivityFilter, StoreError
from limpet_activity.store.sql_store import SqlStore
from limpet_extproc.contract.activity import VERSION, ActivityBatch
from limpet_lab.postgresql import PostgresqlServer

pytestmark = pytest.mark.slow

EVERYTHING = ActivityFilter()
MIB = 2**20


def batch(first: int, count: int = 500) -> ActivityBatch:
    records = [one(number, 0, path="/" + "x" * 200) for number in range(first, first + count)]
    return ActivityBatch(VERSION, "gw", 0, 0, T0, records, (), T0)


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresqlServer]:
    folder = tmp_path_factory.mktemp("pg")
    folder.chmod(0o777)
    server = PostgresqlServer(folder, ["fsync=off", "shared_buffers=16MB"])
    # Segments of its log that are smaller than the limit, so that tables meet it first.
    server.create("--wal-segsize=1")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def store(server: PostgresqlServer) -> Iterator[SqlStore]:
    store = SqlStore(parse_url(server.url()))
    store.prepare()
    yield store
    store.close()


def reconnect(store: SqlStore) -> None:
    store._database.engine.dispose()


def fill(store: SqlStore) -> None:
    for first in range(500, 20_000, 500):
        store.take([batch(first)], T0)


def test_batches_are_refused_whole_and_taken_once_there_is_room(server: PostgresqlServer, store: SqlStore) -> None:
    store.take([batch(0)], T0)
    server.limit_files(2 * MIB)
    reconnect(store)
    with pytest.raises(StoreError, match="could not extend file"):
        fill(store)
    taken = store.state().records
    assert store.sums(EVERYTHING).requests == taken
    assert len(store.page(EVERYTHING, None, 50).records) == 50
    server.limit_files(-1)
    reconnect(store)
    assert store.take([batch(taken)], T0) == 500
    assert store.sums(EVERYTHING).requests == store.state().records == taken + 500


async def test_workers_are_told_to_keep_theirs_and_the_service_stays(
    server: PostgresqlServer, store: SqlStore, tmp_path: Path
) -> None:
    async with serving(store.take_new, [f"unix:{tmp_path}/a"]) as service:
        (place,) = service.places
        assert await hand_over(place, batch(0)) == (grpc.StatusCode.OK, "")
        server.limit_files(2 * MIB)
        reconnect(store)
        taken, answer = 500, (grpc.StatusCode.OK, "")
        while taken < 20_000 and (answer := await hand_over(place, batch(taken)))[0] is grpc.StatusCode.OK:
            taken += 500
        assert answer[0] is grpc.StatusCode.UNAVAILABLE
        assert "could not extend file" in answer[1]
        assert "could not extend file" in service.health.trouble
        assert (service.count("batches", "away"), service.count("records", "taken")) == (1, taken)
        server.limit_files(-1)
        reconnect(store)
        assert await hand_over(place, batch(taken)) == (grpc.StatusCode.OK, "")
        assert (service.health.trouble, service.count("records", "taken")) == ("", taken + 500)
        assert len(service.passed_on) == taken + 500
