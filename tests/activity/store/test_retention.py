"""What is old, and what is too much, goes; sums of what stays are right; names of what is gone make room."""

import pytest
from sqlalchemy import text
from tests.activity.store.answers import T0, one
from tests.activity.store.conftest import Open

from limpet_activity.store.combinations import KnownCombinations, combination_of
from limpet_activity.store.port import ActivityFilter
from limpet_activity.store.retention import KeepLimits
from limpet_activity.store.sql_store import SqlStore
from limpet_extproc.contract.activity import VERSION, ActivityBatch, ActivityRecord

DAY = 86_400
EVERYTHING = ActivityFilter()


def days_old(number: int, days: float) -> ActivityRecord:
    return one(number, -days * 1440, model=f"m-{number}", path="/" + "x" * 200)


def take(store: SqlStore, *records: ActivityRecord) -> int:
    return store.take([ActivityBatch(VERSION, "gw", 0, 3, T0, records, (), T0 - 40 * DAY)], T0)


def tidy(store: SqlStore, limits: KeepLimits, now_s: float = T0) -> None:
    while store.tidy(limits, now_s):
        pass


def test_what_is_too_old_goes(open_store: Open) -> None:
    store = open_store()
    assert take(store, *(days_old(number, number) for number in range(40))) == 40
    tidy(store, KeepLimits(days=10))
    kept = [record.id for record in store.page(EVERYTHING, None, 100).records]
    assert kept == [f"r{number}" for number in range(11)]
    assert store.sums(EVERYTHING).requests == 11
    assert store.state().dropped == 0
    assert store.record("r30") is None
    # What comes again is counted again, and goes again.
    take(store, days_old(30, 30), days_old(5, 5))
    tidy(store, KeepLimits(days=10))
    assert store.sums(EVERYTHING).requests == 11


def test_names_of_what_is_gone_make_room(open_store: Open) -> None:
    store = open_store()
    take(store, days_old(1, 20))
    tidy(store, KeepLimits(days=10))
    take(store, days_old(2, 1))
    assert [group.value for group in store.groups(EVERYTHING, "model", 9)] == ["m-2"]
    assert store.sums(ActivityFilter(model="m-2")).requests == 1


def test_roll_ups_by_minute_go_before_the_others(open_store: Open) -> None:
    store = open_store()
    take(store, *(one(number, -number * 600) for number in range(1000)))
    tidy(store, KeepLimits(days=30))
    since, until = T0 - 5 * DAY - 12_345, T0 - 100
    meant = ActivityFilter(since_s=since, until_s=until)
    expected = sum(since <= T0 - number * 36_000 < until for number in range(1000))
    assert store.sums(meant).requests == expected
    assert sum(step.sums.requests for step in store.steps(meant, 60)) == expected


def test_too_much_goes_from_the_oldest_on(open_store: Open) -> None:
    store = open_store()
    for first in range(0, 12_000, 500):
        take(store, *(days_old(number, 3 - first / 6_000) for number in range(first, first + 500)))
    full = store.state().size_bytes
    tidy(store, KeepLimits(days=30, max_bytes=int(full * 0.6)))
    state = store.state()
    assert state.size_bytes <= full * 0.6 or (state.oldest_s is not None and state.oldest_s >= T0 - DAY)
    assert state.records < 12_000
    assert store.page(EVERYTHING, None, 1).records[0].id == "r11999"


def test_clients_cannot_make_kinds_without_end(open_store: Open) -> None:
    store = open_store()
    invented = [one(number, 0, model=f"invented-{number}", tenant=f"t-{number}", status=404) for number in range(3_000)]
    for first in range(0, 3_000, 500):
        take(store, *invented[first : first + 500])
    take(store, one(9_000, 1, model="real", client="team-a", provider="alpha"))
    groups = {group.value: group.sums.requests for group in store.groups(EVERYTHING, "model", 10_000)}
    assert len(groups) <= 102
    assert groups["real"] == 1
    assert groups["(others)"] >= 2_900
    # Each is found all the same.
    for number in (0, 2_999):
        which = ActivityFilter(model=f"invented-{number}", tenant=f"t-{number}")
        assert [record.id for record in store.page(which, None, 9).records] == [f"r{number}"]
        assert store.sums(which).requests == 1


@pytest.mark.parametrize("most", [0, 1, 3, 20])
def test_kinds_are_bounded_whatever_comes(most: int) -> None:
    known, numbers = KnownCombinations(most=most), set()
    for number in range(50):
        combination = known.fitted(
            combination_of(one(number, 0, model=f"m{number}", provider=f"p{number}", client=f"c{number}"))
        )
        numbers.add(known.numbers(combination).full)
    assert len(numbers) <= most + 2 * (most // 10) + 1


def test_a_clock_that_jumps_ahead_removes_nothing_until_it_has_stayed_there(open_store: Open) -> None:
    store = open_store()
    take(store, *(days_old(number, number) for number in range(5)))
    tidy(store, KeepLimits(days=10))
    for later in (60 * DAY, 60 * DAY + 60, 60 * DAY + 3_000):
        tidy(store, KeepLimits(days=10), T0 + later)
        assert store.sums(EVERYTHING).requests == 5
    tidy(store, KeepLimits(days=10), T0 + 60)
    tidy(store, KeepLimits(days=10), T0 + 60 * DAY + 3_700)
    assert store.sums(EVERYTHING).requests == 5, "it was right in between"
    tidy(store, KeepLimits(days=10), T0 + 60 * DAY + 7_400)
    assert store.sums(EVERYTHING).requests == 0


def test_minutes_are_added_up_again_after_a_clock_was_ahead(open_store: Open) -> None:
    store = open_store()
    for later in (0, 60 * DAY, 60 * DAY + 3_700, 60):
        tidy(store, KeepLimits(days=300), T0 + later)
    now = T0 + 5 * DAY
    store.take([ActivityBatch(VERSION, "gw", 0, 0, T0, [one(1, 5 * 1440)], (), now)], now)
    with store._database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM rollups WHERE grain = 60").scalar_one() > 0


def test_sums_that_are_too_much_do_not_take_new_records_with_them(open_store: Open) -> None:
    store = open_store()
    take(store, days_old(0, 5), *(one(number, -number / 60) for number in range(1, 10)))
    with store._database.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO rollups SELECT 1, 3600, CAST(:begin AS bigint) - 3600 * n, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0"
                " FROM (WITH RECURSIVE r(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM r WHERE n < 30000)"
                " SELECT n FROM r) AS numbers"
            ),
            {"begin": T0 - 6 * DAY},
        )
    limit = store.state().size_bytes // 2
    tidy(store, KeepLimits(days=3_000, max_bytes=limit))
    kept = [record.id for record in store.page(EVERYTHING, None, 20).records]
    assert kept[:9] == [f"r{number}" for number in range(1, 10)]
