"""Mode sidecar in the mesh: what `limpet mesh istio --mode sidecar` writes, applied and taken back as Providers change.

The application's sidecar is a plain Envoy that istiod alone configures. The gateway's pod has the listener for
sidecars; the operator's service of credentials is beside the pods and asks the API server whose a token is.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from tests.cluster.world import ADDRESS
from tests.envoy.cast import seller_configs
from tests.mesh.mesh import Mesh, Workload
from tests.mesh.story import CLIENTS_PORT, LABELS, SERVICE, STRICT, TLS, MeshStage, Town, gateway_in, host_of

from limpet_lab.kubernetes.istiod import TRUST_DOMAIN
from limpet_lab.mesh.identities import CertificateAuthority, write_secret
from limpet_operator.laptop.machine import free_port
from limpet_operator.mesh.gateway import MeshGateway
from limpet_operator.mesh.istio_object import IstioObject
from limpet_operator.mesh.istio_sidecar import SidecarMesh, sidecar_objects
from limpet_operator.mesh.provider_clusters import cluster_name
from limpet_operator.planning.plan import PlannedProvider
from limpet_operator.publish.envoy_settings import SidecarAccess
from limpet_operator.publish.publication import settings_for
from limpet_operator.serve.grpc_server import serve
from limpet_operator.serve.sidecar_credentials import SidecarCredentials
from limpet_operator.serve.tls import server_credentials
from limpet_operator.serve.token_review import AUDIENCE, TokenReviews
from limpet_operator.sources.kube_reader import Access
from limpet_operator.status.kube_writer import KubeWriter

WORKERS_PORT: Final = 9443
MADE_UP: Final = "models.internal"
"""A host that exists nowhere but in the mesh; other stories bring theirs to another gateway."""

_WORKERS: Final = "limpet-workers"
_STOP_S: Final = 0.5


class AsideStage(MeshStage):
    """A stage whose sellers go by names of their own, as those of other stages lead to another gateway."""

    def objects(
        self, sellers: Sequence[str], specs: Mapping[str, Mapping[str, Any]], *further: Any
    ) -> list[dict[str, Any]]:
        known = {name: {**self._named(name), **specs.get(name, {})} for name in sellers}
        return super().objects(sellers, known, *further)

    def _named(self, name: str) -> dict[str, Any]:
        named: dict[str, Any] = {"url": self.url_at(name, aside(name))}
        if name == TLS:
            authority = {"name": f"{self.provider(name)}-ca", "key": "ca.crt"}
            named["tls"] = {"caCertificateRef": authority, "serverName": host_of(name)}
        return named

    def url_at(self, seller: str, host: str) -> str:
        """The seller's URL under that name."""
        return self.sellers[seller].base_url.replace(ADDRESS, host)

    async def sent(self, seller: str) -> int:
        """How many requests the application's own sidecar has sent to a seller."""
        (provider,) = self.planned(self.objects([seller], {}, {}), {}).providers
        return await self.town.app.envoy.requests(cluster_name(provider))


def aside(seller: str) -> str:
    """The name under which a seller is called here."""
    return f"{seller}.aside.example"


