"""Keeps the objects of a mesh as the Providers need them.

What is there is known from a watch. It is compared with what the Providers need after every change of either, and what
differs is queued for a few workers, as the status writer does it, what others depend on first.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from random import Random

from limpet_operator.mesh.conflicts import Conflict, Settled, settled
from limpet_operator.mesh.istio_egress import egress_objects
from limpet_operator.mesh.istio_object import IstioObject, MeshObjects
from limpet_operator.planning.finding import Finding
from limpet_operator.planning.plan import Plan
from limpet_operator.resources.objects import Objects
from limpet_operator.resources.problem import ObjectKey
from limpet_operator.resources.provider import Provider
from limpet_operator.resources.proxy import ProxySettings
from limpet_operator.serve.tasks import first_of
from limpet_operator.sources.kube_reader import KubeReader
from limpet_operator.status.kube_writer import KubeCalls
from limpet_operator.status.lease import Lease
from limpet_operator.status.workqueue import WorkQueue
from limpet_operator.upkeep.istio_watch import IstioWatch
from limpet_operator.upkeep.ownership import subjects_of
from limpet_operator.upkeep.progress import PENDING, Progress, findings_of, news
from limpet_operator.upkeep.settings import UpkeepSettings
from limpet_operator.upkeep.steps import IstioKey, next_steps
from limpet_operator.upkeep.writes import IstioWrites, UpkeepIntervals

_log = logging.getLogger(__name__)

_AFTER_A_BUG_S = 5.0


class IstioKeeper:
    """All methods belong to one event loop. `run` writes, the others only signal changes or tell what is known."""

    def __init__(
        self,
        api: KubeCalls,
        reader: KubeReader,
        lease: Lease,
        settings: UpkeepSettings,
        proxies: ProxySettings,
        told: Callable[[], None],
        rng: Random,
        *,
        intervals: UpkeepIntervals | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`proxies` is how the gateway reaches Providers; `told` is called when `finding` gives something else."""
        self._lease = lease
        self._settings = settings
        self._proxies = proxies
        self._told = told
        self._intervals = intervals or UpkeepIntervals()
        self._sleep = sleep
        self._changed, self._leading, self._lost = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._watch = IstioWatch(reader, settings, self._changed.set, rng, sleep=sleep)
        self._writes = IstioWrites(api, lease, self._watch, settings, self._intervals, clock)
        self._queue: WorkQueue[IstioKey] = WorkQueue(clock=clock, sleep=sleep)
        self._planned: tuple[Plan, Objects] | None = None
        self._needed: MeshObjects | None = None
        """What the Providers need; None: not yet worked out from the newest plan."""
        self._allowed: tuple[int, Settled] | None = None
        """The number of changes by others that it was made after, and what may be written beside theirs."""
        self._targets: Mapping[IstioKey, IstioObject] = {}
        self._steps: frozenset[IstioKey] = frozenset()
        self._conflicts: tuple[Conflict, ...] = ()
        self._findings: Mapping[str, Finding] = {}
        lease.subscribe(self._lease_changed)

    @property
    def problem(self) -> str | None:
        """Why nothing is written at all; None: no such reason is known."""
        return "the cluster lacks CRDs of Istio" if self._watch.missing else self._watch.refused

    def plan_changed(self, plan: Plan, objects: Objects) -> None:
        """There is a new plan of these objects."""
        self._planned, self._needed, self._allowed = (plan, objects), None, None
        self._changed.set()

    def finding(self, key: ObjectKey) -> Finding | None:
        """What an object's status should say of the mesh; None: nothing."""
        return self._findings.get(key.display_name, PENDING) if key.kind == "Provider" else None

    async def run(self) -> None:
        """Run for ever. On cancellation, writes under way end first; release the Lease only after that."""
        workers = [asyncio.create_task(self._write_queued()) for _ in range(self._intervals.writers)]
        try:
            await first_of(self._watch_while_leading(), self._compare_changed())
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
        self._queue.cancel_delayed()
        self._changed.set()

    def _compare(self) -> None:
        """Queue every object whose turn it is, and work out what Providers are told."""
        if self._planned is None:
            return
        plan, objects = self._planned
        to_write: dict[IstioKey, frozenset[str]] = {}
        to_remove: dict[IstioKey, frozenset[str]] = {}
        if self._watch.known:
            self._targets = {each.key: each for each in self._may_be_written(plan, objects).objects}
            to_write = {
                key: frozenset((*each.providers, *each.spec.get("hosts", ())))
                for key, each in self._targets.items()
                if not self._writes.is_there(each)
            }
            to_remove = {key: subjects_of(raw) for key, raw in self._watch.ours().items() if key not in self._targets}
        for key in self._writes.failed.keys() - to_write.keys() - to_remove.keys():
            self._writes.settled(key)
        self._steps = next_steps(to_write, to_remove)
        for key in self._steps:
            self._queue.add_after(key, self._writes.wait_s(key, self._targets.get(key)))
        self._tell(plan, frozenset(to_write))

    def _may_be_written(self, plan: Plan, objects: Objects) -> Settled:
        if self._needed is None:
            usable = [each for each in objects.of(Provider) if plan.findings[each.key].accepted.ok]
            self._needed = egress_objects(usable, self._settings.hosts, self._settings.gateway, self._proxies)
            for note in self._needed.notes:
                self._writes.say_once(note)
        if self._allowed is None or self._allowed[0] != self._watch.of_others:
            found = settled(self._needed.objects, self._watch.others(), self._settings.gateway)
            self._allowed = (self._watch.of_others, found)
            for came, text in news(self._conflicts, found.conflicts):
                _log.log(logging.WARNING if came else logging.INFO, "%s: %s", "conflict" if came else "settled", text)
            self._conflicts = found.conflicts
        return self._allowed[1]

    def _tell(self, plan: Plan, outstanding: frozenset[IstioKey]) -> None:
        progress = Progress(
            known=self._watch.known,
            missing=self._watch.missing,
            refused=self._watch.refused,
            wanted=self._targets,
            conflicts=self._conflicts,
            outstanding=outstanding,
            failed=self._writes.failed,
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
                if self._lease.valid() and key in self._steps:
                    await self._writes.try_to(key, self._targets.get(key))
            finally:
                self._queue.done(key)
            self._changed.set()
