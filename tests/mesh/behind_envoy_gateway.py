"""A story behind Envoy Gateway: Limpet's gateway, an example's objects, and clients of the Envoy that they make."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from anthropic import AsyncAnthropic
from tests.cluster.world import ADDRESS
from tests.envoy.cast import LONG, PLAIN
from tests.envoy.stage import Stage
from tests.mesh.envoy_gateway import SYSTEM, EnvoyGateway, Json
from tests.mesh.reached import Reached, example, header_mode_objects, secret
from tests.mesh.story import SERVICE

from limpet_lab.kubernetes.istiod import TRUST_DOMAIN
from limpet_lab.mesh.identities import CertificateAuthority, write_secret
from limpet_lab.sim.sellers import Sellers
from limpet_operator.laptop.local import LocalGateway, LocalSettings
from limpet_operator.laptop.machine import free_port
from limpet_operator.planning.plan import Plan
from limpet_operator.publish.envoy_settings import SidecarAccess
from limpet_operator.resources.objects import Parser

ASKING: Final = "llm-header"
"""The Gateway of the example whose Envoy asks the workers."""

_PASSING: Final = "llm"
"""That of the other."""

_WORKERS_PORT: Final = 9443
_LISTENER_PORT: Final = 10080
"""Where an Envoy of Envoy Gateway listens for the port 80 of its Service."""
_ANSWER_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Behind:
    """Limpet's gateway, and the Envoy in front of it."""

    envoy_gateway: EnvoyGateway
    namespace: str
    gateway: LocalGateway
    host: str
    """What clients call."""
    objects: Sequence[Json]
    """Those of the example."""
    asks: bool = False
    """That Envoy asks the workers."""

    @property
    def url(self) -> str:
        """For an SDK."""
        return f"http://{self.host}:{_LISTENER_PORT}/v1"

    @classmethod
    @asynccontextmanager
    async def passing(cls, envoy_gateway: EnvoyGateway) -> AsyncIterator[Self]:
        """The example that passes everything on."""
        namespace, host = envoy_gateway.server.namespace("limpet"), "llm.example"
        async with _gateway(envoy_gateway, namespace) as gateway:
            objects = example("route.yaml", namespace, host)
            await envoy_gateway.apply(*objects)
            await envoy_gateway.accepted(*objects)
            envoy_gateway.name(host, await envoy_gateway.address(_PASSING, namespace))
            yield cls(envoy_gateway, namespace, gateway, host, objects)

    @classmethod
    @asynccontextmanager
    async def asking(cls, envoy_gateway: EnvoyGateway, files: Path) -> AsyncIterator[Self]:
        """The example whose Envoy asks the workers, so far without a provider."""
        namespace, host = envoy_gateway.server.namespace("limpet"), "llm-header.example"
        ours, theirs = CertificateAuthority.made("limpet"), CertificateAuthority.made("mesh")
        access = _access(files, namespace, ours, theirs)
        client = theirs.of_workload(f"spiffe://{TRUST_DOMAIN}/ns/{SYSTEM}/sa/{ASKING}")
        async with _gateway(envoy_gateway, namespace, access) as gateway:
            workers = {"name": "sidecars", "port": _WORKERS_PORT, "targetPort": access.port}
            await envoy_gateway.service("limpet-workers", namespace, workers, ADDRESS)
            objects = header_mode_objects(namespace, host, ())
            await envoy_gateway.apply(
                secret("limpet-controlplane-client", namespace, {"ca.crt": ours.pem}),
                secret(f"{ASKING}-client", namespace, {"tls.crt": client.certificate, "tls.key": client.key}),
                *objects,
            )
            await envoy_gateway.accepted(*objects)
            envoy_gateway.name(host, await envoy_gateway.address(ASKING, namespace))
            yield cls(envoy_gateway, namespace, gateway, host, objects, asks=True)


@asynccontextmanager
async def _gateway(
    envoy_gateway: EnvoyGateway, namespace: str, sidecars: SidecarAccess | None = None
) -> AsyncIterator[LocalGateway]:
    """Limpet's, beside the pods, with its Service."""
    port = free_port()
    settings = LocalSettings(host=ADDRESS, port=port, extproc_metrics_port=free_port(), drain_s=0.5, sidecars=sidecars)
    async with LocalGateway(settings) as gateway:
        gateway.apply(Plan())
        await gateway.ready()
        await envoy_gateway.service(SERVICE, namespace, {"name": "http", "port": 80, "targetPort": port}, ADDRESS)
        yield gateway


