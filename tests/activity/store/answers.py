"""What every store answers: one table for the one in memory and those in databases.

Times are relative to T0, a whole day, so that no step of time is cut wherever a store adds up beforehand.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from limpet_activity.store.port import (
    ActivityFilter,
    ActivityStore,
    Facet,
    Position,
    Sums,
    VerdictSpan,
)
from limpet_extproc.contract.activity import VERSION, ActivityBatch, ActivityRecord, ProviderReport, TriedProvider

T0: Final = 1_796_000_000.0 // 86_400 * 86_400
MINUTE: Final = 60.0


def one(number: int, minute: float, **fields: object) -> ActivityRecord:
    """A record of which only these fields matter."""
    known = {"gateway": "gw-1", "reason": "sticky.hit", "status": 200, "duration_s": 1.0} | fields
    return ActivityRecord(id=f"r{number}", time_s=T0 + minute * MINUTE, **known)  # type: ignore[arg-type]


RECORDS: Final = (
    one(
        1,
        0,
        reason="first.scored",
        provider="alpha",
        model="m-large",
        client="team-a",
        tenant="aa11",
        conversation="c0ffee01",
        cause="cold_start",
        attempts=(TriedProvider("alpha", "ok", 200),),
        prompt_tokens=1000,
        cached_tokens=0,
        output_tokens=100,
        paid_usd=0.5,
        uncached_usd=0.5,
        spread_usd=0.5,
        cheapest_usd=0.25,
    ),
    one(
        2,
        1.5,
        provider="alpha",
        model="m-large",
        client="team-a",
        tenant="aa11",
        conversation="c0ffee01",
        cause="hit",
        attempts=(TriedProvider("alpha", "ok", 200),),
        prompt_tokens=2000,
        cached_tokens=1000,
        output_tokens=100,
        paid_usd=0.25,
        uncached_usd=1.0,
        spread_usd=0.5,
        cheapest_usd=0.5,
    ),
    one(
        3,
        3,
        reason="sticky.left.down",
        provider="beta",
        model="m-large",
        client="team-a",
        tenant="aa11",
        conversation="c0ffee01",
        cause="provider_switched(sticky.left.down)",
        attempts=(TriedProvider("alpha", "failed", 500, "ServerError"), TriedProvider("beta", "ok", 200)),
        prompt_tokens=3000,
        cached_tokens=0,
        output_tokens=100,
        paid_usd=1.5,
    ),
    one(
        4,
        3,
        gateway="gw-2",
        reason="observe.spread",
        enforce_reason="sticky.hit",
        enforce_provider="gamma",
        provider="beta",
        model="m-small",
        tenant="bb22",
        conversation="c0ffee02",
        cause="prefix_changed(message 3)",
        attempts=(TriedProvider("beta", "ok", 200),),
        prompt_tokens=4000,
        cached_tokens=500,
        output_tokens=50,
        paid_usd=2.0,
        uncached_usd=2.5,
        spread_usd=2.0,
        cheapest_usd=2.0,
        observed_usd=1.25,
    ),
    one(
        5,
        5,
        gateway="gw-2",
        reason="first.scored",
        provider="gamma",
        model="m-small",
        tenant="bb22",
        conversation="beef",
        cause="unreported",
        attempts=(TriedProvider("gamma", "ok", 200),),
        prompt_tokens=700,
        output_tokens=10,
    ),
    one(6, 6, reason="refused.bad_request", status=400, model="m-none", error="messages: missing"),
    one(
        7,
        7.25,
        reason="last_resort.all_out",
        status=200,
        provider="alpha",
        model="m-large",
        client="team-a",
        attempts=(TriedProvider("alpha", "failed", 200, "BrokenOff"),),
    ),
    one(
        8, 8, reason="sticky.left.failed", status=0, model="m-large", attempts=(TriedProvider("alpha", "client_left"),)
    ),
)
"""In the order in which they came."""

BATCHES: Final = (
    ActivityBatch(
        version=VERSION,
        gateway="gw-1",
        worker=0,
        dropped=2,
        started_s=T0 - 100,
        records=[record for record in RECORDS if record.gateway == "gw-1"],
        providers=[ProviderReport("alpha", "up"), ProviderReport("beta", "up", since_s=T0 - 50)],
        sent_s=T0 + 10,
    ),
    ActivityBatch(
        version=VERSION,
        gateway="gw-2",
        worker=0,
        dropped=1,
        started_s=T0 - 90,
        records=[record for record in RECORDS if record.gateway == "gw-2"],
        providers=[ProviderReport("alpha", "up", since_s=T0)],
        sent_s=T0 + 20,
    ),
    ActivityBatch(
        version=VERSION,
        gateway="gw-1",
        worker=0,
        dropped=5,
        started_s=T0 - 100,
        records=[RECORDS[0]],
        providers=[ProviderReport("alpha", "down", "ServerError", since_s=T0 + 180), ProviderReport("beta", "up")],
        sent_s=T0 + 200,
    ),
    ActivityBatch(
        version=VERSION,
        gateway="gw-1",
        worker=1,
        dropped=1,
        started_s=T0 - 100,
        providers=[ProviderReport("alpha", "up", since_s=T0 + 300)],
        sent_s=T0 + 310,
    ),
)
"""They are taken one after the other: the numbers are r1, r2, r3, r6, r7, r8, r4, r5."""


def fill(store: ActivityStore) -> list[int]:
    """Take all batches, each twice; how many records of each were new, the first time and the second."""
    return [store.take([batch], T0 + 400) for batch in BATCHES for _ in range(2)]


NEW_OF_EACH: Final = [6, 0, 2, 0, 0, 0, 0, 0]

EVERYTHING: Final = ActivityFilter()
TEN_MINUTES: Final = ActivityFilter(since_s=T0, until_s=T0 + 10 * MINUTE)


class Answer(NamedTuple):
    """A question, and what every store says to it."""

    question: str
    ask: Callable[[ActivityStore], object]
    expected: object


def encoded(record: ActivityRecord | None) -> bytes:
    """All of a record, whichever kind of sequence it has."""
    return msgspec.msgpack.encode(record)


def ids(records: Iterable[ActivityRecord]) -> list[str]:
    """What identifies them."""
    return [record.id for record in records]


def _page(
    question: str,
    which: ActivityFilter,
    expected: Sequence[str],
    older: str | None = None,
    newer: str | None = None,
    **of_page: object,
) -> Answer:
    def ask(store: ActivityStore) -> object:
        page = store.page(
            which,
            of_page.get("older_than"),  # type: ignore[arg-type]
            of_page.get("limit", 100),  # type: ignore[arg-type]
            of_page.get("newer_than"),  # type: ignore[arg-type]
        )
        return ids(page.records), page.older and page.older.id, page.newer and page.newer.id

    return Answer(question, ask, (list(expected), older, newer))


def _groups(by: Facet, limit: int, expected: Sequence[tuple[str, int]]) -> Answer:
    return Answer(
        f"the {limit} groups by {by}",
        lambda store: [(group.value, group.sums.requests) for group in store.groups(TEN_MINUTES, by, limit)],
        list(expected),
    )


def _followed(question: str, which: ActivityFilter, number: int, limit: int, expected: object) -> Answer:
    def ask(store: ActivityStore) -> object:
        records, last = store.taken_after(which, number, limit)
        return ids(records), last

    return Answer(question, ask, expected)


ALL_SUMS: Final = Sums(
    requests=8,
    failed=3,
    prompt_tokens=10_000,
    cached_tokens=1500,
    output_tokens=360,
    paid_usd=4.25,
    uncached_usd=5.5,
    spread_usd=4.5,
    cheapest_usd=4.25,
    unpriced=1,
    observed_usd=1.25,
    observed_paid_usd=2.0,
)

ANSWERS: Final[Sequence[Answer]] = (
    _page("all", EVERYTHING, ["r8", "r7", "r6", "r5", "r4", "r3", "r2", "r1"]),
    _page("the newest two", EVERYTHING, ["r8", "r7"], "r7", limit=2),
    _page("exactly all", EVERYTHING, ["r8", "r7", "r6", "r5", "r4", "r3", "r2", "r1"], limit=8),
    _page("what follows", EVERYTHING, ["r6", "r5"], "r5", "r6", older_than=Position(T0 + 7.25 * MINUTE, "r7"), limit=2),
    _page("what follows within a moment", EVERYTHING, ["r3"], "r3", "r3", older_than=Position(T0 + 180, "r4"), limit=1),
    _page("what comes before", EVERYTHING, ["r6", "r5"], "r5", "r6", newer_than=Position(T0 + 180, "r4"), limit=2),
    _page("up to the newest", EVERYTHING, ["r8", "r7"], "r7", newer_than=Position(T0 + 360, "r6"), limit=2),
    _page("before the newest there is nothing", EVERYTHING, [], newer_than=Position(T0 + 480, "r8")),
    _page("before, of some", ActivityFilter(model="m-small"), ["r5"], "r5", newer_than=Position(T0 + 180, "r4")),
    _page("what follows the last", EVERYTHING, [], older_than=Position(T0, "r1")),
    _page("since, with that moment", ActivityFilter(since_s=T0 + 360), ["r8", "r7", "r6"]),
    _page("until, without that moment", ActivityFilter(until_s=T0 + 180), ["r2", "r1"]),
    _page("a provider that answered or was tried", ActivityFilter(provider="alpha"), ["r8", "r7", "r3", "r2", "r1"]),
    _page("no such provider", ActivityFilter(provider="alph"), []),
    _page("a model", ActivityFilter(model="m-small"), ["r5", "r4"]),
    _page("a client by name", ActivityFilter(tenant="team-a"), ["r7", "r3", "r2", "r1"]),
    _page("a tenant without a name", ActivityFilter(tenant="bb22"), ["r5", "r4"]),
    _page("a tenant that has a name goes by it", ActivityFilter(tenant="aa11"), []),
    _page("a reason", ActivityFilter(reason="sticky.hit"), ["r2"]),
    _page("the beginning of a reason", ActivityFilter(reason="sticky."), ["r8", "r3", "r2"]),
    _page("half a reason is none", ActivityFilter(reason="sticky.left"), []),
    _page("a cause with any detail", ActivityFilter(cause="prefix_changed"), ["r4"]),
    _page("a conversation", ActivityFilter(conversation="c0ffee01"), ["r3", "r2", "r1"]),
    _page("the beginning of a conversation", ActivityFilter(conversation="c0ffee"), ["r4", "r3", "r2", "r1"]),
    _page("not a pattern", ActivityFilter(conversation="%"), []),
    _page("nor one for a single character", ActivityFilter(conversation="_0ffee01"), []),
    _page("a gateway", ActivityFilter(gateway="gw-2"), ["r5", "r4"]),
    _page("what failed", ActivityFilter(failed=True), ["r8", "r7", "r6"]),
    _page("what did not", ActivityFilter(failed=False), ["r5", "r4", "r3", "r2", "r1"]),
    _page("several conditions", ActivityFilter(provider="alpha", failed=False, cause="hit"), ["r2"]),
    Answer("a record", lambda store: encoded(store.record("r4")), encoded(RECORDS[3])),
    Answer("no such record", lambda store: store.record("r99"), None),
    Answer("the number of the last", lambda store: store.last_number(), 8),
    _followed("all that came", EVERYTHING, 0, 100, (["r1", "r2", "r3", "r6", "r7", "r8", "r4", "r5"], 8)),
    _followed("the next two", EVERYTHING, 2, 2, (["r3", "r6"], 4)),
    _followed("nothing new", EVERYTHING, 8, 100, ([], 8)),
    _followed("of those that are meant", ActivityFilter(gateway="gw-2"), 0, 1, (["r4"], 7)),
    _followed("none is meant, and none is looked at again", ActivityFilter(model="m"), 3, 100, ([], 8)),
    Answer("turns", lambda store: ids(store.turns("c0ffee01", 100)), ["r1", "r2", "r3"]),
    Answer("the last turns", lambda store: ids(store.turns("c0ffee01", 2)), ["r2", "r3"]),
    Answer("half a key has no turns", lambda store: ids(store.turns("c0ffee", 100)), []),
    Answer("sums", lambda store: store.sums(EVERYTHING), ALL_SUMS),
    Answer("sums of a time", lambda store: store.sums(TEN_MINUTES), ALL_SUMS),
    Answer(
        "sums of some",
        lambda store: store.sums(ActivityFilter(since_s=T0, until_s=T0 + 600, gateway="gw-2")),
        Sums(2, 0, 4000, 500, 60, 2.0, 2.5, 2.0, 2.0, 1, 1.25, 2.0),
    ),
    Answer("sums of none", lambda store: store.sums(ActivityFilter(model="m")), Sums()),
    Answer(
        "sums by an attempt's provider",
        lambda store: store.sums(ActivityFilter(since_s=T0, until_s=T0 + 600, provider="alpha")).requests,
        5,
    ),
    Answer(
        "steps, also without requests",
        lambda store: [
            (step.begin_s - T0, step.sums.requests, step.sums.paid_usd) for step in store.steps(TEN_MINUTES, 120)
        ],
        [(0.0, 2, 0.75), (120.0, 2, 3.5), (240.0, 1, 0.0), (360.0, 2, 0.0), (480.0, 1, 0.0)],
    ),
    Answer(
        "steps of a day",
        lambda store: [
            (step.begin_s - T0, step.sums.requests)
            for step in store.steps(ActivityFilter(since_s=T0 - 7200, until_s=T0 + 3600), 3600)
        ],
        [(-7200.0, 0), (-3600.0, 0), (0.0, 8)],
    ),
    Answer(
        "steps of some",
        lambda store: [
            step.sums.requests
            for step in store.steps(ActivityFilter(since_s=T0, until_s=T0 + 600, cause="prefix_changed"), 300)
        ],
        [1, 0],
    ),
    Answer(
        "steps by value",
        lambda store: [
            (step.begin_s - T0, step.value, step.sums.requests, step.sums.paid_usd)
            for step in store.group_steps(TEN_MINUTES, "provider", 300)
        ],
        [
            (0.0, "alpha", 2, 0.75),
            (0.0, "beta", 2, 3.5),
            (300.0, "", 2, 0.0),
            (300.0, "alpha", 1, 0.0),
            (300.0, "gamma", 1, 0.0),
        ],
    ),
    Answer(
        "steps by value, of some",
        lambda store: [
            (step.begin_s - T0, step.value, step.sums.requests)
            for step in store.group_steps(ActivityFilter(since_s=T0, until_s=T0 + 600, model="m-large"), "provider", 60)
        ],
        [(0.0, "alpha", 1), (60.0, "alpha", 1), (180.0, "beta", 1), (420.0, "alpha", 1), (480.0, "", 1)],
    ),
    _groups("provider", 9, [("alpha", 3), ("", 2), ("beta", 2), ("gamma", 1)]),
    _groups("provider", 1, [("alpha", 3), ("(others)", 5)]),
    _groups("model", 9, [("m-large", 5), ("m-small", 2), ("m-none", 1)]),
    _groups("tenant", 9, [("team-a", 4), ("", 2), ("bb22", 2)]),
    _groups(
        "reason",
        3,
        [("first.scored", 2), ("last_resort.all_out", 1), ("observe.spread", 1), ("(others)", 4)],
    ),
    _groups(
        "cause",
        9,
        [("", 3), ("cold_start", 1), ("hit", 1), ("prefix_changed", 1), ("provider_switched", 1), ("unreported", 1)],
    ),
    _groups("gateway", 9, [("gw-1", 6), ("gw-2", 2)]),
    Answer(
        "the sums of a group",
        lambda store: store.groups(TEN_MINUTES, "gateway", 9)[1].sums,
        Sums(2, 0, 4000, 500, 60, 2.0, 2.5, 2.0, 2.0, 1, 1.25, 2.0),
    ),
    Answer(
        "groups of some",
        lambda store: [
            group.value for group in store.groups(ActivityFilter(since_s=T0, until_s=T0 + 600, failed=True), "model", 9)
        ],
        ["m-large", "m-none"],
    ),
    Answer(
        "providers",
        lambda store: [
            (seen.report.provider, seen.gateway, seen.report.verdict, seen.at_s - T0) for seen in store.providers()
        ],
        [("alpha", "gw-1", "up", 310.0), ("alpha", "gw-2", "up", 20.0), ("beta", "gw-1", "up", 200.0)],
    ),
    Answer(
        "verdicts",
        lambda store: list(store.verdicts(T0 - 1000)),
        [
            VerdictSpan("alpha", "gw-1", "up", "", T0 + 10, T0 + 180),
            VerdictSpan("alpha", "gw-1", "down", "ServerError", T0 + 180, T0 + 300),
            VerdictSpan("alpha", "gw-1", "up", "", T0 + 300, None),
            VerdictSpan("alpha", "gw-2", "up", "", T0, None),
            VerdictSpan("beta", "gw-1", "up", "", T0 - 50, None),
        ],
    ),
    Answer(
        "verdicts of late",
        lambda store: [(span.provider, span.gateway, span.verdict) for span in store.verdicts(T0 + 180)],
        [
            ("alpha", "gw-1", "down"),
            ("alpha", "gw-1", "up"),
            ("alpha", "gw-2", "up"),
            ("beta", "gw-1", "up"),
        ],
    ),
    Answer("how many records", lambda store: store.state().records, 8),
    Answer("the oldest and the newest", lambda s: (s.state().oldest_s, s.state().newest_s), (T0, T0 + 480)),
    Answer("what was dropped, by each worker once", lambda store: store.state().dropped, 7),
)
