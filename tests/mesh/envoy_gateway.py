"""Envoy Gateway without nodes: its real controller over the tests' API server, and the Envoys that it deploys.

    async with EnvoyGateway.running(assets, server, network, directory) as envoy_gateway:
        await envoy_gateway.apply(*yaml.safe_load_all(example))
        ip = await envoy_gateway.address("llm", "limpet")

The controller and its Envoys are pods of a `Kubelet`: what runs there is what the controller's own Deployments say,
with the certificates of its `certgen`. Only its image, a Helm chart and endpoints of Services are not there: the
program is built from its module, and `service` writes what controllers of a cluster would.
"""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import yaml
from tests.cluster.images import Image, local_images
from tests.cluster.kubelet import Kubelet
from tests.cluster.podlife import RunningPod
from tests.cluster.pods import Network, Pod
from tests.mesh.inside import http_session
from tests.waiting import until

from limpet_lab.kubernetes.apiserver import ApiServer
from limpet_lab.kubernetes.mesh_assets import EnvoyGatewayAssets

SYSTEM: Final = "envoy-gateway-system"
"""The namespace of the controller and of its Envoys."""

CLASS: Final = "eg"
"""The GatewayClass that its documents call so."""

CONTROLLER: Final = "gateway.envoyproxy.io/gatewayclass-controller"
"""Its name in the status of objects."""

_NAME: Final = "envoy-gateway"
_IMAGE: Final = "gateway-dev"
"""What a program that was built without a version takes for its own image; its Envoys have a container of it, too."""
_CONFIG: Final = {
    "apiVersion": "gateway.envoyproxy.io/v1alpha1",
    "kind": "EnvoyGateway",
    "gateway": {"controllerName": CONTROLLER},
    "provider": {
        "type": "Kubernetes",
        "kubernetes": {
            "leaderElection": {"disable": True},
            # It asks a webhook for the zone of each pod.
            "proxyTopologyInjector": {"disabled": True},
        },
    },
    "extensionApis": {"enableBackend": True},
}
_ADMIN: Final = "http://127.0.0.1:19000"
"""Of its Envoys, in their pods."""
_PAGE_S: Final = 30.0
_PORTS: Final = {"xds": 18000, "health": 8081}

Json = Mapping[str, Any]


@dataclass(slots=True)
class EnvoyGateway:
    """The one of a session."""

    server: ApiServer
    kubelet: Kubelet
    names: dict[str, str] = field(default_factory=dict)
    """Addresses of names that are no Services'."""

    @classmethod
    @asynccontextmanager
    async def running(
        cls, assets: EnvoyGatewayAssets, server: ApiServer, network: Network, directory: Path
    ) -> AsyncIterator[Self]:
        """The controller with its CRDs and its class, ready, until the end of the block."""
        await asyncio.to_thread(_prepare, assets, server)
        names: dict[str, str] = {}

        def resolve(host: str) -> list[str] | None:
            found = names.get(host.rstrip(".").lower())
            return None if found is None else [found]

        program = str(assets.program.parent)
        images = (*local_images(), Image(_IMAGE, (program,), program, entrypoint=(assets.program.name,)))
        async with Kubelet.start(server, SYSTEM, directory, network, images, names=resolve) as kubelet:
            running = cls(server, kubelet, names)
            await running.apply(*_objects())
            await kubelet.until(lambda: kubelet.ready(name=_NAME), "the controller of Envoy Gateway")
            yield running

    async def apply(self, *objects: Json) -> None:
        """`kubectl apply`."""
        (await asyncio.to_thread(self.server.kubectl, "apply", "--filename", "-", input=_list(objects))).ok()

    async def delete(self, *objects: Json) -> None:
        """`kubectl delete`."""
        words = ("delete", "--wait=false", "--filename", "-")
        (await asyncio.to_thread(self.server.kubectl, *words, input=_list(objects))).ok()

    def name(self, host: str, ip: str) -> str:
        """From now on this name has that address."""
        self.names[host] = ip
        return host

    async def address(self, gateway: str, namespace: str) -> str:
        """The IP address of the Envoy of a Gateway, once it is ready."""
        return (await self.proxy(gateway, namespace)).ip

    async def proxy(self, gateway: str, namespace: str) -> RunningPod:
        """The pod with the Envoy of a Gateway, once it is ready."""
        owner = {
            "gateway.envoyproxy.io/owning-gateway-name": gateway,
            "gateway.envoyproxy.io/owning-gateway-namespace": namespace,
        }

        def found() -> list[RunningPod]:
            return [pod for pod in self.kubelet.ready(component="proxy") if owner.items() <= pod.labels.items()]

        await self.kubelet.until(found, f"an Envoy of {namespace}/{gateway}")
        return found()[0]

    async def knows(self, gateway: str, namespace: str, words: str) -> None:
        """Return when the configuration of a Gateway's Envoy has these words."""
        proxy = await self.proxy(gateway, namespace)
        async with http_session(lambda _: Pod(proxy.name, proxy.ip, ""), _PAGE_S) as session:

            async def has() -> bool:
                async with session.get(_ADMIN + "/config_dump") as answer:
                    return words in await answer.text()

            await self.kubelet.until(has, f"{words} in the configuration of {namespace}/{gateway}")

    async def service(self, name: str, namespace: str, port: Json, ip: str) -> None:
        """A Service that leads to this address, where its port is `port["targetPort"]`."""
        await self.apply(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"ports": [port]},
            },
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": f"{name}-1",
                    "namespace": namespace,
                    "labels": {"kubernetes.io/service-name": name},
                },
                "addressType": "IPv4",
                "ports": [{"name": port["name"], "port": port["targetPort"], "protocol": "TCP"}],
                "endpoints": [{"addresses": [ip], "conditions": {"ready": True}}],
            },
        )

    async def accepted(self, *objects: Json) -> None:
        """Return when the controller says of each that it takes it. AssertionError with its words if it never does.

        What another controller in the same cluster says of an object, such as Istio's, does not count.
        """
        said: dict[str, Any] = {}

        async def all_accepted() -> bool:
            for each in objects:
                where = ("--namespace", each["metadata"]["namespace"], each["kind"], each["metadata"]["name"])
                found = await asyncio.to_thread(self.server.get, *where)
                said["/".join(where[2:])] = conditions = _conditions(found)
                if not conditions or any(each["status"] != "True" for each in conditions):
                    return False
            return True

        try:
            await until(all_accepted, "objects accepted")
        except AssertionError as error:
            raise AssertionError(f"{json.dumps(said, indent=1)}\n{error}\n{self.kubelet.report()}") from None


