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

from limpet_extproc.contract.catalog import (
    MAX_MODELS_REPORTED,
    CacheUse,
    Evidence,
    EvidenceReport,
    ModelEvidence,
)
from limpet_extproc.decision.health import TROUBLES
from limpet_extproc.providers.complaints import Complaints
from limpet_extproc.providers.tracker import ProviderTracker

_UNUSED: Final = CacheUse()
ASKED_LATELY_S: Final = 600.0
"""A model that nobody asked for during this time is no longer reported."""


def evidence(
    before: Mapping[str, Evidence],
    tracker: ProviderTracker,
    caches: Mapping[str, CacheUse],
    complaints: Complaints,
    timeouts: Mapping[str, int],
    now_s: float,
) -> dict[str, Evidence]:
    """The evidence now, after `before` was reported; the same object for a provider without news.

    `caches` has the use of the prompt caches of those that answered, `complaints` what is wrong in the providers' own
    words, `timeouts` how many attempts were given up.
    """
    standing = complaints.standing_scopes()
    models: dict[str, list[str]] = {}
    for provider, model in sorted(_asked_lately(tracker, now_s) | standing | tracker.states.by_model.keys()):
        models.setdefault(provider, []).extend([model] if model else [])
    current: dict[str, Evidence] = {}
    for name in models.keys() | tracker.states.health.keys():
        last = before.get(name)
        known = {each.model: each for each in last.models} if last is not None else {}
        one = _Subject(tracker, complaints, name, now_s)
        of_models = [one.of(model, known.get(model)) for model in models.get(name, ())]
        told = sorted((each for each in of_models if each is not None), key=_worst_first)[:MAX_MODELS_REPORTED]
        whole = one.of("", last)
        if whole is None and not told:
            continue
        new = Evidence(cache=caches.get(name, _UNUSED), models=tuple(told), timeouts=timeouts.get(name, 0))
        if whole is not None:
            new = msgspec.structs.replace(
                new, **{field: getattr(whole, field) for field in ModelEvidence.__struct_fields__ if field != "model"}
            )
        current[name] = last if last is not None and new == last else new
    return current


def _asked_lately(tracker: ProviderTracker, now_s: float) -> set[tuple[str, str]]:
    return {scope for scope, at_s in tracker.last_asked_s.items() if at_s > now_s - ASKED_LATELY_S}


def _worst_first(each: ModelEvidence) -> tuple[int, str]:
    return -TROUBLES.index(each.trouble), each.model


@dataclass(frozen=True, slots=True)
class _Subject:
    """What there is to be said about one provider."""

    tracker: ProviderTracker
    complaints: Complaints
    provider: str
    now_s: float

    def of(self, model: str, before: Evidence | ModelEvidence | None) -> ModelEvidence | None:
        """The evidence on one model there, or on the provider with all its models; None: there is none."""
        scope = (self.provider, model)
        success_s = self.tracker.last_answer_s.get(scope, 0.0)
        state = self.tracker.states.by_model.get(scope) if model else self.tracker.states.health.get(self.provider)
        wrong = self.complaints.standing(self.provider, model, self.now_s)
        last = self.complaints.last(self.provider, model)
        if state is not None and state.trouble is not None:
            new = ModelEvidence(model, success_s, state.began_s, state.trouble, state.since_s, state.cause)
            wrong = wrong or (last if last is not None and last.cause == state.cause else None)
        else:
            if wrong is None and not success_s:
                wrong = last
            told = before is not None and (before.trouble is not None or before.cause)
            if wrong is None and not success_s and not told:
                return None
            going_on = before is not None and before.trouble is None and before.since_s
            new = ModelEvidence(model, success_s, since_s=going_on or success_s or self.now_s)
        if wrong is None:
            return new
        return msgspec.structs.replace(
            new, cause=wrong.cause, status=wrong.status, message=wrong.message, cause_s=wrong.at_s
        )


@dataclass(frozen=True, slots=True)
class ReportIntervals:
    """Seconds between reports."""

    settle_s: float = 0.2
    """Changes this soon after another one are reported with it."""
    every_s: float = 2.0
    """How often answers are reported if nothing else has changed."""


class EvidenceReporter:
    """Reports to one stream after another; call `changed()` when a provider goes out or comes back."""

    def __init__(
        self,
        tracker: ProviderTracker,
        caches: Callable[[], Mapping[str, CacheUse]],
        complaints: Complaints,
        timeouts: Callable[[], Mapping[str, int]],
        clock: Callable[[], float],
        intervals: ReportIntervals | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._tracker = tracker
        self._caches = caches
        self._complaints = complaints
        self._timeouts = timeouts
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
            self._current = evidence(
                self._current,
                self._tracker,
                self._caches(),
                self._complaints,
                self._timeouts(),
                self._clock(),
            )
            news = {name: each for name, each in self._current.items() if sent.get(name) is not each}
            if news:
                sent.update(news)
                await send(EvidenceReport(news))
            with suppress(TimeoutError):
                async with asyncio.timeout(self._intervals.every_s):
                    await self._wake.wait()
            await self._sleep(self._intervals.settle_s)
