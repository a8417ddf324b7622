"""Keeps the objects of a mesh as the Providers need them.

What is there is known from a watch. It is compared with what the Providers need after every change of either, and what
differs is queued for a few workers, as the status writer does it, what others depend on first.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random

from prometheus_client import Counter

from limpet_operator.mesh.conflicts import Conflict, OthersByHost, Settled, Theirs
from limpet_operator.mesh.istio_object import IstioObject
from limpet_operator.planning.finding import Finding
from limpet_operator.planning.plan import Plan
from limpet_operator.publish.envoy_settings import EnvoySettings
from limpet_operator.resources.objects import Objects
from limpet_operator.resources.problem import ObjectKey
from limpet_operator.serve.tasks import first_of
from limpet_operator.sources.kube_reader import KubeReader
from limpet_operator.status.kube_writer import KubeCalls
from limpet_operator.status.lease import Lease
from limpet_operator.status.workqueue import WorkQueue
from limpet_operator.upkeep.istio_watch import IstioWatch
from limpet_operator.upkeep.ownership import is_kept
from limpet_operator.upkeep.progress import PENDING, Progress, closed_to, findings_of, left_by_hand, news
from limpet_operator.upkeep.settings import UpkeepSettings
from limpet_operator.upkeep.settling import Settling
from limpet_operator.upkeep.steps import IstioKey, Step, asked_in, next_steps, step_of, step_of_raw
from limpet_operator.upkeep.wanted import wanted_objects
from limpet_operator.upkeep.writes import IstioWrites, UpkeepIntervals

_log = logging.getLogger(__name__)

_AFTER_A_BUG_S = 5.0
_AUTHORITY_EVERY_S = 30.0
"""How often the authority of the gateway's certificates is read again: it is in the objects of mode sidecar."""


