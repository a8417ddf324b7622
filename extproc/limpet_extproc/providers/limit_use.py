"""What each provider with limits is asked for, as one worker knows it: by itself, its siblings and other gateways.

Its own requests count the moment they are decided, so that it never exceeds a limit while another provider is left.
Siblings tell each other of every such request at once. Workers beside other Envoys tell what they use once a second.
Nothing is kept of a provider without limits.
"""

from collections.abc import Callable, Container, Mapping
from math import ceil
from typing import Final

from limpet_extproc.contract.catalog import Limits
from limpet_extproc.decision.limits import UNUSED, Used, is_full, ratios
from limpet_extproc.providers.limit_events import EventsMissed, LimitEvent, RequestEnded, RequestSent, UseReported
from limpet_extproc.providers.recent_use import MINUTE_S, SlidingMinute, UnderWay

REPORT_HOLDS_S: Final = float(MINUTE_S)
"""A report that is not followed by another counts for this long: by then all that it told of is a minute old."""


class _Part:
    """What one worker, or several as one, asked a provider for."""

    __slots__ = ("_requests", "_tokens", "_under_way")

    def __init__(self) -> None:
        self._under_way = UnderWay()
        self._requests = SlidingMinute()
        self._tokens = SlidingMinute()

    def sent(self, event: RequestSent, now_s: float) -> None:
        self._under_way.begin(event.started_s, now_s)
        self._requests.add(1, now_s)
        self._tokens.add(event.tokens, now_s)

    def ended(self, event: RequestEnded, now_s: float) -> bool:
        """Whether it was one of these."""
        begun_s = self._under_way.end(event.started_s)
        if begun_s is None:
            return False
        if event.more_tokens > 0:
            self._tokens.add(event.more_tokens, now_s)
        else:
            self._tokens.take_back(-event.more_tokens, begun_s)
        return True

    def end_all(self) -> None:
        self._under_way.end_all()

    @property
    def is_unused(self) -> bool:
        """Whether nothing of it can count."""
        return self._requests.is_empty and self._tokens.is_empty and self._under_way.is_empty

    def used(self, now_s: float) -> Used:
        return Used(self._under_way.count(now_s), self._requests.total(now_s), self._tokens.total(now_s))

    def add_leaving(self, requests: list[int], tokens: list[int], now_s: float) -> None:
        """Add what leaves the minute with each of the next seconds."""
        for total, minute in ((requests, self._requests), (tokens, self._tokens)):
            for wait_s, amount in minute.leaving(now_s):
                total[wait_s] += amount


class _ProviderUse:
    """All that is known about one provider."""

    __slots__ = ("elsewhere", "own", "reported", "reports", "siblings")

    def __init__(self) -> None:
        self.own = _Part()
        self.siblings = _Part()
        self.reports: dict[str, tuple[Used, float]] = {}
        """By worker beside another Envoy: its last report, and when it came."""
        self.elsewhere = UNUSED
        """The sum of these."""
        self.reported = UNUSED
        """Our own last report."""

    def add_up(self) -> None:
        reports = [used for used, _ in self.reports.values()]
        self.elsewhere = Used(
            sum(each.under_way for each in reports),
            sum(each.requests for each in reports),
            sum(each.tokens for each in reports),
        )


