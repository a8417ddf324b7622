"""Limpet as a platform team installs it: the chart by Helm, the objects by kubectl, the pods by the test's kubelet."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import helm_python
from tests.cluster.kubelet import Kubelet
from tests.cluster.world import ADDRESS

from limpet_lab.kubernetes.apiserver import ApiServer
from limpet_lab.sim.config import SellerConfig, SellerModel
from limpet_lab.sim.sellers import Seller

CHART: Final = Path(__file__).parents[3] / "charts/limpet"
NAME: Final = "limpet"
MODEL: Final = "e2e/flash"
UPSTREAM: Final = "flash"
PRICES: Final = {"input": "0.15", "cacheRead": "0.003", "output": "0.60"}

Json = Mapping[str, Any]


@dataclass(slots=True)
class Installation:
    """One release in one namespace."""

    server: ApiServer
    kubelet: Kubelet
    namespace: str

    @property
    def host(self) -> str:
        """The gateway's Service, for clients."""
        return f"{NAME}-gateway.{self.namespace}"

    async def install(self, values: Json) -> None:
        """`helm install`, and wait until everything is ready."""
        await self._helm(lambda config: config.install(CHART, NAME, dict(values)))
        await self.settled("ready after the installation")

    async def upgrade(self, values: Json) -> None:
        """`helm upgrade` with these values, and wait until every pod is a new one where it has to be."""
        await self._helm(lambda config: config.upgrade(CHART, NAME, dict(values)))
        await self.settled("ready after the upgrade")

    async def rollback(self) -> None:
        """`helm rollback` to the revision before."""
        await self._helm(lambda config: config.rollback(NAME))
        await self.settled("ready after the rollback")

    async def uninstall(self) -> None:
        """`helm uninstall`; returns when no pod is left."""
        await self._helm(lambda config: config.uninstall(NAME))
        await self.kubelet.until(lambda: not self.kubelet.pods(), "the end of all pods", timeout_s=120)

    async def settled(self, what: str) -> None:
        """Return when every Deployment has what it wants."""
        await self.kubelet.look()
        await self.kubelet.until(self.kubelet.settled, what, timeout_s=120)

    async def _helm(self, action: Callable[[helm_python.Config], Any]) -> None:
        def act() -> None:
            with helm_python.Config(kubeconfig_path=self.server.kubeconfig, namespace=self.namespace) as config:
                action(config)

        await asyncio.to_thread(act)

    async def kubectl(self, *words: str, input: str | None = None) -> str:  # noqa: A002 - as in subprocess
        """What kubectl prints, in the release's namespace. Raises AssertionError if it fails."""
        done = await asyncio.to_thread(self.server.kubectl, "--namespace", self.namespace, *words, input=input)
        return done.ok()

    async def apply(self, *objects: Json) -> None:
        """`kubectl apply`."""
        (await asyncio.to_thread(self.server.apply, *objects, namespace=self.namespace)).ok()

    async def programmed(self, *providers: str) -> None:
        """Return when the status says that every gateway serves these providers and no others."""
        said: dict[str, Any] = {}

        async def is_so() -> bool:
            listed = await asyncio.to_thread(self.server.get, "--namespace", self.namespace, "providers")
            said.clear()
            said.update({each["metadata"]["name"]: each for each in listed["items"]})
            return said.keys() == {*providers} and all(condition(each, "Programmed") for each in said.values())

        try:
            await self.kubelet.until(is_so, f"{providers} programmed")
        except AssertionError as error:
            statuses = "\n".join(f"{name}: {each.get('status')}" for name, each in said.items())
            raise AssertionError(f"{statuses}\n{error}") from None

    def said(self, name: str, type_: str, reason: str) -> Callable[[], Awaitable[bool]]:
        """Whether a provider's condition has this reason."""

        async def is_said() -> bool:
            found = await asyncio.to_thread(self.server.get, "--namespace", self.namespace, "provider", name)
            conditions = (found.get("status") or {}).get("conditions", ())
            return any((each["type"], each["reason"]) == (type_, reason) for each in conditions)

        return is_said

    async def delete(self, *objects: Json) -> None:
        """`kubectl delete` of these."""
        for each in objects:
            await self.kubectl("delete", each["kind"], each["metadata"]["name"], "--timeout=10s")

    async def holder(self) -> str:
        """Which operator pod holds the Lease."""
        lease = await asyncio.to_thread(self.server.get, "--namespace", self.namespace, "lease", f"{NAME}-operator")
        return lease["spec"].get("holderIdentity") or ""

    def provider(self, seller: str) -> str:
        """How `x-limpet-provider` calls it."""
        return f"{self.namespace}/{seller}"


def condition(object_: Json, kind: str) -> bool:
    """Whether a condition of an object is True for its current generation."""
    for each in (object_.get("status") or {}).get("conditions", ()):
        if each["type"] == kind:
            return each["status"] == "True" and each["observedGeneration"] == object_["metadata"]["generation"]
    return False


def seller_config(name: str) -> SellerConfig:
    """A seller whom pods reach; it takes two keys, so that one can be replaced by the other."""
    return SellerConfig(
        name=name,
        listen=f"{ADDRESS}:0",
        models=(SellerModel(UPSTREAM),),
        api_keys=(f"key-of-{name}", f"new-key-of-{name}"),
        record=True,
    )


def secret(name: str, key: str) -> Json:
    """A Secret with a vendor's key."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"api-key": key}}


def limpet(kind: str, name: str, **spec: Any) -> Json:
    """One of the four kinds."""
    return {"apiVersion": "limpet.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def provider(seller: Seller, named: str = "", **spec: Any) -> Json:
    """A Provider as a user writes it, by default with the seller's name."""
    name = named or seller.name
    return limpet(
        "Provider",
        name,
        **{
            "vendor": "DeepSeek",
            "url": seller.base_url,
            "credential": {"secretRef": {"name": name, "key": "api-key"}},
            "models": [{"name": MODEL, "upstreamName": UPSTREAM}],
            **spec,
        },
    )


def objects(seller: Seller, named: str = "", **spec: Any) -> list[Json]:
    """Secret, Provider and Pricing of a seller; see `provider`."""
    models, name = [{"name": MODEL, "perMillionTokens": PRICES}], named or seller.name
    return [
        secret(name, seller.config.api_keys[0]),
        provider(seller, name, **spec),
        limpet("Pricing", name, providerRef={"name": name}, models=models),
    ]


VALUES: Final = {
    # As installed by default, but for times that tests would only wait out.
    "operator": {"drainSeconds": 2},
    "gateway": {"drainSeconds": 3, "terminationGracePeriodSeconds": 60},
    # Twenty processes on two processors: what is measured here is who remembers, not how fast.
    "redis": {"deadlineMilliseconds": 5000},
}
HEALTH: Final = limpet(
    "HealthProbe",
    "default",
    providerSelector={"matchLabels": {}},
    interval="10s",
    timeout="2s",
    http={"path": "/models"},
)
POLICY: Final = limpet("StickyPolicy", "default", models=["*"], mode="Enforce")