def _access(files: Path, namespace: str, ours: CertificateAuthority, theirs: CertificateAuthority) -> SidecarAccess:
    own, mesh = ("workers", files / "workers.json"), ("mesh", files / "mesh.json")
    write_secret(own, tls_certificate=ours.of_host(f"{SERVICE}.{namespace}.svc").inline())
    write_secret(mesh, validation_context={"trusted_ca": {"inline_string": theirs.pem}})
    return SidecarAccess(free_port(), TRUST_DOMAIN, (SYSTEM,), (own[0], str(own[1])), (mesh[0], str(mesh[1])))


class BehindStage(Stage):
    """A stage whose clients speak to the Envoy in front, and whose Providers are in the release's namespace."""

    def __init__(self, number: int, sellers: Sellers, behind: Behind, parser: Parser) -> None:
        super().__init__(number, sellers, behind.gateway, parser, behind.gateway.settings.extproc_metrics_port)
        self.behind = behind

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self.anthropic = AsyncAnthropic(base_url=self.origin, api_key=self.key, max_retries=0, timeout=_ANSWER_S)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.anthropic.close()
        await super().__aexit__(kind, error, trace)

    @property
    def base_url(self) -> str:
        return self.behind.url

    def provider(self, seller: str) -> str:
        return f"{self.behind.namespace}/{super().provider(seller)}"

    def seller_of(self, provider: str | None) -> str:
        return super().seller_of(provider).removeprefix(f"{self.behind.namespace}/")

    def objects(
        self, sellers: Sequence[str], specs: Mapping[str, Mapping[str, Any]], *further: Any
    ) -> list[dict[str, Any]]:
        text = json.dumps(super().objects(sellers, specs, *further)).replace(f'"{self.behind.namespace}/', '"')
        written: list[dict[str, Any]] = json.loads(text)
        return [{**each, "metadata": {**each["metadata"], "namespace": self.behind.namespace}} for each in written]

    def reached(self, *sellers: str) -> list[Reached]:
        """These sellers, for an Envoy that goes to them by itself."""
        found = []
        for name in sellers:
            host = self.behind.envoy_gateway.name(f"{name}.reached.example", ADDRESS)
            found.append(Reached(self.provider(name).rpartition("/")[2], self.sellers[name], host))
        return found

    async def bring(self, *sellers: str) -> None:
        """Make these sellers the providers of the gateway, and of the Envoy in front if that asks the workers.

        It renames no model: each seller has PLAIN, which all have, and `only_of` it, which no other has.
        """
        models = [{"name": self.model}, {"name": PLAIN}]
        specs = {seller: {"models": [*models, {"name": only_of(seller)}]} for seller in sellers}
        if self.behind.asks:
            await self._bring_to_envoy(*sellers)
        await self.serve(*sellers, specs=specs)

    async def _bring_to_envoy(self, *sellers: str) -> None:
        namespace, envoy_gateway = self.behind.namespace, self.behind.envoy_gateway
        objects = header_mode_objects(namespace, self.behind.host, self.reached(*sellers))
        await envoy_gateway.apply(*objects)
        await envoy_gateway.accepted(*(each for each in objects if each["kind"] in ("HTTPRoute", "Backend")))
        for seller in sellers:
            await envoy_gateway.knows(ASKING, namespace, f'"{self.provider(seller)}"')

    async def message(self, turns: Sequence[Any], **fields: Any) -> tuple[Any, str]:
        """One turn by Anthropic's SDK: the message, and how its provider was chosen."""
        raw = await self.anthropic.messages.with_raw_response.create(
            **{"model": PLAIN, "max_tokens": 50, "system": LONG, "messages": turns, **fields}
        )
        self.note_reached(raw.headers)
        return await raw.parse(), raw.headers["x-limpet-decision"]


def only_of(seller: str) -> str:
    """The model that no other seller has."""
    return f"flash.{seller}"
