"""Which replica writes: one Lease (coordination.k8s.io/v1) that is renewed while its holder lives.

Clocks of machines are never compared. A holder trusts its lease for `valid_s` from the moment it *began* its last
successful renewal; another replica takes it only after it has seen the Lease unchanged for the longer `duration_s`,
both measured on their own monotonic clocks. So there is a gap between the two in which no replica writes, and a holder
that was frozen finds its lease expired when it wakes up. Renewals name the version that they replace: of two only one
succeeds.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

from limpet_operator.sources.kube_error import ApiError
from limpet_operator.status.kube_writer import KubeCalls

_log = logging.getLogger(__name__)

_VERSION: Final = "coordination.k8s.io/v1"


@dataclass(frozen=True, slots=True)
class LeaseDurations:
    """Seconds. A holder that dies is replaced within `duration_s` plus twice `renew_s`."""

    duration_s: float = 8.0
    """How long other replicas leave an unchanged Lease alone."""
    renew_s: float = 2.0
    """How often it is renewed, or read by the others."""
    valid_s: float = 6.0
    """How long the holder trusts it."""
    request_s: float = 1.8
    """How long one request may take: two of them must fit between the time a renewal is due and the expiry."""


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """A Lease as the API server has it; `holder` None: it was released."""

    holder: str | None
    duration_s: float
    transitions: int
    acquired: str | None
    renewed: str | None
    resource_version: str
    extra_metadata: Mapping[str, Any] = field(default_factory=dict)
    """Labels and annotations of its creator, such as the Helm release, which writes preserve."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """The Lease as last read, and since when (monotonic) it has been like that; None: there was no Lease."""

    record: LeaseRecord | None
    since_s: float


Step = Literal["take", "renew", "wait"]


def parse(raw: Mapping[str, Any]) -> LeaseRecord:
    """A Lease from its JSON; missing fields count as released."""
    spec = raw.get("spec") or {}
    return LeaseRecord(
        holder=spec.get("holderIdentity") or None,
        duration_s=float(spec.get("leaseDurationSeconds") or 0),
        transitions=spec.get("leaseTransitions") or 0,
        acquired=spec.get("acquireTime"),
        renewed=spec.get("renewTime"),
        resource_version=raw["metadata"]["resourceVersion"],
        extra_metadata={name: raw["metadata"][name] for name in ("labels", "annotations") if name in raw["metadata"]},
    )


def sight(before: Sighting | None, record: LeaseRecord | None, now_s: float) -> Sighting:
    """The clock of an unchanged Lease runs on. A deleted one counts as last seen: its holder may still write."""
    if before is not None and (record is None or before.record == record):
        return before
    return Sighting(record, now_s)


def next_step(sighting: Sighting, identity: str, now_s: float, terms: LeaseDurations) -> Step:
    """What a replica does about the Lease as last read; the record's own duration counts if it is longer."""
    record = sighting.record
    if record is None or record.holder is None:
        return "take"
    if record.holder == identity:
        return "renew"
    return "take" if now_s >= _free_s(sighting, terms) else "wait"


def _free_s(sighting: Sighting, terms: LeaseDurations) -> float:
    """When a Lease that another replica holds may be taken, unless it changes before."""
    theirs_s = sighting.record.duration_s if sighting.record else 0.0
    return sighting.since_s + max(theirs_s, terms.duration_s)


