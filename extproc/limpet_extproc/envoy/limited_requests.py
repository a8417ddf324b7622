"""What log entries show about requests at providers with limits: where each is now, and how many tokens it took.

The decision counted a request at the first provider of its order. If that one fails, the request goes on at the next.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Final, TypeAlias

from limpet_extproc.contract.attempt import Attempt
from limpet_extproc.contract.catalog import Limits
from limpet_extproc.contract.record import Record
from limpet_extproc.decision.clients import USE_PREFIX
from limpet_extproc.envoy.usage import TokenUsage
from limpet_extproc.providers.limit_events import LimitEvent, RequestEnded, RequestSent

_MAX_UNDER_WAY: Final = 10_000
"""Requests that have an entry and go on; of those beyond it attempts may be counted twice."""

RequestName: TypeAlias = tuple[bytes, float]


def name_of(record: Record | None) -> RequestName | None:
    """What the entries of one request have in common: its conversation, and when it was decided.

    Envoy's own `stream_id` is empty, because the header that it is made of reaches no provider.
    """
    return None if record is None else (record.key, record.started_s)


class LimitedRequests:
    """Counts attempts at providers with limits; each is one request there."""

    def __init__(
        self,
        limited: Callable[[], Mapping[str, Limits]],
        apply: Callable[[LimitEvent], None],
        clients: Callable[[], Container[str]] = tuple,
    ) -> None:
        """`limited`: the limits of those providers that have any now; `clients`: the names for use of such clients."""
        self._limited = limited
        self._clients = clients
        self._apply = apply
        self._heard: dict[RequestName, int] = {}
        """By request under way: how many places of its course are counted already."""

    def under_way(self, record: Record | None, attempts: Sequence[Attempt]) -> None:
        """A request whose first attempt failed goes on; it is at the last of these."""
        limited = self._limited()
        name = name_of(record)
        if not limited or record is None or name is None:
            return
        heard = self._heard.pop(name, 0)
        for event in course_events(record, attempts, None, limited, heard=heard, ended=False):
            self._apply(event)
        if len(self._heard) >= _MAX_UNDER_WAY:
            self._heard.pop(next(iter(self._heard)))
        self._heard[name] = len(_course(record, attempts))

    def ended(
        self,
        record: Record | None,
        attempts: Sequence[Attempt],
        usage: TokenUsage | None,
        now_s: float,
    ) -> None:
        """A request has ended, after these attempts; `usage` is what the last one reported."""
        if record is not None and record.client and (use := USE_PREFIX + record.client) in self._clients():
            tokens = record.prompt_tokens + record.output_tokens
            more = _more_tokens(attempts[-1] if attempts else None, tokens, usage)
            self._apply(RequestEnded(use, record.started_s, more))
        limited = self._limited()
        if not limited:
            self._heard.clear()
            return
        name = name_of(record)
        heard = self._heard.pop(name, 0) if name else 0
        if record is not None:
            events = course_events(record, attempts, usage, limited, heard=heard, ended=True)
        else:
            events = undecided_events(attempts, usage, limited, now_s)
        for event in events:
            self._apply(event)


def course_events(
    record: Record,
    attempts: Sequence[Attempt],
    usage: TokenUsage | None,
    limited: Mapping[str, Limits],
    *,
    heard: int,
    ended: bool,
) -> list[LimitEvent]:
    """What a log entry adds to the `heard` first places of a request's course, 0 where it is its first entry."""
    tokens = record.prompt_tokens + record.output_tokens
    course = _course(record, attempts)
    events: list[LimitEvent] = []
    for number, (provider, attempt) in enumerate(course):
        if provider not in limited:
            continue
        # The decision has counted the first one.
        if number >= max(heard, 1):
            events.append(RequestSent(provider, record.started_s, tokens))
        last = number == len(course) - 1
        if (ended or not last) and number >= heard - 1:
            events.append(
                RequestEnded(provider, record.started_s, _more_tokens(attempt, tokens, usage if last else None))
            )
    return events


def undecided_events(
    attempts: Sequence[Attempt], usage: TokenUsage | None, limited: Mapping[str, Limits], now_s: float
) -> list[LimitEvent]:
    """For a request that no worker decided: nothing was counted before its end."""
    events: list[LimitEvent] = []
    for attempt in attempts:
        if attempt.provider in limited:
            tokens = usage.prompt + usage.output if usage is not None and attempt is attempts[-1] else 0
            events += RequestSent(attempt.provider, now_s, tokens), RequestEnded(attempt.provider, now_s)
    return events


def _course(record: Record, attempts: Sequence[Attempt]) -> list[tuple[str, Attempt | None]]:
    """The providers that the request was counted at or has to be, the first of its order before all others."""
    first = record.order[0]
    tried: list[tuple[str, Attempt | None]] = [(attempt.provider, attempt) for attempt in attempts]
    return tried if tried and tried[0][0] == first else [(first, None), *tried]


def _more_tokens(attempt: Attempt | None, tokens: int, usage: TokenUsage | None) -> int:
    if usage is not None:
        return usage.prompt + usage.output - tokens
    if attempt is not None and (attempt.outcome in ("ok", "client_left") or attempt.cause == "BrokenOff"):
        return 0  # It took some, and did not report how many.
    return -tokens