@dataclass(slots=True)
class SidecarMode:
    """The pods, and the objects in force."""

    town: Town
    gateway: MeshGateway
    told: SidecarMesh
    authority: CertificateAuthority
    """Of the gateway's and the operator's certificates."""
    written: dict[tuple[str, str, str], IstioObject] = field(default_factory=dict)

    @classmethod
    @asynccontextmanager
    async def built(cls, mesh: Mesh, files: Path) -> AsyncIterator[Self]:
        """An application in one namespace; gateway and operator in another, where Istio demands mTLS."""
        apps, ours = await mesh.namespace("apps"), await mesh.namespace("limpet")
        await mesh.apply(STRICT, namespace=ours)
        authority = CertificateAuthority.made("limpet")
        told = SidecarMesh((apps,), authority.pem, WORKERS_PORT, free_port())
        named = MeshGateway(ours, export_to=(apps,))
        async with AsyncExitStack() as running:
            enter = running.enter_async_context
            # Istio leaves alone what a sidecar's own user sends. Here all have one user; a mark tells Envoy's own
            # connections, but gRPC's client, by which Envoy fetches credentials, sets none: its port has to do.
            app = await enter(mesh.workload("shop", apps, not_to=[told.credentials_port]))
            pod = await enter(mesh.workload(SERVICE, ours, labels=LABELS, not_from=[WORKERS_PORT]))
            access = _access(files, (apps,), named, authority, _root(app))
            gateway = await enter(gateway_in(pod.pod, access))
            town = Town(mesh, app, pod, gateway, await mesh.service(SERVICE, ours, CLIENTS_PORT, to=[pod]))
            await mesh.service(_WORKERS, ours, {"name": "tls-sidecars", "port": WORKERS_PORT}, to=[pod])
            for name in (*(seller.name for seller in seller_configs()), TLS):
                mesh.name(aside(name), ADDRESS)
            mesh.name(MADE_UP)
            mesh.name(named.operator_host, ADDRESS)
            await enter(_giving_credentials(town, told, named, authority, files))
            yield cls(town, named, told, authority)
            await town.untroubled()

    async def bring(
        self, stage: AsideStage, *sellers: str, specs: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """Make these sellers the whole configuration, first the gateway's and then that of the sidecars.

        A sidecar gets a route to a provider when it has the provider's cluster, and loses it before the cluster.
        """
        plan = stage.planned(stage.objects(sellers, specs or {}, {}), {})
        envoy = settings_for(plan, self.town.gateway.envoy)
        found = sidecar_objects(plan.providers, [MADE_UP], self.gateway, self.told, envoy)
        assert found.notes == ()
        wanted = {each.key: each for each in found.objects}
        new = [each for key, each in wanted.items() if self.written.get(key) != each]
        gone = [each for key, each in self.written.items() if key not in wanted]
        self.town.gateway.apply(plan)
        await self._apply(new, step=1)
        await self._have_clusters(plan.providers)
        await self._apply(new, step=2)
        for provider in plan.providers:
            await self.town.app.envoy.knows(_route(cluster_name(provider)))
        await stage.serve(*sellers, specs=specs)
        await self.town.gateway.drained()
        for step, word in ((2, "limpet.provider.{}"), (1, "{}")):
            await self._delete(gone, step)
            for host in {each.spec["hosts"][0] for each in gone if each.kind == "ServiceEntry"}:
                cluster = f"outbound|80||{host}"
                if host.endswith(".limpet.internal"):
                    await self.town.app.envoy.forgets(f'"{word.format(cluster)}"')
        self.written = wanted

    async def _apply(self, objects: Collection[IstioObject], step: int) -> None:
        bodies = [each.body() for each in objects if each.step == step]
        if bodies:
            await self.town.mesh.apply(*bodies)

    async def _delete(self, objects: Collection[IstioObject], step: int) -> None:
        bodies = [each.body() for each in objects if each.step == step]
        if bodies:
            await self.town.mesh.delete(*bodies)

    async def _have_clusters(self, providers: Collection[PlannedProvider]) -> None:
        """Return when the sidecar uses what istiod made of these, filters included."""
        envoy = self.town.app.envoy

        async def have() -> bool:
            page = await envoy.page("/config_dump?resource=dynamic_active_clusters")
            active = {each["cluster"]["name"]: json.dumps(each) for each in json.loads(page or "{}").get("configs", ())}
            return all(
                each.spec.url.host in active.get(cluster_name(each), "")
                and "envoy.filters.http.upstream_codec" in active[cluster_name(each)]
                for each in providers
            )

        await envoy.until(have, f"clusters of {[each.name for each in providers]}")


def _route(cluster: str) -> str:
    return f'"limpet.provider.{cluster}"'


def _root(workload: Workload) -> str:
    """The mesh's authority."""
    assert workload.identity is not None
    return workload.identity.root


def _access(
    files: Path, namespaces: tuple[str, ...], gateway: MeshGateway, authority: CertificateAuthority, root: str
) -> SidecarAccess:
    certificate, mesh = ("workers", files / "workers.json"), ("mesh", files / "mesh.json")
    write_secret(certificate, tls_certificate=authority.of_host(gateway.certified_name).inline())
    write_secret(mesh, validation_context={"trusted_ca": {"inline_string": root}})
    return SidecarAccess(
        WORKERS_PORT,
        TRUST_DOMAIN,
        namespaces,
        (certificate[0], str(certificate[1])),
        (mesh[0], str(mesh[1])),
    )


@asynccontextmanager
async def _giving_credentials(
    town: Town, told: SidecarMesh, gateway: MeshGateway, authority: CertificateAuthority, files: Path
) -> AsyncIterator[None]:
    """As the operator does, by the API server's word."""
    own = authority.of_host(gateway.operator_host)
    for name, text in (("tls.crt", own.certificate), ("tls.key", own.key), ("ca.crt", authority.pem)):
        (files / name).write_text(text)
    api = KubeWriter(await Access(town.mesh.server.kubeconfig).configuration())
    tokens = TokenReviews(api.call, AUDIENCE, asyncio.get_running_loop().time)
    service = SidecarCredentials(town.gateway.control_plane.xds, tokens, told.app_namespaces)
    tls = server_credentials(files, clients_have_certificates=False)
    server = await serve(f"{ADDRESS}:{told.credentials_port}", service.handler(), credentials=tls)
    try:
        yield
    finally:
        service.close()
        await server.stop(_STOP_S)
        await api.close()
