"""A gateway with a sidecar, and stages whose clients are beside that."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from tests.envoy.stage import Stage

from limpet_lab.mesh.meshed_gateway import NAMESPACE, TOKEN, MeshedGateway
from limpet_operator.laptop.local import LocalSettings
from limpet_operator.laptop.machine import free_port
from limpet_operator.planning.plan import Plan
from limpet_operator.serve.token_review import TokenRefusedError, Workload

ACCOUNT: Final = "checkout"


class Tokens:
    """An API server that knows one token."""

    async def workload(self, token: str) -> Workload:
        if token != TOKEN:
            raise TokenRefusedError("the API server does not accept the token")
        return Workload(NAMESPACE, ACCOUNT)


class SidecarStage(Stage):
    """A stage whose clients are beside the sidecar."""

    @property
    def gateway(self) -> MeshedGateway:
        assert isinstance(self._front, MeshedGateway)
        return self._front

    async def sent(self, seller: str) -> int:
        """Requests that the sidecar itself has sent to a seller."""
        (provider,) = self.planned(self.objects([seller], {}, {}), {}).providers
        return await self.gateway.sidecar.sent(provider)

    async def serve(self, *sellers: str, **more: Any) -> "SidecarStage":
        await super().serve(*sellers, **more)
        await self.gateway.followed()
        return self


@asynccontextmanager
async def meshed(files: Path) -> AsyncIterator[tuple[MeshedGateway, int]]:
    """One without any provider yet, and the port of its data plane's metrics."""
    metrics_port = free_port()
    settings = LocalSettings(port=free_port(), extproc_metrics_port=metrics_port, drain_s=0.5)
    async with MeshedGateway(settings, files, Tokens()) as gateway:
        gateway.apply(Plan())
        await gateway.ready()
        yield gateway, metrics_port
