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
from limpet_operator.resources.problem import API_VERSION, PLURALS, ObjectKey
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
"""However long the API server asks us to wait: by then the other transitions in the queue would be stale."""


@dataclass(frozen=True, slots=True)
class Rate:
    """`every_s` seconds between two Events, at most `waiting` of them in the queue."""

    every_s: float = 0.1
    waiting: int = 500
    remembered: int = 2000
    """Events whose count is remembered."""
    tries: int = 3


@dataclass(frozen=True, slots=True)
class Transition:
    """A condition that changed; `bad`: somebody has to do something."""

    key: ObjectKey
    uid: str
    finding: Finding
    bad: bool

    @property
    def name(self) -> str:
        """The name of the Event: equal transitions of one object have the same."""
        content = "\0".join((self.uid, *self.finding))
        digest = blake2b(content.encode(), digest_size=8).hexdigest()
        room = _LONGEST_NAME - len(digest) - 1
        return f"{self.key.name[:room].rstrip('-.')}.{digest}"


def event(transition: Transition, instance: str, now: datetime) -> dict[str, Any]:
    """The Event as the API server takes it."""
    key, finding = transition.key, transition.finding
    return {
        "apiVersion": _VERSION,
        "kind": "Event",
        "metadata": {"name": transition.name, "namespace": key.namespace},
        "eventTime": _micro(now),
        "reportingController": CONTROLLER,
        "reportingInstance": instance[:_LONGEST_INSTANCE],
        "type": "Warning" if transition.bad else "Normal",
        "reason": finding.reason,
        "action": finding.type,
        "note": _note(finding),
        "regarding": {
            "apiVersion": API_VERSION if key.kind in PLURALS else "v1",
            "kind": key.kind,
            "namespace": key.namespace,
            "name": key.name,
            "uid": transition.uid,
        },
    }


class EventWriter:
    """Takes transitions at any time, writes while the Lease is held. All methods belong to one event loop."""

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
        """Write this when its turn comes. Transitions beyond the queue are dropped and counted: the status has them."""
        transition = Transition(key, uid, finding, bad)
        if transition.name in self._waiting:
            return
        if len(self._waiting) >= self._rate.waiting:
            self._metrics.events.labels("dropped").inc()
            return
        self._waiting[transition.name] = transition, 0
        self._wake.set()

    async def run(self) -> None:
        """Write the queue, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                name, (transition, tries) = self._waiting.popitem(last=False)
                await self._write(name, transition, tries)
                await self._sleep(self._rate.every_s)

    async def _write(self, name: str, transition: Transition, tries: int) -> None:
        if not self._lease.valid():
            self._metrics.events.labels("not_sent").inc()
            return
        try:
            await self._send(name, transition)
        except ApiError as error:
            if error.is_transient and tries + 1 < self._rate.tries:
                self._waiting[name] = transition, tries + 1
                await self._sleep(min(error.retry_after_s or 1.0, _LONGEST_WAIT_S))
                return
            self._metrics.events.labels("failed").inc()
            _log.info("an Event on %s could not be written: %s", transition.key, error)
        else:
            self._metrics.events.labels("ok").inc()

    async def _send(self, name: str, transition: Transition) -> None:
        collection = f"/apis/{_VERSION}/namespaces/{transition.key.namespace}/events"
        count = self._counts.get(name, 0)
        if count == 0:
            try:
                await self._call("POST", collection, event(transition, self._lease.identity, self._now()))
            except ApiError as error:
                if error.status != 409:
                    raise
                count = 1  # Another replica created it before.
        if count:
            count = await self._repeat(collection, name, transition, count)
        self._counts[name] = count + 1
        self._counts.move_to_end(name)
        if len(self._counts) > self._rate.remembered:
            self._counts.popitem(last=False)

    async def _repeat(self, collection: str, name: str, transition: Transition, count: int) -> int:
        """Increment the existing Event; returns its count before. The API server deletes Events after an hour."""
        series = {"count": count + 1, "lastObservedTime": _micro(self._now())}
        try:
            await self._call("PATCH", f"{collection}/{name}", {"series": series}, MERGE_PATCH)
        except ApiError as error:
            if error.status != 404:
                raise
            await self._call("POST", collection, event(transition, self._lease.identity, self._now()))
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
