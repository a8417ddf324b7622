"""A namespace of a real API server, as its people and its operators see it."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cluster.operator.process import Operator
from tests.waiting import until

from limpet_lab.kubernetes.apiserver import ApiServer

PATIENCE_S = 30.0
KINDS = ("providers", "pricings", "healthprobes", "stickypolicies")
API = "apis/limpet.dev/v1alpha1"


class Stage:
    """A namespace of a real API server, as its people and its operators see it."""

    def __init__(self, server: ApiServer, namespace: str, directory: Path) -> None:
        self.server = server
        self.namespace = namespace
        self.directory = directory

    def operator(self, name: str) -> Any:
        flags = ("--namespace", self.namespace, "--identity", name)
        lease = ("--lease-namespace", self.namespace, "--lease-name", "limpet")
        return Operator.running(self.server, self.directory / name, *flags, *lease)

    async def apply(self, *objects: Any) -> None:
        (await asyncio.to_thread(self.server.apply, *objects, namespace=self.namespace)).ok()

    async def kubectl(self, *arguments: str) -> str:
        return (await asyncio.to_thread(self.server.kubectl, "-n", self.namespace, *arguments)).ok()

    async def get(self, path: str) -> Any:
        return (await asyncio.to_thread(self.server.request, "GET", path)).raise_for_status().json()

    async def status(self, plural: str, name: str) -> Any:
        return (await self.get(f"/{API}/namespaces/{self.namespace}/{plural}/{name}")).get("status", {})

    async def until(self, plural: str, name: str, holds: Callable[[Any], bool]) -> Any:
        """The status, once this holds of it."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds(status := await self.status(plural, name)):
            assert time.monotonic() < deadline, f"the status of {name} stays {status}"
            await asyncio.sleep(0.05)
        return status

    async def until_condition(self, name: str, kind: str, reason: str, plural: str = "providers") -> Any:
        return await self.until(plural, name, lambda status: conditions(status).get(kind, ("", ""))[1] == reason)

    async def holder(self) -> str | None:
        path = f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases"
        return next((each["spec"].get("holderIdentity") for each in (await self.get(path))["items"]), None)

    async def until_held(self, by: Callable[[str | None], bool]) -> None:
        async def is_held() -> bool:
            return by(await self.holder())

        await until(is_held)

    async def versions(self) -> dict[str, str]:
        """Of every object of ours: one that was written to has another."""
        return {
            f"{kind}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
            for kind in KINDS
            for item in (await self.get(f"/{API}/namespaces/{self.namespace}/{kind}"))["items"]
        }


def conditions(status: Any) -> dict[str, tuple[str, str]]:
    return {each["type"]: (each["status"], each["reason"]) for each in status.get("conditions", ())}