class IstioKeeper:
    """All methods belong to one event loop. `run` writes, the others only signal changes or tell what is known."""

    def __init__(
        self,
        api: KubeCalls,
        reader: KubeReader,
        lease: Lease,
        settings: UpkeepSettings,
        envoy: EnvoySettings,
        told: Callable[[], None],
        writes: Counter,
        rng: Random,
        *,
        authority: Callable[[], str] = lambda: "",
        intervals: UpkeepIntervals | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`envoy` is the gateway; `told` is called when `finding` gives something else; `writes` counts them.

        `authority` reads that of the certificates of gateway and operator, in PEM; for mode sidecar.
        """
        self._lease = lease
        self._settings = settings
        self._envoy = envoy
        self._told = told
        self._authority = authority
        self._clock = clock
        self._intervals = intervals or UpkeepIntervals()
        self._sleep = sleep
        self._changed, self._leading, self._lost = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._watch = IstioWatch(reader, settings, self._changed.set, rng, sleep=sleep)
        self._writes = IstioWrites(api, lease, self._watch, settings, self._intervals, clock, writes)
        self._queue: WorkQueue[IstioKey] = WorkQueue(clock=clock, sleep=sleep)
        self._settling = Settling(settings.settle_s, clock)
        self._planned: tuple[Plan, Objects] | None = None
        self._ca_pem = ""
        self._allowed: tuple[int, Settled] | None = None
        """The number of changes by others that it was made after, and what may be written beside theirs."""
        self._hosts: Sequence[str] = ()
        self._beside: tuple[Theirs, ...] = ()
        """All hosts of the Providers, and what others have for these."""
        self._targets: Mapping[IstioKey, IstioObject] = {}
        self._wanted: Mapping[IstioKey, Step] = {}
        self._not_before_s: Mapping[IstioKey, float] = {}
        """When those may be written or removed whose turn it is, by the clock."""
        self._conflicts: tuple[Conflict, ...] = ()
        self._findings: Mapping[str, Finding] = {}
        lease.subscribe(self._lease_changed)

    @property
    def problem(self) -> str | None:
        """Why nothing is written at all; None: no such reason is known."""
        return "the cluster lacks CRDs of Istio" if self._watch.missing else self._watch.refused

    def plan_changed(self, plan: Plan, objects: Objects) -> None:
        """There is a new plan of these objects."""
        self._planned, self._allowed = (plan, objects), None
        self._changed.set()

    def finding(self, key: ObjectKey) -> Finding | None:
        """What an object's status should say of the mesh; None: nothing."""
        return self._findings.get(key.display_name, PENDING) if key.kind == "Provider" else None

    async def run(self) -> None:
        """Run for ever. On cancellation, writes under way end first; release the Lease only after that."""
        workers = [asyncio.create_task(self._write_queued()) for _ in range(self._intervals.writers)]
        try:
            await first_of(self._watch_while_leading(), self._compare_changed(), self._follow_authority())
        finally:
            self._queue.shut_down()
            await asyncio.gather(*workers)

    async def _watch_while_leading(self) -> None:
        while True:
            await self._leading.wait()
            try:
                await first_of(self._watch.run(), self._lost.wait())
            except Exception:
                # To end would end the whole operator, which serves requests.
                _log.exception("objects of the mesh could not be followed; this is a bug in Limpet")
                await self._sleep(_AFTER_A_BUG_S)

    async def _follow_authority(self) -> None:
        while True:
            if (found := self._authority()) != self._ca_pem:
                self._ca_pem, self._allowed = found, None
                self._changed.set()
            await self._sleep(_AUTHORITY_EVERY_S)

    async def _compare_changed(self) -> None:
        while True:
            await self._changed.wait()
            await self._sleep(self._intervals.settle_s)
            self._changed.clear()
            if self._lease.valid():
                try:
                    self._compare()
                except Exception:
                    _log.exception("objects for the mesh can't be worked out, which is a bug in Limpet")

    def _lease_changed(self, valid: bool) -> None:
        for event, holds in ((self._leading, valid), (self._lost, not valid)):
            (event.set if holds else event.clear)()
        self._writes.forget()
        self._settling.forget()
        self._queue.cancel_delayed()
        self._changed.set()

    def _compare(self) -> None:
        """Queue every object whose turn it is, and work out what Providers are told."""
        if self._planned is None:
            return
        plan, objects = self._planned
        to_write: dict[IstioKey, Step] = {}
        to_remove: dict[IstioKey, Step] = {}
        closed = self._watch.closed
        if self._watch.known:
            self._work_out(plan, objects)
            to_write = {
                key: step
                for key, step in self._wanted.items()
                if key[1] not in closed and not self._writes.is_there(self._targets[key])
            }
            to_remove = self._settle(to_write)
        for key in self._writes.failed.keys() - to_write.keys() - to_remove.keys():
            self._writes.settled(key)
        now_s, waits = self._clock(), dict[IstioKey, float]()
        for key in next_steps(to_write, to_remove):
            settling_s = self._settling_s(key, to_write.get(key), to_remove.get(key))
            waits[key] = max(settling_s, self._writes.wait_s(key, self._targets.get(key)))
        self._not_before_s = {key: now_s + wait_s for key, wait_s in waits.items()}
        for key, wait_s in waits.items():
            self._later(key, wait_s)
        self._tell(plan, frozenset(to_write))

    def _work_out(self, plan: Plan, objects: Objects) -> None:
        """What may be written, unless neither the Providers nor what others have there has changed."""
        if self._allowed is not None and self._allowed[0] == self._watch.of_others:
            return
        others = self._watch.others()
        index = OthersByHost(others, self._settings.gateway)
        if self._allowed is not None and index.about(self._hosts) == self._beside:
            # A cluster may have thousands of objects that change all the time and are about other hosts.
            self._allowed = (self._watch.of_others, self._allowed[1])
            return
        found = wanted_objects(plan, objects, others, self._settings, self._envoy, self._ca_pem)
        self._allowed = (self._watch.of_others, found)
        self._hosts = sorted({host for each in found.objects for host in each.spec.get("hosts", ())} | found.left_to)
        self._beside = index.about(self._hosts)
        for note in found.notes:
            self._writes.say_once(note)
        for came, text in news(self._conflicts, found.conflicts):
            _log.log(logging.WARNING if came else logging.INFO, "%s: %s", "conflict" if came else "settled", text)
        self._conflicts = found.conflicts
        # The same object as before where it is equal: comparing it again and again would cost more than all else.
        before = self._targets
        self._targets = {
            each.key: old if (old := before.get(each.key)) == each and old is not None else each
            for each in found.objects
        }
        self._wanted = {key: step_of(each, self._settings.app_namespaces) for key, each in self._targets.items()}

    def _settle(self, to_write: Mapping[IstioKey, Step]) -> dict[IstioKey, Step]:
        """What to remove of what there is, after noting what sidecars have had time for."""
        ours = self._watch.ours()
        there = {key: step_of_raw(raw, self._settings.app_namespaces) for key, raw in ours.items()}
        self._settling.note(self._wanted, to_write, there)
        unneeded = {key: ours[key] for key in there.keys() - self._targets.keys()}
        for key, raw in unneeded.items():
            if not is_kept(raw):
                self._writes.say_once(left_by_hand(key))
        return {key: there[key] for key, raw in unneeded.items() if is_kept(raw)}

    def _later(self, key: IstioKey, wait_s: float) -> None:
        if wait_s < math.inf:
            self._queue.add_after(key, wait_s)

    def _settling_s(self, key: IstioKey, writing: Step | None, removing: Step | None) -> float:
        if writing is not None:
            return self._settling.before_writing_s(writing, asked_in(key[1]), new=self._watch.find(key) is None)
        return 0.0 if removing is None else self._settling.before_removing_s(removing)

    def _tell(self, plan: Plan, outstanding: frozenset[IstioKey]) -> None:
        progress = Progress(
            known=self._watch.known,
            missing=self._watch.missing,
            refused=self._watch.refused,
            wanted=self._targets,
            conflicts=self._conflicts,
            outstanding=outstanding,
            failed={**closed_to(self._targets, self._watch.closed), **self._writes.failed},
        )
        if progress.refused is not None:
            self._writes.say_once(f"nothing is written for the mesh: {progress.refused}")
        providers = {
            key.display_name: each.accepted.ok for key, each in plan.findings.items() if key.kind == "Provider"
        }
        found = findings_of(progress, providers)
        if found != self._findings:
            self._findings = found
            self._told()

    async def _write_queued(self) -> None:
        while (key := await self._queue.get()) is not None:
            try:
                not_before_s = self._not_before_s.get(key)
                if not_before_s is None or not self._lease.valid():
                    continue
                if (wait_s := not_before_s - self._clock()) > 0:
                    self._later(key, wait_s)
                else:
                    await self._writes.try_to(key, self._targets.get(key))
                    self._changed.set()
            finally:
                self._queue.done(key)
