"""What a replica writes to Kubernetes while it holds the Lease: status, Events and objects of a mesh."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Final

from prometheus_client import CollectorRegistry

from limpet_operator.fleet.view import FleetView
from limpet_operator.planning.finding import Finding
from limpet_operator.planning.plan import Plan
from limpet_operator.pod.settings import ReplicaSettings
from limpet_operator.probe.view import ProbeView
from limpet_operator.resources.objects import Objects
from limpet_operator.resources.problem import ObjectKey
from limpet_operator.serve.tasks import beside, first_of
from limpet_operator.serve.tls import AUTHORITY_FILE
from limpet_operator.sources.cluster_store import StoredObject
from limpet_operator.sources.kube_reader import KubeReader
from limpet_operator.status.events import EventWriter
from limpet_operator.status.kube_writer import KubeWriter
from limpet_operator.status.lease import Lease
from limpet_operator.status.metrics import build_writer_metrics
from limpet_operator.status.writer import StatusWriter
from limpet_operator.upkeep.keeper import IstioKeeper

RELEASE_S: Final = 3.0
"""How long giving up the Lease may take; it expires anyway."""


def _authority(tls_dir: Path | None) -> Callable[[], str]:
    """Reads the authority of the gateway's and the operator's certificates; what was read last while it can't be."""
    last = ""

    def read() -> str:
        nonlocal last
        if tls_dir is not None:
            with suppress(OSError, UnicodeDecodeError):
                last = (tls_dir / AUTHORITY_FILE).read_text()
        return last

    return read


class Writing:
    """The Lease and the writers that depend on it."""

    def __init__(
        self,
        settings: ReplicaSettings,
        lease: tuple[str, str],
        api: KubeWriter,
        reader: KubeReader,
        registry: CollectorRegistry,
        fleet: FleetView,
        probes: ProbeView,
        stored: Callable[[ObjectKey], StoredObject | None],
        published: Callable[[str], str | None],
    ) -> None:
        """`lease` is namespace and name of the Lease; `reader` is for a mesh, the rest is StatusWriter's."""
        metrics = build_writer_metrics(registry)
        self._api = api
        self._stored = stored
        self._lease = Lease(api, *lease, settings.identity)
        self._events = EventWriter(api, self._lease, metrics)
        self.status = StatusWriter(
            api,
            self._lease,
            fleet,
            probes,
            stored=stored,
            published=published,
            record=self._events.record,
            metrics=metrics,
            meshed=self._meshed,
        )
        self._mesh: IstioKeeper | None = None
        if settings.mesh is not None:
            rng = Random()  # noqa: S311 (it spreads load)
            self._mesh = IstioKeeper(
                api,
                reader,
                self._lease,
                settings.mesh,
                settings.envoy,
                self.status.fleet_changed,
                metrics.mesh_writes,
                rng,
                authority=_authority(settings.tls_dir),
            )

    @property
    def leading(self) -> bool:
        """Whether this replica holds the Lease."""
        return self._lease.valid()

    @property
    def mesh_problem(self) -> str | None:
        """Why nothing is written for a mesh; None: no such reason is known."""
        return None if self._mesh is None else self._mesh.problem

    def plan_changed(self, plan: Plan, objects: Objects) -> None:
        """There is a new plan of these objects."""
        self.status.plan_changed(plan, objects)
        if self._mesh is not None:
            self._mesh.plan_changed(plan, objects)

    def tell_of_secrets(self, new: Plan, before: Plan | None) -> None:
        """Record Events for the Secrets with keys of clients: they have no status that could say what is wrong."""
        old = before.findings if before is not None else {}
        for key, findings in new.findings.items():
            if key.kind != "Secret" or findings.accepted.ok or findings == old.get(key) or not self.leading:
                continue
            if (stored := self._stored(key)) is not None:
                self._events.record(key, stored.uid, findings.accepted, bad=True)

    async def run(self) -> None:
        """Until cancelled; then what is under way is written, and the Lease is given up for the next replica."""
        try:
            # The Lease outlives the writers: they ask it until their last write.
            async with beside(self._lease.run()) as leading:
                parts: list[Awaitable[object]] = [self.status.run(), self._events.run(), asyncio.wait({leading})]
                if self._mesh is not None:
                    parts.append(self._mesh.run())
                await first_of(*parts)
        finally:
            try:
                async with asyncio.timeout(RELEASE_S):
                    await self._lease.release()
            except TimeoutError:
                pass
            finally:
                await self._api.close()

    def _meshed(self, key: ObjectKey) -> Finding | None:
        return None if self._mesh is None else self._mesh.finding(key)
