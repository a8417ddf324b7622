"""Istio in the namespace of a `Kubelet`: what its webhook, its agent and the controller of endpoints do for pods."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from aiohttp import web
from tests.cluster.kubelet import Kubelet
from tests.cluster.pods import Pod
from tests.cluster.services import PodAddress, pod_port
from tests.mesh.inside import http_session, socket_in
from tests.mesh.mesh import Mesh
from tests.mesh.sidecar import Node, Sidecar

from limpet_lab.kubernetes.apiserver import UnexpectedResultError
from limpet_lab.kubernetes.istiod import TRUST_DOMAIN

Json = Mapping[str, Any]

AGENT_PORT: Final = 15020
"""Where Istio's agent answers probes in the place of the containers."""

_PROBERS: Final = "probes-of-the-containers"
_DEFAULT: Final = "default"
_EVERY_S: Final = 0.25
_PROBE_S: Final = 5.0


@dataclass(slots=True)
class Injection:
    """The sidecars of a namespace."""

    mesh: Mesh
    namespace: str
    sidecars: dict[str, Sidecar] = field(default_factory=dict)
    """By pod."""
    _services: dict[str, Json] = field(default_factory=dict)
    _written: dict[str, Json] = field(default_factory=dict)

    def admitted(self, pod: Json) -> Json:
        """With a service account, the label that says there is a sidecar, and probes that go to its agent."""
        spec, probers = json.loads(json.dumps({"serviceAccountName": _DEFAULT, **pod["spec"]})), dict[str, Any]()
        for container in (*spec["containers"], *spec.get("initContainers", ())):
            named = {each["name"]: each["containerPort"] for each in container.get("ports", ()) if "name" in each}
            for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
                probe = container.get(kind, {})
                for how in ("httpGet", "tcpSocket"):
                    if how in probe:
                        path = f"/app-health/{container['name']}/{kind}"
                        asked = probe.pop(how)
                        probers[path] = {how: {**asked, "port": named.get(asked["port"], asked["port"])}}
                        probe["httpGet"] = {"path": path, "port": AGENT_PORT}
        metadata = pod["metadata"]
        return {
            **pod,
            "spec": spec,
            "metadata": {
                **metadata,
                "labels": {**metadata["labels"], "security.istio.io/tlsMode": "istio"},
                "annotations": {**metadata.get("annotations", {}), _PROBERS: json.dumps(probers)},
            },
        }

    @asynccontextmanager
    async def beside(self, pod: Pod, record: Json) -> AsyncIterator[None]:
        """A sidecar and its agent."""
        metadata = record["metadata"]
        account = record["spec"]["serviceAccountName"]
        if account == _DEFAULT:  # there is no controller here that makes one
            body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}}
            await self.mesh.apply(body, namespace=self.namespace)
        node = Node(pod.name, self.namespace, pod.ip, account, metadata["labels"])
        async with (
            _agent(pod, json.loads(metadata["annotations"][_PROBERS])),
            self.mesh.beside(pod, node, [AGENT_PORT, *_left_alone(metadata)]) as (sidecar, _),
        ):
            self.sidecars[pod.name] = sidecar
            try:
                yield
            finally:
                del self.sidecars[pod.name]

    @asynccontextmanager
    async def following(self, kubelet: Kubelet) -> AsyncIterator[None]:
        """Writes the endpoints of the namespace's Services and answers for their names, until the end of the block."""
        self.mesh.zones.append(lambda name: self._resolve(name, kubelet))
        task = asyncio.create_task(self._follow(kubelet))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self.mesh.zones.pop()

    def _resolve(self, name: str, kubelet: Kubelet) -> list[str] | None:
        # Pods search the cluster's domain for names without it.
        suffix, name = f".{self.namespace}.svc", name.removesuffix(f".{TRUST_DOMAIN}")
        service = self._services.get(name.removesuffix(suffix)) if name.endswith(suffix) else None
        if service is None:
            return None
        virtual = service["spec"]["clusterIP"]
        return kubelet.services.resolve(name) if virtual == "None" else [virtual]

    async def _follow(self, kubelet: Kubelet) -> None:
        while True:
            for service, pods in kubelet.services.leading():
                name = service["metadata"]["name"]
                self._services[name] = service
                wanted = _slice(service, pods)
                if self._written.get(name) != wanted:
                    with suppress(UnexpectedResultError):  # the API server is busy; the next round tries again
                        await self.mesh.apply(wanted, namespace=self.namespace)
                        self._written[name] = wanted
            await asyncio.sleep(_EVERY_S)


def _left_alone(metadata: Json) -> list[int]:
    """Ports that others reach without the sidecar."""
    named = metadata["annotations"].get("traffic.sidecar.istio.io/excludeInboundPorts", "")
    return [int(port) for port in named.split(",") if port]


def _slice(service: Json, pods: Sequence[PodAddress]) -> Json:
    """What the controller of endpoints writes for a Service."""
    name, ports = service["metadata"]["name"], service["spec"]["ports"]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [
            {"name": each["name"], "port": pod_port(service, each["port"], pods[0]), "protocol": "TCP"}
            for each in ports
            if pods
        ],
        "endpoints": [
            {
                "addresses": [pod.ip],
                "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "name": pod.name, "namespace": service["metadata"]["namespace"]},
            }
            for pod in pods
        ],
    }


@asynccontextmanager
async def _agent(pod: Pod, probers: Mapping[str, Json]) -> AsyncIterator[None]:
    """Asks containers from within their pod, where no sidecar is in between."""
    async with http_session(lambda _: pod, _PROBE_S) as session:

        async def answer(request: web.Request) -> web.Response:
            asked = probers[request.path]
            try:
                if "tcpSocket" in asked:
                    with socket_in(pod) as probe:
                        address = (pod.ip, asked["tcpSocket"]["port"])
                        await asyncio.wait_for(asyncio.get_running_loop().sock_connect(probe, address), _PROBE_S)
                    return web.Response()
                get = asked["httpGet"]
                async with session.get(f"http://{pod.ip}:{get['port']}{get.get('path', '/')}") as heard:
                    return web.Response(status=heard.status, text=await heard.text())
            except (OSError, TimeoutError, aiohttp.ClientError) as error:
                return web.Response(status=503, text=repr(error))

        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        listening = socket_in(pod)
        listening.bind(("0.0.0.0", AGENT_PORT))
        await web.SockSite(runner, listening).start()
        try:
            yield
        finally:
            await runner.cleanup()
