"""A store that has reached its size: it gets smaller by a tenth, and what it removed is not counted once more."""

from tests.activity.store.answers import T0, one
from tests.activity.store.conftest import Open

from limpet_activity.store.port import ActivityFilter
from limpet_activity.store.retention import KeepLimits
from limpet_activity.store.sql_store import SqlStore
from limpet_extproc.contract.activity import VERSION, ActivityBatch, ActivityRecord

DAY = 86_400
EVERYTHING = ActivityFilter()
OF_A_DAY = 1_000


def day(ago: int) -> list[ActivityRecord]:
    return [one(ago * OF_A_DAY + at, -1440 * ago - at / 10, path="/" + "x" * 200) for at in range(OF_A_DAY)]


def take(store: SqlStore, records: list[ActivityRecord]) -> tuple[int, int]:
    taken = store.take_new([ActivityBatch(VERSION, "gw", 0, 0, T0, records, (), T0)], T0)
    return len(taken.new), taken.too_old


def tidy(store: SqlStore, max_bytes: int) -> None:
    while store.tidy(KeepLimits(days=30, max_bytes=max_bytes), T0):
        pass


def filled(open_store: Open) -> SqlStore:
    store = open_store()
    for ago in range(9, -1, -1):
        take(store, day(ago))
    tidy(store, 10**12)
    return store


def test_it_gets_a_tenth_smaller_and_is_then_left_alone(open_store: Open) -> None:
    store = filled(open_store)
    limit = int(store.state().size_bytes * 0.8)
    tidy(store, limit)
    state = store.state()
    assert state.records < 10 * OF_A_DAY
    # PostgreSQL drops whole days, of which each is about a tenth here.
    assert state.size_bytes <= (limit if store._database.is_postgresql else 0.9 * limit)
    tidy(store, state.size_bytes + 1)
    assert store.state().records == state.records, "there is room again: it is not above its size"


def test_what_was_removed_is_not_counted_once_more(open_store: Open) -> None:
    store = filled(open_store)
    tidy(store, int(store.state().size_bytes * 0.8))
    sums, records = store.sums(EVERYTHING), store.state().records
    assert records < 10 * OF_A_DAY
    assert sums.requests >= records
    assert take(store, day(9)) == (0, OF_A_DAY)
    assert take(store, day(0)) == (0, 0)
    assert (store.sums(EVERYTHING), store.state().records) == (sums, records)
    assert take(store, [one(99_999, 0)]) == (1, 0)
