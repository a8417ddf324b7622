"""What a worker could never mean is kept in a form that a database takes, or is refused alone."""

from math import inf, nan
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.activity.store.answers import T0, one
from tests.activity.store.conftest import Open

from limpet_activity.store.port import ActivityFilter, Position
from limpet_activity.store.validation import (
    MOST_TOKENS,
    MOST_USD,
    NEWEST_S,
    OLDEST_S,
    _sanitized,
    is_valid,
    sanitized_record,
)
from limpet_extproc.contract.activity import (
    VERSION,
    ActivityBatch,
    ActivityRecord,
    ConsideredProvider,
    ProviderReport,
    ShownPrice,
    TriedProvider,
)

GOOD = one(1, 0, model="m")


def batch(*records: ActivityRecord) -> ActivityBatch:
    return ActivityBatch(VERSION, "gw", 0, 0, T0, records, (), T0)


@pytest.mark.parametrize(
    "bad",
    [
        replace(GOOD, id=""),
        replace(GOOD, id="\x00\n "),
        replace(GOOD, time_s=nan),
        replace(GOOD, time_s=inf),
        replace(GOOD, time_s=-1.0),
        replace(GOOD, time_s=1e300),
        replace(GOOD, time_s=T0 + 10 * 86_400),
    ],
)
def test_what_cannot_be_kept_is_refused_alone(open_store: Open, bad: ActivityRecord) -> None:
    store = open_store()
    taken = store.take_new([batch(bad, replace(GOOD, id="good"))], T0)
    assert ([record.id for record in taken.new], taken.refused) == (["good"], 1)


def test_absurd_numbers_and_texts_are_kept_in_range(open_store: Open) -> None:
    store = open_store()
    absurd = replace(
        GOOD,
        status=10**6,
        duration_s=nan,
        model="a\x00b\u2028c\r\n<script>" + "x" * 10_000,
        provider="al\x00pha",
        gateway="\x00",
        conversation="c\x00",
        client="\x00",
        tenant="t\x00",
        reason="no reason\x00",
        cause="\x00(" + "y" * 1000,
        error="\x00" * 100_000,
        path="/" * 100_000,
        attempts=[TriedProvider("be\x00ta", "failed", -5, "", nan, 1e300)] * 1000,
        considered=[ConsideredProvider("x\x00", "y\x00", 2**63, -1.0, inf)] * 1000,
        prompt_tokens=2**63 - 1,
        cached_tokens=-5,
        output_tokens=2**64 - 1,
        paid_usd=1e300,
        uncached_usd=nan,
        spread_usd=inf,
        cheapest_usd=-inf,
        observed_usd=-1.0,
        enforce_provider="al\x00pha",
    )
    assert store.take([batch(absurd)], T0) == 1
    kept = store.record("r1")
    assert kept is not None
    assert kept.model.startswith("a b c <script>xxx")
    assert (kept.prompt_tokens, kept.cached_tokens, kept.output_tokens) == (MOST_TOKENS, 0, MOST_TOKENS)
    assert (kept.paid_usd, kept.uncached_usd, kept.spread_usd, kept.cheapest_usd) == (MOST_USD, None, MOST_USD, 0.0)
    assert (kept.duration_s, kept.provider, kept.attempts[0].provider) == (0.0, "al_pha", "be_ta")
    assert kept.enforce_provider == "al_pha"
    assert store.sums(ActivityFilter(provider="be_ta")).paid_usd == MOST_USD
    assert [record.id for record in store.page(ActivityFilter(failed=True), None, 9).records] == ["r1"]


def test_absurd_reports_do_not_harm(open_store: Open) -> None:
    store = open_store()
    reports = [
        ProviderReport("", "up"),
        ProviderReport(
            "al\x00pha", "\x00", "\x00", nan, False, nan, -inf, 2**63, [ShownPrice("\x00", nan, -1, inf, 1e300)]
        ),
    ]
    store.take([ActivityBatch(VERSION, "g\x00w", -(2**63), 2**64 - 1, nan, (), reports, nan)], T0)
    assert [(seen.report.provider, seen.gateway, seen.at_s) for seen in store.providers()] == [("al_pha", "g w", T0)]
    assert store.state().dropped == 2**53


