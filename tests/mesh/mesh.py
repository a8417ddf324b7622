"""A service mesh without nodes: real istiod and API server, pods of the test's own, and plain Envoys beside them.

    async with mesh.workload("shop", await mesh.namespace()) as shop:
        async with AsyncOpenAI(http_client=sdk_client(shop.pod, 30), base_url="http://llm.internal/v1", …) as sdk:
            …

A workload is a pod of the API server, a network namespace with that address, and a sidecar: an Envoy configured by
istiod, with a certificate of istiod's authority, through which nftables lead all connections that leave the pod or
reach it. Only the sockets of an application are in the pod (`tests.mesh.inside`). Nothing injects sidecars, gives out
endpoints of Services or answers for names: that is what `workload`, `service` and `name` do.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

from tests.cluster.pods import Network, Pod
from tests.mesh.identity import Identity, served, sign, token_for
from tests.mesh.sidecar import Node, Sidecar, bootstrap, redirect

from limpet_lab.kubernetes.apiserver import ApiServer
from limpet_lab.kubernetes.istiod import TRUST_DOMAIN, Istiod

NOWHERE: Final = "240.0.0.1"
"""What names resolve to that only a sidecar knows the way to; nobody has this address."""

Json = Mapping[str, Any]
Zone = Callable[[str], list[str] | None]
"""The addresses of a name; None: it is not one of these."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A pod with its sidecar, or without one."""

    name: str
    namespace: str
    pod: Pod
    labels: Mapping[str, str]
    sidecar: Sidecar | None
    identity: Identity | None

    @property
    def envoy(self) -> Sidecar:
        """Its sidecar, which it must have."""
        assert self.sidecar is not None, f"{self.name} has no sidecar"
        return self.sidecar


