"""Keeps the status of every object true: looks at what changed, writes what differs, and only while the lease is held.

The plan, the fleet and the objects may change at any time; a look compares what each object's status is made of with
what it was made of at the last look, and queues the others. A few writers take them from there. Each write names the
uid and version that it replaces and asks the lease just before its bytes leave, so a late one does no harm.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from limpet_operator.fleet.acks import FleetView
from limpet_operator.planning.finding import Finding
from limpet_operator.planning.plan import Plan
from limpet_operator.resources.objects import Objects
from limpet_operator.resources.problem import API_VERSION, PLURALS, ObjectKey
from limpet_operator.sources.cluster_store import StoredObject, stored_object
from limpet_operator.sources.kube_error import ApiError
from limpet_operator.status.conditions import transitions, without_history
from limpet_operator.status.draft import Draft, Moment, WriteState, draft
from limpet_operator.status.inputs import PlannedObjects, StatusInputs
from limpet_operator.status.kube_writer import MERGE_PATCH, KubeCalls, NotSentError
from limpet_operator.status.lease import Lease
from limpet_operator.status.metrics import WriterMetrics

_log = logging.getLogger(__name__)

_AT_ONCE: Final = 250
"""Objects looked at before others have their turn on the event loop."""

_LONGEST_SETTLE_S: Final = 2.0
_NOT_OURS_S: Final = 10.0
"""Between looks at what is due while another replica writes; to gain the lease wakes us anyway."""


@dataclass(frozen=True, slots=True)
class WriteIntervals:
    """How hard the API server is worked; seconds."""

    settle_s: float = 0.2
    """From a change to the look at it: what an apply sets off (plan, acknowledgement) makes one write."""
    writers: int = 8
    rest_s: float = 0.2
    """After each write of a writer: the first statuses of thousands of objects leave others their turn."""
    per_object_s: float = 1.0
    """Between two writes to one object, however often it changes."""
    hold_s: float = 30.0
    """How long a condition stays when we only know less than before; see `conditions.steady`."""
    first_retry_s: float = 1.0
    last_retry_s: float = 60.0
    request_s: float = 4.0


class Tell(Protocol):
    """Takes what a person wants to hear of; must not block."""

    def __call__(self, key: ObjectKey, uid: str, finding: Finding, *, bad: bool) -> None:
        """`bad`: something is to be done."""


class StatusWriter:
    """All methods belong to one event loop. `run` writes, the others only say that something changed."""

    def __init__(
        self,
        api: KubeCalls,
        lease: Lease,
        fleet: FleetView,
        *,
        held: Callable[[ObjectKey], StoredObject | None],
        published: Callable[[str], str | None],
        tell: Tell,
        metrics: WriterMetrics,
        pace: WriteIntervals | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`held` knows each object as last heard of, `published` the version of a provider's cluster that is served."""
        self._api = api
        self._lease = lease
        self._fleet = fleet
        self._held = held
        self._published = published
        self._tell = tell
        self._metrics = metrics
        self._pace = pace or WriteIntervals()
        self._clock = clock
        self._now = now
        self._sleep = sleep
        self._planned: PlannedObjects | None = None
        self._outlook: StatusInputs | None = None
        self._memory: dict[ObjectKey, WriteState] = {}
        self._due: dict[ObjectKey, float] = {}
        self._queue: asyncio.Queue[ObjectKey | None] = asyncio.Queue()
        self._queued: set[ObjectKey] = set()
        self._busy: set[ObjectKey] = set()
        self._again: set[ObjectKey] = set()
        """Changed while being written."""
        self._wake = asyncio.Event()
        self._ending = asyncio.Event()
        lease.subscribe(self._lease_changed)

    def plan_changed(self, plan: Plan, objects: Objects) -> None:
        """A plan was made, of these objects."""
        self._planned = PlannedObjects(plan, objects)
        self._wake.set()

    def fleet_changed(self) -> None:
        """A gateway came, went, took or refused something; or what traffic says has changed."""
        self._wake.set()

    def objects_changed(self) -> None:
        """An object changed in a way that the plan does not depend on: somebody wrote into its status."""
        self._wake.set()

    async def run(self) -> None:
        """For ever. When it is cancelled, writes that are under way end first; release the lease only after that."""
        writers = [asyncio.create_task(self._write_queued()) for _ in range(self._pace.writers)]
        look_s = 0.0
        try:
            while True:
                await self._something_to_do()
                # Thousands of objects take a while to look at: never more than a tenth of the time.
                await self._sleep(min(max(self._pace.settle_s, 9 * look_s), _LONGEST_SETTLE_S))
                self._wake.clear()
                if self._lease.valid():
                    began_s = self._clock()
                    await self._look()
                    look_s = self._clock() - began_s
        finally:
            self._ending.set()
            while not self._queue.empty():
                self._queue.get_nowait()
            self._queued.clear()
            for _ in writers:
                self._queue.put_nowait(None)
            await asyncio.gather(*writers)

    def _lease_changed(self, held: bool) -> None:
        self._metrics.lease_held.set(held)
        self._memory.clear()  # Another replica may have written: everything is looked at anew.
        self._due.clear()
        self._wake.set()

    async def _something_to_do(self) -> None:
        if self._due:
            due_s = min(self._due.values()) - self._clock()
            await self._pause(due_s if self._lease.valid() else max(due_s, _NOT_OURS_S), unless=self._wake)
        else:
            await self._wake.wait()

    async def _pause(self, seconds: float, unless: asyncio.Event) -> None:
        waits = [asyncio.ensure_future(self._sleep(max(0.0, seconds))), asyncio.create_task(unless.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _look(self) -> None:
        if self._planned is None:
            return
        plan, now_s = self._planned.plan, self._clock()
        outlook = StatusInputs(self._planned, self._fleet.gateways(), self._fleet.traffic(), self._published)
        self._outlook = outlook
        for key in [key for key, due_s in self._due.items() if due_s <= now_s]:
            del self._due[key]
            self._enqueue(key)
        for gone in self._memory.keys() - plan.findings.keys():
            del self._memory[gone]
            self._due.pop(gone, None)
        for number, key in enumerate(plan.findings, start=1):
            held = self._held(key)
            if held is not None and key.kind in PLURALS:
                made_of = (held, *outlook.fingerprint(key))
                memory = self._memory.setdefault(key, WriteState())
                if made_of != memory.made_of:
                    memory.made_of = made_of
                    self._enqueue(key)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)

    def _enqueue(self, key: ObjectKey) -> None:
        if key in self._busy:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._queue.put_nowait(key)

    def _look_again(self, key: ObjectKey, at_s: float) -> None:
        self._due[key] = at_s
        self._wake.set()

    async def _write_queued(self) -> None:
        while (key := await self._queue.get()) is not None:
            self._queued.discard(key)
            self._busy.add(key)
            memory = self._memory.setdefault(key, WriteState())
            asked = True
            try:
                asked = await self._settle(key, memory)
            except Exception:
                _log.exception("the status of %s could not be written", key)
                self._later(key, memory, None)
            finally:
                self._busy.discard(key)
                if key in self._again:
                    self._again.discard(key)
                    self._enqueue(key)
            if asked:
                await self._pause(self._pace.rest_s, unless=self._ending)

    async def _settle(self, key: ObjectKey, memory: WriteState) -> bool:
        """Write what differs; whether the API server was asked."""
        outlook, held = self._outlook, memory.newest(self._held(key))
        if not self._lease.valid() or outlook is None or held is None or key not in outlook.plan.findings:
            return False
        write = draft(outlook, key, held, memory, Moment(self._now(), self._clock()), self._pace.hold_s)
        if write is None:
            return False
        if write.look_again_s is not None:
            self._look_again(key, write.look_again_s)
        if not write.patch:
            return False
        if self._clock() < memory.not_before_s:
            self._look_again(key, memory.not_before_s)
            return False
        try:
            answer = await self._send(key, write)
        except NotSentError:
            self._count(key, "not_sent")
            self._look_again(key, self._clock() + self._pace.first_retry_s)
        except ApiError as failed:
            await self._after_failure(key, memory, failed)
        else:
            self._count(key, "ok")
            memory.failures, memory.not_before_s = 0, self._clock() + self._pace.per_object_s
            memory.answer, memory.sent, memory.left = answer, without_history(write.wanted), answer.status
            for finding, bad in transitions(write.on.status, write.wanted):
                self._tell(key, write.on.uid, finding, bad=bad)
        return True

    async def _send(self, key: ObjectKey, write: Draft) -> StoredObject:
        version = {"uid": write.on.uid, "resourceVersion": str(write.on.resource_version)}
        return stored_object(
            await self._api.call(
                "PATCH",
                f"{_path(key)}/status?fieldManager=limpet-operator",
                {"metadata": version, "status": write.patch},
                content_type=MERGE_PATCH,
                timeout_s=min(self._pace.request_s, self._lease.remaining_s()),
                gate=self._lease.valid,
            )
        )

    async def _after_failure(self, key: ObjectKey, memory: WriteState, failed: ApiError) -> None:
        if failed.status == 404:
            self._count(key, "gone")
            return  # Deleted; the watch will say so, or has said so.
        self._count(key, "conflict" if failed.status == 409 else "failed")
        self._later(key, memory, failed.retry_after_s)
        if failed.status == 409:
            with suppress(ApiError):
                memory.answer = stored_object(await self._api.call("GET", _path(key), timeout_s=self._pace.request_s))
        elif memory.failures in (1, 5):
            _log.warning("the status of %s could not be written, it is tried again: %s", key, failed)

    def _later(self, key: ObjectKey, memory: WriteState, at_least_s: float | None) -> None:
        backoff_s = min(self._pace.first_retry_s * 2**memory.failures, self._pace.last_retry_s)
        memory.failures = min(memory.failures + 1, 16)
        memory.not_before_s = self._clock() + max(backoff_s, at_least_s or 0.0)
        self._look_again(key, memory.not_before_s)

    def _count(self, key: ObjectKey, outcome: str) -> None:
        self._metrics.status_writes.labels(key.kind, outcome).inc()


def _path(key: ObjectKey) -> str:
    return f"/apis/{API_VERSION}/namespaces/{key.namespace}/{PLURALS[key.kind]}/{key.name}"
