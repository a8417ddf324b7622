"""The month that the benchmark makes is one that a store could have taken in, record by record."""

from collections import Counter
from collections.abc import Iterator

import pytest

from limpet_activity.store.databases import Database, open_database, parse_url
from limpet_activity.store.facts import facet_of, matches, sums_of
from limpet_activity.store.port import ActivityFilter
from limpet_activity.store.sql_store import SqlStore
from limpet_extproc.contract.activity import ActivityRecord
from limpet_lab.bench.activity_intake import measure_intake
from limpet_lab.bench.activity_month import DAYS, fill_month
from limpet_lab.bench.activity_questions import questions
from limpet_lab.bench.activity_rows import CLIENTS, DAY_S, MODELS, RARE_PROVIDER
from limpet_lab.postgresql import postgresql_server

ROWS = 3_000
NOW = 20_000 * DAY_S + 50_000.0


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('bench')}/activity.sqlite3"
        return
    with postgresql_server(["fsync=off", "wal_level=minimal", "max_wal_senders=0"]) as server:
        yield server.url()


@pytest.fixture(scope="module")
def store(url: str) -> Iterator[SqlStore]:
    store = SqlStore(parse_url(url))
    database: Database = open_database(parse_url(url))
    store.prepare()
    assert fill_month(store, database, ROWS, NOW) == ROWS + 3
    database.engine.dispose()
    yield store
    store.close()


def everything(store: SqlStore) -> list[ActivityRecord]:
    return list(store.page(ActivityFilter(), None, ROWS + 100).records)


def test_roll_ups_are_those_of_the_records(store: SqlStore) -> None:
    records = everything(store)
    assert len({record.id for record in records}) == len(records) == store.state().records == ROWS + 3
    for which in (
        ActivityFilter(),
        ActivityFilter(model=MODELS[0]),
        ActivityFilter(tenant=CLIENTS[0], reason="sticky."),
        ActivityFilter(since_s=NOW - 9.3 * DAY_S, until_s=NOW - 1.7 * DAY_S, failed=False),
        ActivityFilter(provider=RARE_PROVIDER, failed=True),
    ):
        meant = [record for record in records if matches(which, record)]
        expected, found = sums_of(meant), store.sums(which)
        assert (found.requests, found.failed, found.prompt_tokens) == (
            expected.requests,
            expected.failed,
            expected.prompt_tokens,
        )
        assert found.paid_usd == pytest.approx(expected.paid_usd)
        groups = {group.value: group.sums.requests for group in store.groups(which, "cause", 99)}
        assert groups == Counter(facet_of(record, "cause") for record in meant)
        by_day = Counter(record.time_s // DAY_S * DAY_S for record in meant)
        assert {each.begin_s: each.sums.requests for each in store.steps(which, DAY_S) if each.sums.requests} == by_day
        assert [record.id for record in store.page(which, None, ROWS + 100).records] == [each.id for each in meant]


def test_a_copy_says_of_itself_what_its_columns_say(store: SqlStore) -> None:
    records = everything(store)
    assert len({int(record.time_s // DAY_S) for record in records}) == DAYS
    for record in records[::97]:
        assert store.record(record.id) == record
        assert record in store.turns(record.conversation, 100)
    times = [record.time_s for record in records]
    assert times == sorted(times, reverse=True)


def test_all_questions_have_an_answer(store: SqlStore) -> None:
    for question in questions(store, NOW):
        assert question.ask() is not False, question.name


def test_what_is_handed_over_is_kept(store: SqlStore, url: str) -> None:
    figures = measure_intake(url, store, 1_000, lambda: 0.0)
    assert figures.rows == 1_000
    assert figures.rows_per_s > 0