records = st.builds(
    ActivityRecord,
    id=st.text(min_size=1),
    time_s=st.floats(T0 - OLDEST_S, T0 + NEWEST_S),  # Of others almost all would be refused.
    gateway=st.text(),
    reason=st.text(),
    status=st.integers(-(2**63), 2**64 - 1),
    duration_s=st.floats(),
    model=st.one_of(st.text(), st.text(min_size=1).map(lambda word: word * 300)),
    prompt_tokens=st.one_of(st.none(), st.integers(-(2**63), 2**64 - 1)),
    paid_usd=st.one_of(st.none(), st.floats()),
)


@given(records)
def test_what_is_valid_stays_as_it_is(record: ActivityRecord) -> None:
    valid = sanitized_record(record, T0)
    if valid is not None:
        assert sanitized_record(valid, T0) == valid
        assert "\x00" not in valid.id + valid.gateway + valid.model + valid.reason


LONG = "x" * 257
WHOLE = replace(
    GOOD,
    attempts=[TriedProvider("alpha", "ok", 200, "", 0.0, 1.0)],
    considered=[ConsideredProvider("alpha", "", 5, 0.5, T0)],
    cause="prefix_changed(message 3)",
)


@pytest.mark.parametrize(
    "changes",
    [
        *(
            {name: bad}
            for name in ("id", "gateway", "tenant", "model", "path", "error")
            for bad in ("a\x00", " a", LONG)
        ),
        *({name: bad} for name in ("reason", "conversation", "provider", "enforce_provider") for bad in ("a b", LONG)),
        *({name: bad} for name in ("prompt_tokens", "expected_tokens", "status") for bad in (-1, 2**50)),
        *(
            {name: bad}
            for name in ("paid_usd", "observed_usd", "first_byte_s", "duration_s")
            for bad in (-1.0, nan, inf)
        ),
        {"time_s": nan},
        {"attempts": [TriedProvider("al pha", "ok")]},
        {"attempts": [TriedProvider("alpha", "ok", 1000)]},
        {"attempts": [TriedProvider("alpha", "ok", took_s=nan)]},
        {"attempts": [TriedProvider("alpha", "ok")] * 65},
        {"considered": [ConsideredProvider("alpha", "a b")]},
        {"considered": [ConsideredProvider("alpha", warm_tokens=-1)]},
        {"considered": [ConsideredProvider("alpha", usd=nan)]},
        {"considered": [ConsideredProvider("alpha", warm_until_s=inf)]},
    ],
)
def test_what_has_to_be_changed_is_seen(changes: dict[str, Any]) -> None:
    assert is_valid(WHOLE, T0)
    assert sanitized_record(WHOLE, T0) is WHOLE
    assert not is_valid(replace(WHOLE, **changes), T0)


@given(records)
def test_what_can_be_kept_as_it_is_would_not_be_changed(record: ActivityRecord) -> None:
    if is_valid(record, T0):
        made = _sanitized(record, T0, 0.0)
        assert msgspec.msgpack.encode(made) == msgspec.msgpack.encode(record)


@pytest.mark.parametrize("off_s", [-500 * 86_400, -3 * 86_400, 3 * 86_400, 500 * 86_400])
def test_a_clock_that_is_far_off_loses_nothing(open_store: Open, off_s: float) -> None:
    store = open_store()
    records = [one(number, number / 60) for number in range(5)]
    sent = ActivityBatch(VERSION, "gw", 0, 0, T0, records, (), T0 + 10)
    assert store.take_new([sent], T0 + 10 + off_s).refused == 0
    assert store.take_new([sent], T0 + 12 + off_s).new == []
    newest = [record.id for record in store.page(ActivityFilter(), None, 9).records]
    assert newest == ["r4", "r3", "r2", "r1", "r0"]


@pytest.mark.parametrize("text", ["\x00", "m\x00", "\ud800"])
def test_what_cannot_be_asked_is_found_nowhere(open_store: Open, text: str) -> None:
    store = open_store()
    store.take([batch(GOOD)], T0)
    assert store.record(text) is None
    assert store.turns(text, 9) == []
    for name in ("provider", "model", "tenant", "reason", "cause", "gateway", "conversation"):
        which = ActivityFilter(**{name: text})  # type: ignore[arg-type]
        assert store.page(which, None, 9).records == []
        assert store.sums(which).requests == 0
        assert store.steps(which, 60) == []
        assert store.taken_after(which, 0, 9)[0] == []
    assert store.page(ActivityFilter(), Position(T0 - 1, text), 9).records == []


def test_counts_of_very_many_workers_add_up(open_store: Open) -> None:
    store = open_store()
    store.take([ActivityBatch(VERSION, "gw", worker, 2**63, T0, (), (), T0) for worker in range(2_000)], T0)
    assert store.state().dropped == 2_000 * 2**53
