"""A story in the mesh: an application and the gateway in pods of their own, each behind its sidecar."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Self

import msgspec
import trustme
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from tests.cluster.pods import Pod
from tests.cluster.world import ADDRESS
from tests.envoy.cast import LONG, PLAIN, seller_configs
from tests.envoy.stage import Stage
from tests.mesh.inside import http_session, network_of, sdk_client
from tests.mesh.mesh import Mesh, Workload

from limpet_lab.sim.config import Certificate, SellerConfig, SellerModel
from limpet_lab.sim.sellers import Sellers
from limpet_operator.laptop.local import LocalGateway, LocalSettings
from limpet_operator.planning.plan import Plan
from limpet_operator.publish.envoy_settings import SidecarAccess
from limpet_operator.resources.objects import Parser

SERVICE: Final = "limpet-gateway"
"""What the chart calls it for a release `limpet`."""

LABELS: Final = {"app.kubernetes.io/component": "gateway", "app.kubernetes.io/instance": "limpet"}
"""Of the gateway's pods, as the chart writes them."""

STRICT: Final = {
    "apiVersion": "security.istio.io/v1",
    "kind": "PeerAuthentication",
    "metadata": {"name": "default"},
    "spec": {"mtls": {"mode": "STRICT"}},
}
"""In a namespace where nobody is heard without mTLS."""

TLS: Final = "t"
"""The seller that speaks TLS."""

_PORT: Final = 8080
_TLS_PORT: Final = 8443
_METRICS_PORT: Final = 9090
CLIENTS_PORT: Final = {"name": "http", "port": 80, "targetPort": _PORT}
"""Of its Service."""
TLS_CLIENTS_PORT: Final = {"name": "https", "port": 443, "targetPort": _TLS_PORT, "appProtocol": "https"}
_LOOPBACK: Final = "127.0.0.1"
_ANSWER_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Town:
    """The pods of a story."""

    mesh: Mesh
    app: Workload
    pod: Workload
    gateway: LocalGateway
    """It runs in `pod`."""
    host: str
    """Of its Service."""

    @classmethod
    @asynccontextmanager
    async def built(cls, mesh: Mesh) -> AsyncIterator[Self]:
        """An application in one namespace, the gateway in another, where nobody is heard without mTLS."""
        apps, ours = await mesh.namespace("apps"), await mesh.namespace("limpet")
        await mesh.apply(STRICT, namespace=ours)
        async with (
            mesh.workload("shop", apps) as app,
            mesh.workload(SERVICE, ours, labels=LABELS) as pod,
            gateway_in(pod.pod) as gateway,
        ):
            host = await mesh.service(SERVICE, ours, CLIENTS_PORT, TLS_CLIENTS_PORT, to=[pod])
            for name in (*(seller.name for seller in seller_configs()), TLS):
                mesh.name(host_of(name), ADDRESS)
            for each in (app, pod):
                await each.envoy.knows(f"outbound|80||{host}")
            yield cls(mesh, app, pod, gateway, host)

    async def untroubled(self) -> None:
        """Assert that the sidecars took all that istiod sent."""
        for each in (self.app, self.pod):
            assert await each.envoy.refused() == 0, each.envoy.program.log_tail()


@asynccontextmanager
async def gateway_in(pod: Pod, sidecars: SidecarAccess | None = None) -> AsyncIterator[LocalGateway]:
    """A gateway whose processes are in the pod; the control plane is here and speaks to them by Unix sockets."""
    settings = LocalSettings(
        host=pod.ip,
        port=_PORT,
        tls_port=_TLS_PORT,
        extproc_metrics_port=_METRICS_PORT,
        drain_s=0.5,
        sidecars=sidecars,
    )
    async with AsyncExitStack() as running:
        with network_of(pod):
            gateway = await running.enter_async_context(LocalGateway(settings))
        gateway.apply(Plan())
        await gateway.ready()
        yield gateway


class MeshStage(Stage):
    """A stage whose clients are in the application's pod, and whose sellers have names."""

    def __init__(self, number: int, sellers: Sellers, town: Town, parser: Parser, base_url: str) -> None:
        super().__init__(number, sellers, town.gateway, parser, _METRICS_PORT)
        self.town = town
        self._base_url = base_url

    async def __aenter__(self) -> Self:
        # The gateway's own pages are on its loopback; all else is what the application asks for.
        pods = {_LOOPBACK: self.town.pod.pod}
        self.http = http_session(lambda ip: pods.get(ip, self.town.app.pod), _ANSWER_S)
        inside = sdk_client(self.town.app.pod, _ANSWER_S)
        self.client = AsyncOpenAI(base_url=self.base_url, api_key=self.key, max_retries=0, http_client=inside)
        self.anthropic = AsyncAnthropic(base_url=self.origin, api_key=self.key, max_retries=0, http_client=inside)
        return self

    @property
    def base_url(self) -> str:
        return self._base_url

    async def message(self, turns: Sequence[Any]) -> tuple[Any, str]:
        """One turn by Anthropic's SDK: the message, and how its provider was chosen."""
        raw = await self.anthropic.messages.with_raw_response.create(
            model=self.model, max_tokens=50, system=LONG, messages=turns
        )
        self._reached += 1
        return await raw.parse(), raw.headers["x-limpet-decision"]

    def objects(
        self,
        sellers: Sequence[str],
        specs: Mapping[str, Mapping[str, Any]],
        *further: Any,
    ) -> list[dict[str, Any]]:
        """As on every stage, but that the sellers go by their names, and some by their certificates."""
        known: dict[str, dict[str, Any]] = {}
        authorities: list[dict[str, Any]] = []
        for name in sellers:
            seller, metadata = self.sellers[name], {"name": f"{self.provider(name)}-ca"}
            known[name] = {"url": seller.base_url.replace(ADDRESS, host_of(name))}
            if (certificate := seller.config.tls) is not None:
                known[name]["tls"] = {"caCertificateRef": {**metadata, "key": "ca.crt"}}
                data = {"ca.crt": authority_of(certificate)}
                authorities.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
            known[name] |= specs.get(name, {})
        return [*super().objects(sellers, known, *further), *authorities]


def host_of(seller: str) -> str:
    """The name under which a seller is called."""
    return f"{seller}.example"


def beyond_edge(seller: str) -> str:
    """Another, under which it is called where a mesh lets nothing out but at its edge."""
    return f"{seller}.beyond.example"


def authority_of(certificate: Certificate) -> str:
    """Who issued it, the last of its chain, as PEM."""
    return "".join(certificate.chain.rpartition("-----BEGIN CERTIFICATE-----")[1:])


def far_sellers() -> list[SellerConfig]:
    """The sellers of all stories, where pods reach them, and one that speaks TLS, as all real ones do."""
    far = [msgspec.structs.replace(each, listen=f"{ADDRESS}:0") for each in seller_configs()]
    authority = trustme.CA()
    issued = authority.issue_cert(host_of(TLS), beyond_edge(TLS))
    chain = [*issued.cert_chain_pems, authority.cert_pem]
    certificate = Certificate("".join(each.bytes().decode() for each in chain), issued.private_key_pem.bytes().decode())
    return [
        *far,
        msgspec.structs.replace(
            far[0],
            name=TLS,
            api_keys=(f"key-of-{TLS}",),
            models=(SellerModel(f"flash.{TLS}"), SellerModel(PLAIN)),
            tls=certificate,
        ),
    ]
