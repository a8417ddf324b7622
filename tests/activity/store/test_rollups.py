"""Sums are those of the set of records, whatever came how often, by which values, and whatever span is asked for."""

from collections.abc import Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.activity.store.answers import T0
from tests.activity.store.conftest import Open

from limpet_activity.store.combinations import MOST_COMBINATIONS, MOST_NAMES, KnownCombinations
from limpet_activity.store.facts import facet_of, matches, sums_of
from limpet_activity.store.port import ActivityFilter, Facet
from limpet_activity.store.retention import KeepLimits
from limpet_activity.store.rollups import DAY_S, GRAINS, LATEST_S, Kept, parts
from limpet_activity.store.sql_store import SqlStore
from limpet_extproc.contract.activity import VERSION, ActivityBatch, ActivityRecord, TriedProvider

DAYS = 4
NOW = T0 + DAYS * DAY_S
_FACETS: Sequence[Facet] = ("provider", "model", "tenant", "reason", "cause", "gateway")

moments = st.one_of(
    st.floats(T0, NOW - 1),
    st.integers(0, DAYS * 24 - 1).map(lambda hour: T0 + hour * 3600.0),
    st.integers(0, DAYS * 1440 - 1).map(lambda minute: T0 + minute * 60.0),
)
providers = st.sampled_from(["", "alpha", "beta"])
records = st.builds(
    lambda number, time_s, provider, tried, model, client, reason, cause, status, cached: ActivityRecord(
        f"r{number}",
        time_s,
        "gw",
        reason,
        status,
        1.0,
        conversation=f"{number % 7:x}0ffee",
        client=client,
        model=model,
        provider=provider,
        attempts=[TriedProvider(each, "ok") for each in tried],
        cause=cause,
        prompt_tokens=1000,
        cached_tokens=cached,
        output_tokens=number,
        paid_usd=number / 4,
    ),
    st.integers(0, 500),
    moments,
    providers,
    st.lists(providers.filter(bool), max_size=2),
    st.sampled_from(["m-1", "m-2"]),
    st.sampled_from(["", "team-a"]),
    st.sampled_from(["sticky.hit", "sticky.expired", "first.scored"]),
    st.sampled_from(["", "hit", "prefix_changed(message 3)"]),
    st.sampled_from([0, 200, 500]),
    st.one_of(st.none(), st.integers(0, 1000)),
)
# A record that comes again is the same: what says otherwise of its time is not taken for a repeat.
handed = st.lists(records, min_size=1, max_size=20, unique_by=lambda record: record.id).flatmap(
    lambda pool: st.lists(st.lists(st.sampled_from(pool), max_size=12), min_size=1, max_size=5)
)
filters = st.builds(
    ActivityFilter,
    since_s=st.one_of(st.none(), moments),
    until_s=st.one_of(st.none(), moments),
    provider=providers,
    model=st.sampled_from(["", "m-1", "none"]),
    tenant=st.sampled_from(["", "team-a"]),
    reason=st.sampled_from(["", "sticky.", "sticky.hit"]),
    cause=st.sampled_from(["", "hit", "prefix_changed"]),
    conversation=st.sampled_from(["", "", "10ff", "3"]),
    failed=st.sampled_from([None, None, True, False]),
)


rooms = st.one_of(
    st.just(MOST_COMBINATIONS),
    st.integers(0, 20),  # A tenth of that is for combinations that tell some of their values.
)
few_names = st.sampled_from([MOST_NAMES, dict.fromkeys(MOST_NAMES, 1)])


@settings(max_examples=40)
@given(
    handed=handed,
    which=st.lists(filters, min_size=1, max_size=4),
    by=st.sampled_from(_FACETS),
    tidied=st.booleans(),
    most=rooms,
    names=few_names,
)
def test_sums_and_pages_are_those_of_the_set(
    open_store: Open,
    handed: list[list[ActivityRecord]],
    which: list[ActivityFilter],
    by: Facet,
    tidied: bool,
    most: int,
    names: Mapping[str, int],
) -> None:
    store = open_store(lambda: KnownCombinations(most, names))
    kept: dict[str, ActivityRecord] = {}
    try:
        for batch in handed:
            new = {record.id: record for record in reversed(batch) if record.id not in kept}
            assert store.take([ActivityBatch(VERSION, "gw", 0, 0, T0, batch)], NOW) == len(new)
            kept |= new
            if tidied:
                while store.tidy(KeepLimits(days=30), NOW):
                    pass
        for each in which:
            meant = [record for record in kept.values() if matches(each, record)]
            assert store.sums(each) == sums_of(meant)  # Quarters of a dollar add up exactly.
            groups: dict[str, list[ActivityRecord]] = {}
            for record in meant:
                groups.setdefault(facet_of(record, by), []).append(record)
            found = {group.value: group.sums for group in store.groups(each, by, 100)}
            assert sum(sums.requests for sums in found.values()) == len(meant)
            if most == MOST_COMBINATIONS and names is MOST_NAMES:
                assert found == {value: sums_of(of_it) for value, of_it in groups.items()}
            steps = {step.begin_s: step.sums for step in store.steps(each, 3600) if step.sums.requests}
            assert sum(sums.requests for sums in steps.values()) == len(meant)
            assert_pages(store, each, meant)
    finally:
        store.close()


def assert_pages(store: SqlStore, which: ActivityFilter, meant: list[ActivityRecord]) -> None:
    """All of them, by pages of two, there and back."""
    expected = [record.id for record in sorted(meant, key=lambda record: (record.time_s, record.id), reverse=True)]
    found, page = [], store.page(which, None, 2)
    while True:
        found += [record.id for record in page.records]
        if page.older is None:
            break
        page = store.page(which, page.older, 2)
    assert found == expected
    assert [record.id for record in store.taken_after(which, 0, 1_000)[0]] == sorted(
        expected, key=[taken.id for taken in store.taken_after(ActivityFilter(), 0, 1_000)[0]].index
    )


@given(
    span=st.tuples(st.one_of(st.none(), moments), st.one_of(st.none(), moments)),
    step_s=st.sampled_from([None, 60, 300, 3600, 5400, DAY_S]),
    kept=st.builds(
        lambda minutes, days: Kept(int(T0) + minutes * DAY_S, int(T0) + days * DAY_S), *[st.integers(0, 4)] * 2
    ),
    full=st.booleans(),
)
def test_parts_make_up_the_span(
    span: tuple[float | None, float | None], step_s: int | None, kept: Kept, full: bool
) -> None:
    since_s, until_s = span
    found = list(parts(since_s, until_s, step_s, kept, full=full))
    begin_s, end_s = since_s or 0.0, LATEST_S if until_s is None else until_s
    for part in found:
        assert part.begin_s == begin_s
        assert part.end_s > part.begin_s
        begin_s = part.end_s
        assert part.grain in (0, *GRAINS)
        if part.grain:
            assert part.begin_s % part.grain == part.end_s % part.grain == 0
            assert step_s is None or step_s % part.grain == 0
    assert begin_s == end_s or not found
