"""A gateway that has a sidecar: applications speak to that, and so reach the providers past the gateway's own Envoy."""

import asyncio
from collections.abc import Collection
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final, Self

from limpet_lab.mesh.identities import CertificateAuthority, KeyPair, write_secret
from limpet_lab.mesh.sidecar import HOST, OPERATOR_NAME, WORKERS_NAME, Neighbours, Sidecar
from limpet_operator.laptop.local import LocalGateway, LocalSettings
from limpet_operator.laptop.machine import free_port
from limpet_operator.planning.plan import Plan
from limpet_operator.publish.envoy_settings import SidecarAccess
from limpet_operator.serve.grpc_server import serve
from limpet_operator.serve.sidecar_credentials import FindWorkload, SidecarCredentials
from limpet_operator.serve.tls import server_credentials

TRUST_DOMAIN: Final = "cluster.local"
NAMESPACE: Final = "shop"
SPIFFE_ID: Final = f"spiffe://{TRUST_DOMAIN}/ns/{NAMESPACE}/sa/checkout"
TOKEN: Final = "token of checkout"  # noqa: S105 (of nobody)
"""What the sidecar shows for credentials."""
_STOP_S: Final = 0.5


class MeshedGateway(LocalGateway):
    """`base_url` and `sidecar` are the sidecar's; a plan is applied to both."""

    def __init__(
        self,
        settings: LocalSettings,
        files: Path,
        tokens: FindWorkload,
        namespaces: Collection[str] = (NAMESPACE,),
        spiffe_id: str = SPIFFE_ID,
    ) -> None:
        """`files`: a folder for all that the processes read. `tokens`: whose the token in its file `token` is."""
        self.mesh, self.ours = CertificateAuthority.made("mesh"), CertificateAuthority.made("limpet")
        self.workers_port, self.credentials_port = free_port(), free_port()
        self.files = files
        self._tokens = tokens
        self._namespaces = tuple(namespaces)
        certificate, authority = ("workers", files / "workers.json"), ("mesh", files / "mesh.json")
        access = SidecarAccess(
            self.workers_port,
            TRUST_DOMAIN,
            self._namespaces,
            (certificate[0], str(certificate[1])),
            (authority[0], str(authority[1])),
        )
        self._write_secrets(certificate, authority)
        self.identify(self.mesh.of_workload(spiffe_id))
        (files / "token").write_text(TOKEN)
        super().__init__(replace(settings, sidecars=access))
        neighbours = Neighbours(settings.port, self.workers_port, self.credentials_port, self.ours.pem)
        self.sidecar = Sidecar(files, neighbours)
        self._beside = AsyncExitStack()
        self._told = Plan()
        self._following: asyncio.Task[None] | None = None

    @property
    def base_url(self) -> str:
        """The sidecar, for an SDK."""
        return self.sidecar.url

    def identify(self, identity: KeyPair) -> None:
        """Give the sidecar another certificate; it counts when the sidecar starts."""
        (self.files / "sidecar.crt").write_text(identity.certificate)
        (self.files / "sidecar.key").write_text(identity.key)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as beside:
            await super().__aenter__()
            beside.push_async_exit(super().__aexit__)
            self.credentials = await self.serve_credentials(beside)
            self.sidecar.write_clusters(())
            self.sidecar.write_routes(Plan(), self.envoy)
            await self.sidecar.start()
            beside.push_async_callback(self.sidecar.stop)
            self._beside = beside.pop_all()
        return self

    async def __aexit__(self, *why: object) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        await self._beside.aclose()

    async def serve_credentials(self, open_: AsyncExitStack) -> AsyncExitStack:
        """Begin to give out credentials; the result ends it, and so does `open_`."""
        ending = await open_.enter_async_context(AsyncExitStack())
        service = SidecarCredentials(self.control_plane.xds, self._tokens, self._namespaces)
        tls = server_credentials(self.files / "operator", clients_have_certificates=False)
        server = await serve(f"{HOST}:{self.credentials_port}", service.handler(), credentials=tls)

        async def end() -> None:
            service.close()
            await server.stop(_STOP_S)

        ending.push_async_callback(end)
        return ending

    def apply(self, plan: Plan) -> None:
        """To the gateway at once, and to the sidecar as a mesh should get it: see `followed`."""
        super().apply(plan)
        self._following = asyncio.create_task(self._follow(plan, self._following))

    @property
    def plan(self) -> Plan:
        """What the sidecar has by now."""
        return self._told

    async def followed(self) -> None:
        """Return when the sidecar has all that was applied so far.

        It gets a route to a provider when it has the provider's cluster, and loses both when no worker names it.
        """
        if self._following is not None:
            await self._following

    async def _follow(self, plan: Plan, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await before
        both = {each.name: each for each in (*self._told.providers, *plan.providers)}
        self.sidecar.write_clusters(both.values())
        await self.sidecar.in_force(both.values())
        self.sidecar.write_routes(replace(plan, providers=tuple(both.values())), self.envoy)
        await self.drained()
        self.sidecar.write_routes(plan, self.envoy)
        self.sidecar.write_clusters(plan.providers)
        await self.sidecar.in_force(plan.providers)
        self._told = plan

    def _write_secrets(self, certificate: tuple[str, Path], authority: tuple[str, Path]) -> None:
        workers, operator = self.ours.of_host(WORKERS_NAME), self.ours.of_host(OPERATOR_NAME)
        directory = self.files / "operator"
        directory.mkdir()
        for name, text in (("tls.crt", operator.certificate), ("tls.key", operator.key), ("ca.crt", self.ours.pem)):
            (directory / name).write_text(text)
        write_secret(certificate, tls_certificate=workers.inline())
        self.trust(self.mesh.pem)

    def trust(self, pem: str) -> None:
        """Have the gateway accept certificates of this authority, as when a mesh's root is replaced."""
        write_secret(("mesh", self.files / "mesh.json"), validation_context={"trusted_ca": {"inline_string": pem}})