def _conditions(found: Json) -> list[Json]:
    """Whether an object is taken and what it refers to is found, wherever its kind has that in its status."""
    status = found.get("status") or {}
    told = [*status.get("parents", ()), *status.get("ancestors", ())]
    holders = [status, *(each for each in told if each.get("controllerName", CONTROLLER) == CONTROLLER)]
    wanted = ("Accepted", "ResolvedRefs")
    return [each for holder in holders for each in holder.get("conditions", ()) if each["type"] in wanted]


def _prepare(assets: EnvoyGatewayAssets, server: ApiServer) -> None:
    """Its CRDs, its namespace and, as its chart's job does, its certificates."""
    server.kubectl("apply", "--server-side", "--filename", str(assets.crds)).ok()
    server.wait_established()
    server.kubectl("create", "namespace", SYSTEM).ok()
    environment = {**os.environ, "KUBECONFIG": str(server.kubeconfig), "ENVOY_GATEWAY_NAMESPACE": SYSTEM}
    command = [str(assets.program), "certgen", "--disable-topology-injector"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _objects() -> list[Json]:
    metadata = {"name": _NAME, "namespace": SYSTEM}
    labels = {"app.kubernetes.io/name": _NAME, "app.kubernetes.io/component": "controller"}
    container = {
        "name": _NAME,
        "image": _IMAGE,
        "args": ["server", "--config-path=/config/envoy-gateway.yaml"],
        "env": [{"name": "ENVOY_GATEWAY_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": _PORTS["health"]}, "periodSeconds": 1},
        "volumeMounts": [
            {"name": "config", "mountPath": "/config", "readOnly": True},
            {"name": "certs", "mountPath": "/certs", "readOnly": True},
        ],
    }
    pod = {
        "serviceAccountName": _NAME,
        "containers": [container],
        "volumes": [
            {"name": "config", "configMap": {"name": _NAME}},
            {"name": "certs", "secret": {"secretName": _NAME}},
        ],
    }
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": _NAME},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", **metadata}],
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {"envoy-gateway.yaml": yaml.safe_dump(_CONFIG)},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": labels, "ports": [{"name": "grpc", "port": _PORTS["xds"]}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "GatewayClass",
            "metadata": {"name": CLASS},
            "spec": {"controllerName": CONTROLLER},
        },
    ]


def _list(objects: tuple[Json, ...]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
