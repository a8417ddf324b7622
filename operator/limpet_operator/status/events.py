"""Kubernetes Events (events.k8s.io/v1) on the transitions of conditions that concern a person; they delay nothing else.

Transitions wait in a bounded queue and are sent at a limited rate. The name of an Event is a hash of its content, so
the same transition again, from this replica or the next, increments the series of the existing Event.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final

from limpet_operator.planning.finding import Finding
from limpet_operator.resources.problem import API_VERSION, ObjectKey
from limpet_operator.sources.kube_error import ApiError
from limpet_operator.status.kube_writer import MERGE_PATCH, KubeCalls
from limpet_operator.status.lease import Lease
from limpet_operator.status.metrics import WriterMetrics

_log = logging.getLogger(__name__)

CONTROLLER: Final = "limpet.dev/operator"
_VERSION: Final = "events.k8s.io/v1"
_LONGEST_NAME: Final = 253
_LONGEST_NOTE: Final = 1000
"""Kubernetes takes 1024 bytes."""
_LONGEST_INSTANCE: Final = 128
_LONGEST_WAIT_S: Final = 30.0
"""However long the API server asks us to wait: what else there is to tell would be old by then."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How much may be told: `every_s` seconds between Events, `waiting` of them at most in the queue."""

    every_s: float = 0.1
    waiting: int = 500
    remembered: int = 2000
    """Events whose count is known here."""
    tries: int = 3


@dataclass(frozen=True, slots=True)
class Transition:
    """Something that changed about an object; `bad`: something is to be done."""

    key: ObjectKey
    uid: str
    finding: Finding
    bad: bool

    @property
    def name(self) -> str:
        """Of the Event: equal news of one object have one name."""
        told = "\0".join((self.uid, *self.finding))
        digest = blake2b(told.encode(), digest_size=8).hexdigest()
        room = _LONGEST_NAME - len(digest) - 1
        return f"{self.key.name[:room].rstrip('-.')}.{digest}"


def event(news: Transition, instance: str, now: datetime) -> dict[str, Any]:
    """The Event as the API server takes it."""
    key, finding = news.key, news.finding
    return {
        "apiVersion": _VERSION,
        "kind": "Event",
        "metadata": {"name": news.name, "namespace": key.namespace},
        "eventTime": _micro(now),
        "reportingController": CONTROLLER,
        "reportingInstance": instance[:_LONGEST_INSTANCE],
        "type": "Warning" if news.bad else "Normal",
        "reason": finding.reason,
        "action": finding.type,
        "note": _note(finding),
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": key.kind,
            "namespace": key.namespace,
            "name": key.name,
            "uid": news.uid,
        },
    }


class EventWriter:
    """Takes news at any time, writes while the lease is held. All methods belong to one event loop."""

    def __init__(
        self,
        api: KubeCalls,
        lease: Lease,
        metrics: WriterMetrics,
        *,
        rate: Rate | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._api = api
        self._lease = lease
        self._metrics = metrics
        self._rate = rate or Rate()
        self._now = now
        self._sleep = sleep
        self._waiting: OrderedDict[str, tuple[Transition, int]] = OrderedDict()
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._wake = asyncio.Event()

    def record(self, key: ObjectKey, uid: str, finding: Finding, *, bad: bool) -> None:
        """Say this as soon as there is room. What is too much is dropped and counted: the status says it anyway."""
        news = Transition(key, uid, finding, bad)
        if news.name in self._waiting:
            return
        if len(self._waiting) >= self._rate.waiting:
            self._metrics.events.labels("dropped").inc()
            return
        self._waiting[news.name] = news, 0
        self._wake.set()

    async def run(self) -> None:
        """Write what waits, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                name, (news, tries) = self._waiting.popitem(last=False)
                await self._write(name, news, tries)
                await self._sleep(self._rate.every_s)

    async def _write(self, name: str, news: Transition, tries: int) -> None:
        if not self._lease.valid():
            self._metrics.events.labels("not_sent").inc()
            return
        try:
            await self._send(name, news)
        except ApiError as failed:
            if failed.is_transient and tries + 1 < self._rate.tries:
                self._waiting[name] = news, tries + 1
                await self._sleep(min(failed.retry_after_s or 1.0, _LONGEST_WAIT_S))
                return
            self._metrics.events.labels("failed").inc()
            _log.info("an Event on %s could not be written: %s", news.key, failed)
        else:
            self._metrics.events.labels("ok").inc()

    async def _send(self, name: str, news: Transition) -> None:
        collection = f"/apis/{_VERSION}/namespaces/{news.key.namespace}/events"
        count = self._counts.get(name, 0)
        if count == 0:
            try:
                await self._call("POST", collection, event(news, self._lease.identity, self._now()))
            except ApiError as failed:
                if failed.status != 409:
                    raise
                count = 1  # From before this replica began to write.
        if count:
            count = await self._repeat(collection, name, news, count)
        self._counts[name] = count + 1
        self._counts.move_to_end(name)
        if len(self._counts) > self._rate.remembered:
            self._counts.popitem(last=False)

    async def _repeat(self, collection: str, name: str, news: Transition, count: int) -> int:
        """Counts up the Event that is there; gives back how often it had been told. They are deleted after an hour."""
        series = {"count": count + 1, "lastObservedTime": _micro(self._now())}
        try:
            await self._call("PATCH", f"{collection}/{name}", {"series": series}, MERGE_PATCH)
        except ApiError as failed:
            if failed.status != 404:
                raise
            await self._call("POST", collection, event(news, self._lease.identity, self._now()))
            return 0
        return count

    async def _call(self, method: str, path: str, body: dict[str, Any], content_type: str = "application/json") -> None:
        timeout_s = min(4.0, self._lease.remaining_s())
        await self._api.call(method, path, body, content_type=content_type, timeout_s=timeout_s, gate=self._lease.valid)


def _micro(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _note(finding: Finding) -> str:
    text = f"{finding.type} is {finding.status}: {finding.message}"
    cut = text.encode()[:_LONGEST_NOTE].decode(errors="ignore")
    return cut if cut == text else cut + "…"