class LimitUse:
    """The use of all providers with limits."""

    def __init__(
        self, worker: str, clock: Callable[[], float], on_event: Callable[[LimitEvent], object] | None = None
    ) -> None:
        """`worker`: a name that no other worker of the installation has.

        `on_event` is called with each event of this worker, for the workers beside the same Envoy.
        """
        self._worker = worker
        self._clock = clock
        self._on_event = on_event
        self._uses: dict[str, _ProviderUse] = {}

    def apply(self, event: LimitEvent) -> None:
        """Count what this worker decided or heard of itself, and pass it on."""
        self._count(event, own=True)
        if self._on_event is not None:
            self._on_event(event)

    def apply_received(self, event: LimitEvent) -> None:
        """Count what another worker told."""
        self._count(event, own=False)

    def keep(self, limited: Container[str]) -> None:
        """Only these providers have limits from now on.

        What is known of others is forgotten: as long as they have none, nobody tells that a request has ended there.
        """
        for provider in [name for name in self._uses if name not in limited]:
            del self._uses[provider]

    def forget_under_way(self) -> None:
        """No request through the Envoy beside this worker is known to be under way.

        They have ended with it, or their ends may have been missed: it is better to count those that go on too low
        than ones that have ended for ten minutes.
        """
        for use in self._uses.values():
            use.own.end_all()
            use.siblings.end_all()

    @property
    def known(self) -> int:
        """Providers of which anything is kept."""
        return len(self._uses)

    def used(self, provider: str, now_s: float) -> Used:
        """What this provider is asked for now, by everybody that is known of."""
        use = self._uses.get(provider)
        if use is None:
            return UNUSED
        own, elsewhere = use.own.used(now_s), use.elsewhere
        if use.siblings.is_unused and elsewhere == UNUSED:
            return own
        siblings = use.siblings.used(now_s)
        return Used(
            own.under_way + siblings.under_way + elsewhere.under_way,
            own.requests + siblings.requests + elsewhere.requests,
            own.tokens + siblings.tokens + elsewhere.tokens,
        )

    def room_in_s(self, provider: str, limits: Limits, tokens: int, now_s: float) -> int:
        """In how many seconds, rounded up, one more request of so many tokens fits in the minute, if no other comes.

        Requests that other gateways report count as spread evenly over their minute.
        """
        use = self._uses.get(provider)
        if use is None:
            return 0
        requests, sizes = [0] * (MINUTE_S + 2), [0] * (MINUTE_S + 2)
        for part in (use.own, use.siblings):
            part.add_leaving(requests, sizes, now_s)
        left, left_tokens = sum(requests), sum(sizes)
        for wait_s in range(MINUTE_S + 2):
            left, left_tokens = left - requests[wait_s], left_tokens - sizes[wait_s]
            share = max(MINUTE_S - wait_s, 0) / MINUTE_S
            used = Used(
                0, left + ceil(use.elsewhere.requests * share), left_tokens + ceil(use.elsewhere.tokens * share)
            )
            if not is_full(limits, used, tokens):
                return wait_s
        return MINUTE_S + 1

    def reports(self) -> list[UseReported]:
        """What workers beside other Envoys need to know; to be called once a second.

        One report of each provider that this worker asks for anything, and a last one when it no longer does.
        """
        now_s = self._clock()
        reports: list[UseReported] = []
        for provider, use in list(self._uses.items()):
            self._expire(use, now_s)
            own = use.own.used(now_s)
            if own != UNUSED or use.reported != UNUSED:
                reports.append(UseReported(provider, self._worker, own.under_way, own.requests, own.tokens))
            elif not use.reports and use.siblings.used(now_s) == UNUSED:
                del self._uses[provider]
            use.reported = own
        return reports

    def ratios(self, limited: Mapping[str, Limits]) -> dict[tuple[str, str], float]:
        """How much of each limit of these providers is used now, by the names of both."""
        now_s = self._clock()
        return {
            (provider, limit): ratio
            for provider, limits in limited.items()
            for limit, ratio in ratios(limits, self.used(provider, now_s)).items()
        }

    def _count(self, event: LimitEvent, *, own: bool) -> None:
        if isinstance(event, EventsMissed):
            self.forget_under_way()
            return
        now_s = self._clock()
        use = self._uses.get(event.provider)
        if use is None:
            use = self._uses[event.provider] = _ProviderUse()
        match event:
            case RequestSent():
                (use.own if own else use.siblings).sent(event, now_s)
            case RequestEnded():
                # Its log entry may come to another worker than the one that decided.
                use.own.ended(event, now_s) or use.siblings.ended(event, now_s)
            case UseReported(_, worker, under_way, requests, tokens):
                self._take_report(use, worker, Used(under_way, requests, tokens), now_s)

    @staticmethod
    def _take_report(use: _ProviderUse, worker: str, used: Used, now_s: float) -> None:
        if used == UNUSED:
            use.reports.pop(worker, None)
        else:
            use.reports[worker] = (used, now_s)
        use.add_up()

    @staticmethod
    def _expire(use: _ProviderUse, now_s: float) -> None:
        gone = [worker for worker, (_, came_s) in use.reports.items() if now_s - came_s >= REPORT_HOLDS_S]
        for worker in gone:
            del use.reports[worker]
        if gone:
            use.add_up()
