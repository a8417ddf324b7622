"""What the page asks a store, and how long an answer may take."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from limpet_activity.store.port import ActivityFilter, ActivityStore, Position
from limpet_lab.bench.activity_rows import CLIENTS, MODELS, MONTH_S, PROVIDERS, RARE_MODEL, conversation_of

OVERVIEW_S: Final = 1.0
FILTER_S: Final = 1.0
NEXT_PAGE_S: Final = 0.3

_ROWS: Final = 50
_HOUR_S: Final = 3600


class TimedQuestion(NamedTuple):
    """A question, and its bar in seconds."""

    name: str
    ask: Callable[[ActivityStore], object]
    bar_s: float


def questions(rows: int, until_s: float) -> Sequence[TimedQuestion]:
    """Of a store with this month's records."""
    month = ActivityFilter(since_s=until_s - MONTH_S, until_s=until_s)
    day = ActivityFilter(since_s=until_s - 86_400, until_s=until_s)
    middle = Position(until_s - MONTH_S / 2, "")
    combined = {"provider": PROVIDERS[0], "model": MODELS[0], "cause": "ttl_expired"}
    filters = (
        ("no filter", ActivityFilter()),
        ("one provider", ActivityFilter(provider=PROVIDERS[0])),
        ("one model", ActivityFilter(model=MODELS[0])),
        ("a model that few use", ActivityFilter(model=RARE_MODEL)),
        ("a model that nobody uses", ActivityFilter(model="none")),
        ("one client", ActivityFilter(tenant=CLIENTS[-1])),
        ("decision sticky.", ActivityFilter(reason="sticky.")),
        ("decision sticky.moved.cheaper", ActivityFilter(reason="sticky.moved.cheaper")),
        ("one cause", ActivityFilter(cause="prefix_changed")),
        ("what failed", ActivityFilter(failed=True)),
        ("provider, model and cause", ActivityFilter(**combined)),  # type: ignore[arg-type]
        ("these, of one client, failed", ActivityFilter(tenant=CLIENTS[-1], failed=True, **combined)),  # type: ignore[arg-type]
        ("one conversation", ActivityFilter(conversation=conversation_of(rows // 2))),
        ("how conversations begin, 2 digits", ActivityFilter(conversation="00")),
        ("how conversations begin, 8 digits", ActivityFilter(conversation=conversation_of(rows // 2)[:8])),
    )
    return (
        TimedQuestion("overview of a month", lambda store: _overview(store, month, 6 * _HOUR_S), OVERVIEW_S),
        TimedQuestion("overview of a month by hour", lambda store: _overview(store, month, _HOUR_S), OVERVIEW_S),
        TimedQuestion("overview of a day by 10 minutes", lambda store: _overview(store, day, 600), OVERVIEW_S),
        TimedQuestion(
            "overview of a month, one provider",
            lambda store: _overview(store, _with(month, provider=PROVIDERS[0]), 6 * _HOUR_S),
            OVERVIEW_S,
        ),
        TimedQuestion(
            "overview of a month, provider and client",
            lambda store: _overview(store, _with(month, provider=PROVIDERS[0], tenant=CLIENTS[0]), 6 * _HOUR_S),
            OVERVIEW_S,
        ),
        *(TimedQuestion(f"page: {name}", _page(which, None), FILTER_S) for name, which in filters),
        *(
            TimedQuestion(f"page in the middle: {name}", _page(which, middle), NEXT_PAGE_S)
            for name, which in filters
            if name.startswith(("no", "one", "decision", "what", "provider"))
        ),
        TimedQuestion("a record", lambda store: store.record("none"), NEXT_PAGE_S),
        TimedQuestion("a conversation", lambda store: store.turns(conversation_of(rows // 2), 200), NEXT_PAGE_S),
        TimedQuestion(
            "what came last", lambda s: s.taken_after(ActivityFilter(), s.last_number() - 50, 50), NEXT_PAGE_S
        ),
    )


def _with(which: ActivityFilter, **values: str) -> ActivityFilter:
    return ActivityFilter(since_s=which.since_s, until_s=which.until_s, **values)  # type: ignore[arg-type]


def _page(which: ActivityFilter, older_than: Position | None) -> Callable[[ActivityStore], object]:
    return lambda store: store.page(which, older_than, _ROWS)


def _overview(store: ActivityStore, which: ActivityFilter, step_s: int) -> object:
    return (
        store.sums(which),
        store.steps(which, step_s),
        store.groups(which, "provider", 12),
        store.groups(which, "cause", 12),
        store.groups(which, "model", 12),
    )