class Lease:
    """The claim of one replica. Check `valid` before each write, and `remaining_s` for how long the write may take.

    End all writers before `release`, or they may still write after another replica has begun.
    """

    def __init__(
        self,
        api: KubeCalls,
        namespace: str,
        name: str,
        identity: str,
        terms: LeaseDurations | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`identity` must differ between replicas. `clock` is monotonic and goes on while the process is frozen."""
        self._api = api
        self._collection = f"/apis/{_VERSION}/namespaces/{namespace}/leases"
        self._metadata = {"name": name, "namespace": namespace}
        self.identity = identity
        self._terms = terms or LeaseDurations()
        self._clock = clock
        self._now = now
        self._sleep = sleep
        self._valid_until_s = -math.inf
        self._was_valid = False
        self._sighting: Sighting | None = None
        self._listeners: list[Callable[[bool], None]] = []

    @property
    def holder(self) -> str | None:
        """The holder as last read; None: there is none, or it is unknown."""
        return self._sighting.record.holder if self._sighting and self._sighting.record else None

    def valid(self) -> bool:
        """Whether this replica may write now."""
        return self.remaining_s() > 0

    def remaining_s(self) -> float:
        """For how much longer this replica may write, unless the lease is renewed."""
        return max(0.0, self._valid_until_s - self._clock())

    def subscribe(self, listener: Callable[[bool], None]) -> None:
        """Call this with True when the lease is gained, with False when it is lost."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Acquire and renew it, for ever. Cancellation does not release it: see `release`."""
        failures = 0
        while True:
            try:
                await self._step()
                failures = 0
            except ApiError as error:
                failures += 1
                level = logging.WARNING if failures in (1, 10) else logging.DEBUG
                _log.log(level, "Lease %s: %s", self._metadata["name"], error)
            self._notify()
            await self._sleep(self._pause_s(failures))
            self._notify()

    async def release(self) -> None:
        """Give it up, so that another replica takes it at its next read. If that fails, it expires."""
        was_valid, self._valid_until_s = self.valid(), -math.inf
        self._notify()
        record = self._sighting.record if self._sighting else None
        if not was_valid or record is None:
            return
        try:
            await self._put(record, None)
        except ApiError as error:
            _log.info("the lease was not released and will expire: %s", error)

    async def _step(self) -> None:
        began_s = self._clock()
        record = self._sighting.record if self._sighting and self.valid() else await self._read()
        self._sighting = sight(self._sighting, record, self._clock())
        step = next_step(self._sighting, self.identity, self._clock(), self._terms)
        if step == "wait":
            self._valid_until_s = -math.inf
            return
        try:
            written = parse(await (self._post() if record is None else self._put(record, self.identity)))
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            # Another replica was quicker, it was deleted, or our last renewal did arrive although its answer did not.
            record = await self._read()
            self._sighting = sight(self._sighting, record, self._clock())
            if record is None or record.holder != self.identity:
                self._valid_until_s = -math.inf
            return
        self._sighting = Sighting(written, self._clock())
        self._valid_until_s = began_s + self._terms.valid_s

    async def _read(self) -> LeaseRecord | None:
        try:
            return parse(await self._api.call("GET", self._path, timeout_s=self._terms.request_s))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def _post(self) -> Any:
        body = self._body(self.identity, None, {})
        return await self._api.call("POST", self._collection, body, timeout_s=self._terms.request_s)

    async def _put(self, record: LeaseRecord, holder: str | None) -> Any:
        body = self._body(holder, record, {**record.extra_metadata, "resourceVersion": record.resource_version})
        return await self._api.call("PUT", self._path, body, timeout_s=self._terms.request_s)

    def _body(self, holder: str | None, before: LeaseRecord | None, metadata: Mapping[str, Any]) -> dict[str, Any]:
        now = self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        changes_hands = before is None or before.holder != holder
        transitions = 0 if before is None else before.transitions + (changes_hands and holder is not None)
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": max(1, math.ceil(self._terms.duration_s)),
            "acquireTime": now if before is None or changes_hands else before.acquired,
            "renewTime": now,
            "leaseTransitions": transitions,
        }
        return {"apiVersion": _VERSION, "kind": "Lease", "metadata": {**self._metadata, **metadata}, "spec": spec}

    @property
    def _path(self) -> str:
        return f"{self._collection}/{self._metadata['name']}"

    def _pause_s(self, failures: int) -> float:
        terms, sighting = self._terms, self._sighting
        if failures:
            return min(terms.renew_s, 0.25 * failures)
        if self.valid() or sighting is None:
            return terms.renew_s
        if next_step(sighting, self.identity, self._clock(), terms) != "wait":
            return terms.renew_s / 8
        return min(terms.renew_s, _free_s(sighting, terms) - self._clock() + 0.01)

    def _notify(self) -> None:
        valid = self.valid()
        if valid == self._was_valid:
            return
        self._was_valid = valid
        _log.info("lease %s: %s", self._metadata["name"], "held by this replica now" if valid else "no longer held")
        for listener in self._listeners:
            listener(valid)
