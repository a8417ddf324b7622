"""Keeps the status of every object current: queues what changed, writes what differs, only while it holds the Lease.

Plan, fleet and objects may change at any time. After a change each object's fingerprint is compared with the one that
its status was last made from, and those that differ are queued for a few workers. Each write names the uid and version
that it replaces, and the Lease is checked just before its bytes leave, so a late write does no harm.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from limpet_operator.fleet.view import FleetView
from limpet_operator.planning.finding import Finding
from limpet_operator.planning.plan import Plan
from limpet_operator.probe.view import ProbeView
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
from limpet_operator.status.workqueue import WorkQueue

_log = logging.getLogger(__name__)

_COMPARED_AT_ONCE: Final = 250
"""Objects compared before other tasks get their turn on the event loop."""
_LONGEST_SETTLE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class WriteIntervals:
    """How hard the API server is worked; seconds."""

    settle_s: float = 0.2
    """From a change to the comparison: the effects of one apply (plan, acknowledgement) then make one write."""
    writers: int = 8
    rest_s: float = 0.2
    """After each write of a worker, so that the first statuses of thousands of objects leave room for other clients."""
    per_object_s: float = 1.0
    """Between two writes to one object, however often it changes."""
    hold_s: float = 30.0
    """How long a condition stays when merely less is known than before; see `conditions.steady`."""
    first_retry_s: float = 1.0
    last_retry_s: float = 60.0
    request_s: float = 4.0


class RecordEvent(Protocol):
    """Takes a transition that concerns a person; must not block."""

    def __call__(self, key: ObjectKey, uid: str, finding: Finding, *, bad: bool) -> None:
        """`bad`: somebody has to do something."""


class StatusWriter:
    """All methods belong to one event loop. `run` writes, the others only signal changes."""

    def __init__(
        self,
        api: KubeCalls,
        lease: Lease,
        fleet: FleetView,
        probes: ProbeView,
        *,
        stored: Callable[[ObjectKey], StoredObject | None],
        published: Callable[[str], str | None],
        record: RecordEvent,
        metrics: WriterMetrics,
        meshed: Callable[[ObjectKey], Finding | None] = lambda _key: None,
        intervals: WriteIntervals | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`stored` gives each object as last read, `published` and `meshed` are StatusInputs'."""
        self._api = api
        self._lease = lease
        self._fleet = fleet
        self._probes = probes
        self._stored = stored
        self._published = published
        self._meshed = meshed
        self._record = record
        self._metrics = metrics
        self._intervals = intervals or WriteIntervals()
        self._clock = clock
        self._now = now
        self._sleep = sleep
        self._planned: PlannedObjects | None = None
        self._inputs: StatusInputs | None = None
        """As of the last comparison; None: there was none since the Lease changed hands."""
        self._states: dict[ObjectKey, WriteState] = {}
        self._queue: WorkQueue[ObjectKey] = WorkQueue(clock=clock, sleep=sleep)
        self._changed = asyncio.Event()
        self._ending = asyncio.Event()
        lease.subscribe(self._lease_changed)

    def plan_changed(self, plan: Plan, objects: Objects) -> None:
        """There is a new plan of these objects."""
        self._planned = PlannedObjects(plan, objects)
        self._changed.set()

    def fleet_changed(self) -> None:
        """A gateway connected, left, acknowledged or rejected something; or a provider's traffic has changed."""
        self._changed.set()

    def objects_changed(self) -> None:
        """An object changed in a way that the plan does not depend on: its status was written."""
        self._changed.set()

    async def run(self) -> None:
        """Run for ever. On cancellation, writes under way end first; release the Lease only after that."""
        workers = [asyncio.create_task(self._write_queued()) for _ in range(self._intervals.writers)]
        compared_s = 0.0
        try:
            while True:
                await self._changed.wait()
                # Thousands of objects take a while to compare: never more than a tenth of the time.
                await self._sleep(min(max(self._intervals.settle_s, 9 * compared_s), _LONGEST_SETTLE_S))
                self._changed.clear()
                if self._lease.valid():
                    began_s = self._clock()
                    await self._queue_changed()
                    compared_s = self._clock() - began_s
        finally:
            self._ending.set()
            self._queue.shut_down()
            await asyncio.gather(*workers)

    def _lease_changed(self, valid: bool) -> None:
        self._metrics.lease_held.set(valid)
        # Another replica may have written since: everything is compared again.
        self._states.clear()
        self._inputs = None
        self._queue.cancel_delayed()
        self._changed.set()

    async def _queue_changed(self) -> None:
        """Queue every object whose status may differ from the one that was last made."""
        if self._planned is None:
            return
        fleet = self._fleet
        inputs = StatusInputs(
            self._planned, fleet.gateways(), fleet.traffic(), self._probes, self._published, self._meshed
        )
        self._inputs = inputs
        for removed in self._states.keys() - inputs.plan.findings.keys():
            del self._states[removed]
        for number, key in enumerate(inputs.plan.findings, start=1):
            stored = self._stored(key)
            if stored is not None and key.kind in PLURALS:
                fingerprint = (stored, *inputs.fingerprint(key))
                state = self._states.setdefault(key, WriteState())
                if fingerprint != state.fingerprint:
                    state.fingerprint = fingerprint
                    self._queue.add(key)
            if number % _COMPARED_AT_ONCE == 0:
                await asyncio.sleep(0)

    async def _write_queued(self) -> None:
        while (key := await self._queue.get()) is not None:
            state = self._states.setdefault(key, WriteState())
            requested = True
            try:
                requested = await self._write(key, state)
            except Exception:
                _log.exception("the status of %s could not be written", key)
                self._retry_later(key, state, None)
            finally:
                self._queue.done(key)
            if requested:
                await self._rest()

    async def _rest(self) -> None:
        waits = [asyncio.ensure_future(self._sleep(self._intervals.rest_s)), asyncio.create_task(self._ending.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def _write(self, key: ObjectKey, state: WriteState) -> bool:
        """Write what differs; returns whether a request was made."""
        inputs, stored = self._inputs, state.newest(self._stored(key))
        if not self._lease.valid() or inputs is None or stored is None or key not in inputs.plan.findings:
            return False
        write = draft(inputs, key, stored, state, Moment(self._now(), self._clock()), self._intervals.hold_s)
        if write is None:
            return False
        if write.again_after_s is not None:
            self._queue.add_after(key, write.again_after_s)
        if not write.patch:
            return False
        if (wait_s := state.not_before_s - self._clock()) > 0:
            self._queue.add_after(key, wait_s)
            return False
        try:
            answer = await self._send(key, write)
        except NotSentError:
            self._count(key, "not_sent")
            self._queue.add_after(key, self._intervals.first_retry_s)
        except ApiError as error:
            await self._after_failure(key, state, error)
        else:
            self._count(key, "ok")
            state.failures, state.not_before_s = 0, self._clock() + self._intervals.per_object_s
            state.written, state.sent, state.status_after = answer, without_history(write.wanted), answer.status
            for finding, bad in transitions(write.base.status, write.wanted):
                self._record(key, write.base.uid, finding, bad=bad)
        return True

    async def _send(self, key: ObjectKey, write: Draft) -> StoredObject:
        version = {"uid": write.base.uid, "resourceVersion": str(write.base.resource_version)}
        return stored_object(
            await self._api.call(
                "PATCH",
                f"{_path(key)}/status?fieldManager=limpet-operator",
                {"metadata": version, "status": write.patch},
                content_type=MERGE_PATCH,
                timeout_s=min(self._intervals.request_s, self._lease.remaining_s()),
                gate=self._lease.valid,
            )
        )

    async def _after_failure(self, key: ObjectKey, state: WriteState, error: ApiError) -> None:
        if error.status == 404:
            self._count(key, "gone")
            return  # Deleted: the watch reports that too.
        self._count(key, "conflict" if error.status == 409 else "failed")
        self._retry_later(key, state, error.retry_after_s)
        if error.status == 409:
            with suppress(ApiError):
                answer = await self._api.call("GET", _path(key), timeout_s=self._intervals.request_s)
                state.written = stored_object(answer)
        elif state.failures in (1, 5):
            _log.warning("the status of %s could not be written, trying again: %s", key, error)

    def _retry_later(self, key: ObjectKey, state: WriteState, at_least_s: float | None) -> None:
        backoff_s = min(self._intervals.first_retry_s * 2**state.failures, self._intervals.last_retry_s)
        wait_s = max(backoff_s, at_least_s or 0.0)
        state.failures = min(state.failures + 1, 16)
        state.not_before_s = self._clock() + wait_s
        self._queue.add_after(key, wait_s)

    def _count(self, key: ObjectKey, outcome: str) -> None:
        self._metrics.status_writes.labels(key.kind, outcome).inc()


def _path(key: ObjectKey) -> str:
    return f"/apis/{API_VERSION}/namespaces/{key.namespace}/{PLURALS[key.kind]}/{key.name}"
