"""A worker's reports on its providers to the operator, made from the states it has anyway, away from every request.

A provider that goes out or comes back is reported within a moment; that answers still come is reported every two
seconds, for the providers that gave any. A new stream starts with everything.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Never

import msgspec

from limpet_extproc.contract.catalog import CacheUse, Evidence, EvidenceReport
from limpet_extproc.decision.health import HEALTHY, HealthState, badness
from limpet_extproc.providers.complaints import Complaints
from limpet_extproc.providers.tracker import ProviderTracker

_UNUSED: Final = CacheUse()


def evidence(
    before: Mapping[str, Evidence],
    tracker: ProviderTracker,
    caches: Mapping[str, CacheUse],
    complaints: Complaints,
    now_s: float,
) -> dict[str, Evidence]:
    """The evidence now, after `before` was reported; the same object for a provider without news.

    `caches` has the use of the prompt caches of those that answered, `complaints` what is wrong in the providers' own
    words.
    """
    current: dict[str, Evidence] = {}
    health = _worst(tracker)
    answered = {provider: at_s for (provider, model), at_s in tracker.last_answer_s.items() if not model}
    for name in answered.keys() | health.keys() | complaints.providers():
        success_s, state, last = answered.get(name, 0.0), health.get(name), before.get(name)
        cache = caches.get(name, _UNUSED)
        wrong = complaints.standing(name, now_s)
        if state is not None and state.trouble is not None:
            new = Evidence(success_s, state.began_s, state.trouble, state.since_s, cache)
            wrong = wrong or complaints.last(name)
        elif last is not None and last.trouble is None:
            new = Evidence(success_s, 0.0, None, last.since_s, cache)
        elif success_s or wrong:
            new = Evidence(success_s, 0.0, None, success_s or now_s, cache)
        else:
            continue
        if wrong is None and not success_s:
            wrong = complaints.last(name)
        if wrong is not None:
            new = msgspec.structs.replace(
                new, cause=wrong.cause, status=wrong.status, message=wrong.message, cause_s=wrong.at_s
            )
        current[name] = last if last is not None and new == last else new
    return current


def _worst(tracker: ProviderTracker) -> dict[str, HealthState]:
    """Of each provider that is not simply well, the worst state of itself and of its models."""
    worst = dict(tracker.states.health)
    for (provider, _), state in tracker.states.by_model.items():
        worst[provider] = max(worst.get(provider, HEALTHY), state, key=badness)
    return worst


@dataclass(frozen=True, slots=True)
class ReportIntervals:
    """Seconds between reports."""

    settle_s: float = 0.2
    """Changes this soon after another one are reported with it."""
    every_s: float = 2.0
    """How often answers are reported if nothing else has changed."""


class HealthReporter:
    """Reports to one stream after another; call `changed()` when a provider goes out or comes back."""

    def __init__(
        self,
        tracker: ProviderTracker,
        caches: Callable[[], Mapping[str, CacheUse]],
        complaints: Complaints,
        clock: Callable[[], float],
        intervals: ReportIntervals | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._tracker = tracker
        self._caches = caches
        self._complaints = complaints
        self._clock = clock
        self._intervals = intervals or ReportIntervals()
        self._sleep = sleep
        self._wake = asyncio.Event()
        self._current: dict[str, Evidence] = {}

    def changed(self) -> None:
        """Report soon: a provider went out or came back, or complains of something else."""
        self._wake.set()

    async def report(self, send: Callable[[EvidenceReport], Awaitable[object]]) -> Never:
        """Send everything, then each change, until cancelled or until `send` raises."""
        sent: dict[str, Evidence] = {}
        while True:
            self._wake.clear()
            self._current = evidence(self._current, self._tracker, self._caches(), self._complaints, self._clock())
            news = {name: each for name, each in self._current.items() if sent.get(name) is not each}
            if news:
                sent.update(news)
                await send(EvidenceReport(news))
            with suppress(TimeoutError):
                async with asyncio.timeout(self._intervals.every_s):
                    await self._wake.wait()
            await self._sleep(self._intervals.settle_s)