@dataclass(slots=True)
class Mesh:
    """The mesh of a session."""

    server: ApiServer
    istiod: Istiod
    network: Network
    directory: Path
    zones: list[Zone] = field(default_factory=list)
    """Further names."""
    _names: dict[str, str] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def resolve(self, host: str) -> list[str] | None:
        """The mesh's name server."""
        name = host.rstrip(".").lower()
        if name in self._names:
            return [self._names[name]]
        return next((found for zone in self.zones if (found := zone(name)) is not None), None)

    def name(self, host: str, ip: str = NOWHERE) -> str:
        """From now on this name has that address."""
        self._names[host] = ip
        return host

    async def namespace(self, prefix: str = "mesh") -> str:
        """A new namespace."""
        return await asyncio.to_thread(self.server.namespace, prefix)

    async def apply(self, *objects: Json, namespace: str = "default") -> None:
        """`kubectl apply`, in `namespace` what names none; istiod hears of it within a second."""
        items = [{**each, "metadata": {"namespace": namespace, **each["metadata"]}} for each in objects]
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        (await asyncio.to_thread(self.server.kubectl, "apply", "--filename", "-", input=text)).ok()

    async def delete(self, *objects: Json, namespace: str = "default") -> None:
        """`kubectl delete`."""
        items = [{**each, "metadata": {"namespace": namespace, **each["metadata"]}} for each in objects]
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        (await asyncio.to_thread(self.server.kubectl, "delete", "--wait=false", "--filename", "-", input=text)).ok()

    @asynccontextmanager
    async def workload(
        self,
        app: str,
        namespace: str,
        *,
        account: str = "",
        labels: Mapping[str, str] | None = None,
        sidecar: bool = True,
        at_edge: bool = False,
        not_from: Sequence[int] = (),
        not_to: Sequence[int] = (),
    ) -> AsyncIterator[Workload]:
        """A ready pod with the label `app`, until the end of the block. `not_from` and `not_to` are `redirect`'s.

        `at_edge`: it is a gateway of Istio's, an Envoy alone.
        """
        name, account = f"{app}-{next(self._numbers)}", account or app
        beside = sidecar and not at_edge
        known = {"app": app, **({"security.istio.io/tlsMode": "istio"} if beside else {}), **(labels or {})}
        async with AsyncExitStack() as running:
            pod = running.enter_context(self.network.pod(name))
            await self._record(name, namespace, account, known, pod)
            found: tuple[Sidecar, Identity] | None = None
            if sidecar:
                node = Node(name, namespace, pod.ip, account, known, at_edge)
                found = await running.enter_async_context(self.beside(pod, node, not_from, not_to))
            running.push_async_callback(self._forget, name, namespace)
            yield Workload(name, namespace, pod, known, *(found or (None, None)))

    @asynccontextmanager
    async def beside(
        self, pod: Pod, node: Node, not_from: Sequence[int], not_to: Sequence[int] = ()
    ) -> AsyncIterator[tuple[Sidecar, Identity]]:
        directory = self.directory / node.pod
        directory.mkdir()
        token = await asyncio.to_thread(token_for, self.server, node.namespace, node.account)
        identity = await sign(self.istiod.address, token)
        socket, admin = directory / "sds.sock", directory / "admin.sock"
        async with served(identity, socket):
            sidecar = Sidecar.prepared(
                pod, bootstrap(node, self.istiod.address, token, socket, admin), token, directory
            )
            if not node.at_edge:
                redirect(pod, not_from, not_to)
            sidecar.program.start()
            try:
                await (sidecar.live() if node.at_edge else sidecar.ready())
                yield sidecar, identity
            finally:
                await asyncio.to_thread(sidecar.program.stop)

    async def service(
        self,
        name: str,
        namespace: str,
        *ports: Mapping[str, Any],
        to: Sequence[Workload] = (),
        at: Sequence[tuple[str, int]] = (),
    ) -> str:
        """A Service; returns its full name. It leads `to` workloads, or to pairs `at` of address and port (for one).

        Its endpoints are what they are now; call it again when they change.
        """
        ports = tuple({**port, "targetPort": port.get("targetPort", port["port"])} for port in ports)
        pods = [
            {
                "addresses": [each.pod.ip],
                "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "name": each.name, "namespace": namespace},
            }
            for each in to
        ]
        if at:
            pods = [{"addresses": [ip], "conditions": {"ready": True}} for ip, _ in at]
            (port,), (target,) = ports, {each for _, each in at}
            ports = ({**port, "targetPort": target},)
        await self.apply(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name},
                "spec": {"ports": list(ports)},
            },
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
                "addressType": "IPv4",
                "ports": [{"name": port["name"], "port": port["targetPort"], "protocol": "TCP"} for port in ports],
                "endpoints": pods,
            },
            namespace=namespace,
        )
        found = await asyncio.to_thread(self.server.get, "--namespace", namespace, "service", name)
        return self.name(f"{name}.{namespace}.svc.{TRUST_DOMAIN}", found["spec"]["clusterIP"])

    async def _record(self, name: str, namespace: str, account: str, labels: Mapping[str, str], pod: Pod) -> None:
        """The objects that a Deployment's controller and a kubelet would write."""
        metadata = {"name": name, "labels": dict(labels)}
        spec = {"serviceAccountName": account, "containers": [{"name": "app", "image": "app"}]}
        await self.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}},
            {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec},
            namespace=namespace,
        )
        status = {
            "phase": "Running",
            "podIP": pod.ip,
            "podIPs": [{"ip": pod.ip}],
            "conditions": [{"type": kind, "status": "True"} for kind in ("PodScheduled", "Ready", "ContainersReady")],
        }
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/status"
        answer = await asyncio.to_thread(
            self.server.request,
            "PATCH",
            path,
            content={"status": status},
            content_type="application/merge-patch+json",
        )
        assert answer.status_code == 200, answer.text

    async def _forget(self, name: str, namespace: str) -> None:
        words = ("delete", "--namespace", namespace, "pod", name, "--wait=false", "--grace-period=0", "--force")
        (await asyncio.to_thread(self.server.kubectl, *words)).ok()
