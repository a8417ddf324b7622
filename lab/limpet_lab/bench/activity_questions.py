"""What the page asks a store, and how long an answer may take."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from limpet_activity.store.port import ActivityFilter, ActivityStore, Position
from limpet_activity.web import answers
from limpet_extproc.contract.activity import ActivityRecord
from limpet_lab.bench.activity_rows import CLIENTS, DAY_S, MODELS, PROVIDERS, RARE_MODEL, RARE_PROVIDER

OVERVIEW_S: Final = 1.0
FILTER_S: Final = 1.0
NEXT_PAGE_S: Final = 0.3
MONTH_S: Final = 30 * DAY_S

_ROWS: Final = 50
_HOUR_S: Final = 3600


class TimedQuestion(NamedTuple):
    """A question, and its bar in seconds."""

    name: str
    ask: Callable[[], object]
    bar_s: float


def questions(store: ActivityStore, now_s: float) -> Sequence[TimedQuestion]:
    """Of a store with the records of the month before."""
    middle = Position(now_s - MONTH_S / 2, "")
    known = store.page(ActivityFilter(), middle, 1).records[0]
    one_provider = ActivityFilter(provider=PROVIDERS[0])
    two_values = ActivityFilter(provider=PROVIDERS[0], tenant=CLIENTS[0])
    number = store.last_number()
    return (
        TimedQuestion("overview: a month", _overview(store, "30d", ActivityFilter(), now_s), OVERVIEW_S),
        TimedQuestion("overview: a day", _overview(store, "24h", ActivityFilter(), now_s), OVERVIEW_S),
        TimedQuestion("overview: a month of one provider", _overview(store, "30d", one_provider, now_s), OVERVIEW_S),
        TimedQuestion(
            "overview: a month of a provider and a client", _overview(store, "30d", two_values, now_s), OVERVIEW_S
        ),
        *_pages(store, middle, known),
        TimedQuestion("a record by its id", lambda: store.record(known.id), NEXT_PAGE_S),
        TimedQuestion("a record that is not there", lambda: store.record("none"), NEXT_PAGE_S),
        TimedQuestion("a conversation", lambda: store.turns(known.conversation, 200), NEXT_PAGE_S),
        TimedQuestion("providers", lambda: answers.providers(store, {"range": "30d"}, now_s), OVERVIEW_S),
        TimedQuestion("what came last", lambda: store.taken_after(ActivityFilter(), number - 50, 50), NEXT_PAGE_S),
    )


def _pages(store: ActivityStore, middle: Position, known: ActivityRecord) -> list[TimedQuestion]:
    """With each filter the first page, the next one if there is one, and one in the middle of the month."""
    found = []
    for name, which in _filters(known):
        found.append(TimedQuestion(f"first page: {name}", _page(store, which, None), FILTER_S))
        if (older := store.page(which, None, _ROWS).older) is not None:
            found.append(TimedQuestion(f"next page: {name}", _page(store, which, older), NEXT_PAGE_S))
        found.append(TimedQuestion(f"deep page: {name}", _page(store, which, middle), NEXT_PAGE_S))
    return found


def _filters(known: ActivityRecord) -> Sequence[tuple[str, ActivityFilter]]:
    end_s = known.time_s
    hour = ActivityFilter(since_s=end_s - _HOUR_S, until_s=end_s)
    combined = ActivityFilter(provider=PROVIDERS[0], model=MODELS[0], cause="ttl_expired")
    return (
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
        ("an hour", hour),
        ("an hour of one client", replace(hour, tenant=CLIENTS[-1])),
        ("provider, model and cause", combined),
        ("these, of one client, failed", replace(combined, tenant=CLIENTS[-1], failed=True)),
        ("three that failed at a rare provider", ActivityFilter(provider=RARE_PROVIDER, failed=True)),
        ("a rare provider and a client", ActivityFilter(provider=RARE_PROVIDER, tenant=CLIENTS[-1])),
        ("one conversation", ActivityFilter(conversation=known.conversation)),
        ("a conversation at one provider", ActivityFilter(conversation=known.conversation, provider=known.provider)),
        ("conversations by 2 digits", ActivityFilter(conversation=known.conversation[:2])),
        ("conversations by 3 digits", ActivityFilter(conversation=known.conversation[:3])),
        ("conversations by 8 digits", ActivityFilter(conversation=known.conversation[:8])),
    )


def _page(store: ActivityStore, which: ActivityFilter, older_than: Position | None) -> Callable[[], object]:
    return lambda: store.page(which, older_than, _ROWS)


def _overview(store: ActivityStore, span: str, which: ActivityFilter, now_s: float) -> Callable[[], object]:
    return lambda: answers.overview(store, {"range": span}, which, now_s)
