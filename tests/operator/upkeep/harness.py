"""A keeper of a mesh's objects with its Lease, over an API in memory."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import Any

from prometheus_client import CollectorRegistry
from tests.operator.conftest import Build
from tests.operator.timeline import Timeline
from tests.operator.upkeep.fake_mesh import GROUP, FakeMeshApi

from limpet_operator.mesh.gateway import MeshGateway
from limpet_operator.planning.finding import Finding
from limpet_operator.planning.plan import plan
from limpet_operator.publish.envoy_settings import EnvoySettings
from limpet_operator.resources.problem import ObjectKey
from limpet_operator.resources.serving_certificate import ServingCertificate
from limpet_operator.status.kube_writer import APPLY_PATCH
from limpet_operator.status.lease import Lease
from limpet_operator.status.metrics import build_writer_metrics
from limpet_operator.upkeep.keeper import IstioKeeper
from limpet_operator.upkeep.settings import UpkeepSettings

ALPHA = ObjectKey("Provider", "default", "alpha")
HOST, OTHER = "a.example", "b.example"
OURS = {"app.kubernetes.io/managed-by": "limpet", "limpet.dev/gateway": "limpet.limpet-gateway"}
ROUTE = {"http": [{"route": [{"destination": {"host": "proxy.other"}}]}]}


class Harness:
    """A keeper with its Lease over an API in memory; time moves only by `advance`."""

    def __init__(self, build: Build, settings: UpkeepSettings | None = None, beside: "Harness | None" = None) -> None:
        """`beside`: one whose cluster and time it shares."""
        self.build = build
        self.api: FakeMeshApi = FakeMeshApi() if beside is None else beside.api
        self.time: Timeline = Timeline() if beside is None else beside.time
        self.lease = Lease(
            self.api, "limpet", "lease", "me", clock=self.time.clock, now=self.time.now, sleep=self.time.sleep
        )
        self.told = 0
        self.registry = CollectorRegistry()
        self.authority = "(ca)"
        reader: Any = self.api
        self.keeper = IstioKeeper(
            self.api,
            reader,
            self.lease,
            settings or UpkeepSettings(MeshGateway()),
            EnvoySettings("::", 10000, ()),
            self._tell,
            build_writer_metrics(self.registry).mesh_writes,
            Random(1),
            authority=lambda: self.authority,
            clock=self.time.clock,
            sleep=self.time.sleep,
        )
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, *, lead: bool = True) -> None:
        self._tasks.append(asyncio.create_task(self.keeper.run()))
        if lead:
            self._tasks.append(asyncio.create_task(self.lease.run()))

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def provide(self, certificate: ServingCertificate | None = None, /, **urls: str) -> None:
        """Make these the Providers, whose keys are there; `certificate` is what the gateway shows."""
        raws = [self.build.raw("Provider", name, url=url) for name, url in urls.items()]
        objects = self.build.objects(*raws, self.build.secret())
        self.keeper.plan_changed(replace(plan(objects, {}), certificate=certificate), objects)

    def count(self, kind: str, outcome: str) -> float:
        """How many writes of a kind have ended so."""
        return self.registry.get_sample_value("limpet_mesh_writes_total", {"kind": kind, "outcome": outcome}) or 0.0

    async def until_found(self, reason: str) -> Finding:
        await self.time.until(lambda: self.found().reason == reason)
        return self.found()

    def found(self) -> Finding:
        found = self.keeper.finding(ALPHA)
        assert found is not None
        return found

    async def stray(self) -> str:
        """A route that an operator has written, and that no Provider needs any more; returns its path."""
        path = f"/apis/{GROUP}/v1/namespaces/limpet/virtualservices/old"
        body = {"metadata": {"namespace": "limpet", "name": "old", "labels": OURS}, "spec": {"hosts": [OTHER], **ROUTE}}
        await self.api.call("PATCH", f"{path}?fieldManager=limpet-mesh", body, content_type=APPLY_PATCH)
        return path

    def _tell(self) -> None:
        self.told += 1
