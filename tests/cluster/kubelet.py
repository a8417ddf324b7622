"""Plays Deployment controller, kubelet and name server for one namespace of a real API server that has none of them.

What the Deployments there say is what runs here: their commands, variables, volumes, probes, hooks and tokens, in pods
with an address of their own. Nothing in this file or below it knows Limpet; images.py says which programs stand for
which image. It follows by asking every quarter of a second, and while the API server is away it goes on with what it
knows, as nodes do.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final, Self

import aiohttp
import yaml
from tests.cluster import deployments
from tests.cluster.container import Container
from tests.cluster.deployments import PodView
from tests.cluster.images import Image
from tests.cluster.kubeapi import Api, ApiError
from tests.cluster.podlife import Node, RunningPod, Sidecars
from tests.cluster.pods import Network
from tests.cluster.services import Dns, Services
from tests.cluster.volumes import Sources
from tests.cluster.world import ADDRESS
from tests.waiting import TIMEOUT_S, Condition, until

from limpet_lab.kubernetes.apiserver import ApiServer

Json = dict[str, Any]
Names = Callable[[str], list[str] | None]
"""The addresses of a name; None: it is not one of these."""

_LOOK_EVERY_S: Final = 0.25
NODE_NAME: Final = "the-only-node"
_TOKEN_S: Final = 3600


@dataclass(slots=True)
class _Seen:
    """The namespace as last read from the API server."""

    deployments: list[Json] = field(default_factory=list)
    pods: list[Json] = field(default_factory=list)
    services: list[Json] = field(default_factory=list)
    secrets: dict[str, Json] = field(default_factory=dict)
    config_maps: dict[str, Json] = field(default_factory=dict)


class Kubelet:
    """The node and the controllers of one namespace. `async with Kubelet.start(…) as kubelet`."""

    def __init__(self, api: Api, namespace: str, node: Node, ca: bytes, random: Random, names: Names) -> None:
        self._names = names
        self._api = api
        self.namespace = namespace
        self._node = node
        self._ca = ca
        self._seen = _Seen()
        self._pods: dict[str, RunningPod] = {}
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._told: dict[str, Json] = {}
        self.services = Services(random)
        self.trouble: list[str] = []
        """What went wrong in here; nothing should."""

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        server: ApiServer,
        namespace: str,
        directory: Path,
        network: Network,
        images: Sequence[Image],
        sidecars: Sidecars | None = None,
        names: Names = lambda _: None,
    ) -> AsyncIterator[Self]:
        """Play until the end of the block; then every pod is killed. A mesh with sidecars has its own name server.

        `names` are the addresses of further names, besides those of Services.
        """
        node = Node(directory, network, images, server.port, asyncio.Lock(), sidecars)
        ca = server.ca_file
        async with (
            Api(server.url, _admin_token(server), str(ca)) as api,
            cls(api, namespace, node, ca.read_bytes(), Random(), names)._playing() as kubelet,
        ):
            yield kubelet

    @asynccontextmanager
    async def _playing(self) -> AsyncIterator[Self]:
        dns = Dns(ADDRESS, self._resolve) if self._node.sidecars is None else None
        following = asyncio.create_task(self._follow())
        try:
            yield self
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            for pod in self._pods.values():
                pod.kill()
            lives = [
                self._ending.get(name) or asyncio.ensure_future(self._end(pod, 0.0)) for name, pod in self._pods.items()
            ]
            await asyncio.gather(*lives, return_exceptions=True)
            if dns is not None:
                dns.close()

    def _resolve(self, host: str) -> list[str] | None:
        found = self._names(host)
        return self.services.resolve(host) if found is None else found

    def pods(self, **labels: str) -> list[RunningPod]:
        """The running pods with these labels (`component` for `app.kubernetes.io/component`), oldest first."""
        wanted = {f"app.kubernetes.io/{name}": value for name, value in labels.items()}
        return [pod for pod in self._pods.values() if wanted.items() <= pod.labels.items()]

    def ready(self, **labels: str) -> list[RunningPod]:
        """Those of them that are ready."""
        return [pod for pod in self.pods(**labels) if pod.ready]

    def settled(self) -> bool:
        """Every Deployment has what it wants, and nothing is ending."""
        if self._ending or not self._seen.deployments:
            return False
        for deployment in self._seen.deployments:
            want = deployments.wanted(deployment)
            ours = self._views(deployment)
            if len(ours) != want.replicas or any(not pod.ready or pod.revision != want.revision for pod in ours):
                return False
        return True

    def container(self, pod: str, name: str) -> Container:
        """A container that runs."""
        return self._pods[pod].containers[name]

    def report(self, lines: int = 12) -> str:
        """Every pod, how it is, and the end of its logs, for the message of a test that fails."""
        parts = [*self.trouble]
        for pod in self._pods.values():
            parts.append(f"=== {pod.name} {pod.ip} ready={pod.ready} {pod.waiting_for}")
            for each in pod.containers.values():
                parts.append(f"--- {each.name} ready={each.ready} restarts={each.restarts} {each.trouble}")
                if each.log.exists():
                    parts.extend(line[:400] for line in each.log.read_text(errors="replace").splitlines()[-lines:])
        return "\n".join(parts)

    async def until(self, condition: Condition, what: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """Wait for a condition; AssertionError with its name and the report after the timeout."""
        try:
            await until(condition, what, timeout_s=timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.report()}") from None

    async def look(self) -> None:
        """Read the current objects from the API server."""
        core, apps = f"/api/v1/namespaces/{self.namespace}", f"/apis/apps/v1/namespaces/{self.namespace}"
        plain = "?fieldSelector=type!%3Dhelm.sh/release.v1"
        listed = await asyncio.gather(
            self._api.list(f"{apps}/deployments"),
            self._api.list(f"{core}/pods"),
            self._api.list(f"{core}/services"),
            self._api.list(f"{core}/secrets{plain}"),
            self._api.list(f"{core}/configmaps"),
        )
        self._seen = _Seen(
            listed[0],
            listed[1],
            listed[2],
            {each["metadata"]["name"]: each for each in listed[3]},
            {each["metadata"]["name"]: {**each, "kind": "ConfigMap"} for each in listed[4]},
        )

    async def _follow(self) -> None:
        while True:
            begun = time.monotonic()
            # While the API server is away, pods live on as they are.
            with suppress(aiohttp.ClientError, TimeoutError, ApiError, OSError):
                await self.look()
                await self._step()
            self._serve()
            await asyncio.sleep(max(0.02, begun + _LOOK_EVERY_S - time.monotonic()))

    def _serve(self) -> None:
        self.services.replace(self._seen.services, [pod.address() for pod in self._pods.values() if pod.ip])

    async def _step(self) -> None:
        await self._adopt()
        for pod in [*self._pods.values()]:
            pod.refresh()
        owners = {each["metadata"]["uid"] for each in self._seen.deployments}
        for pod in [*self._pods.values()]:
            if pod.owner not in owners and not pod.terminating:
                await self._delete(pod)  # what the garbage collector does
        for deployment in self._seen.deployments:
            step = deployments.step(deployments.wanted(deployment), self._views(deployment))
            for name in step.end:
                await self._delete(self._pods[name])
            for _ in range(step.create):
                await self._create(deployment)
        # A Deployment's status must not be ahead of its pods' own.
        statuses = [(each, deployments.status(each, self._views(each))) for each in self._seen.deployments]
        for pod in [*self._pods.values()]:
            if pod.name not in self._ending:
                await self._tell(pod.uid, self._path(pod.name), pod.status())
        for deployment, status in statuses:
            path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{deployment['metadata']['name']}"
            await self._tell(deployment["metadata"]["uid"], path, status)

    async def _adopt(self) -> None:
        """Pods that somebody deleted end; those that have ended are forgotten there and here."""
        recorded = {each["metadata"]["name"]: each for each in self._seen.pods}
        for name, pod in [*self._pods.items()]:
            record = recorded.get(name)
            if record is not None:
                pod.recorded = True
            elif pod.recorded and not pod.terminating:
                pod.kill()  # `kubectl delete --force`: the record is gone at once, and so is the pod
                pod.terminating = True
            deleted = record is not None and "deletionTimestamp" in record["metadata"]
            if (deleted or pod.terminating) and name not in self._ending:
                grace = record["metadata"].get("deletionGracePeriodSeconds") if record is not None else None
                self._ending[name] = asyncio.create_task(self._end(pod, 30 if grace is None else grace))
            if pod.ended:
                await self._api.delete(self._path(name), 0)
                del self._pods[name], self._ending[name]
                self._told.pop(pod.uid, None)

    async def _end(self, pod: RunningPod, grace_s: float) -> None:
        try:
            await pod.terminate(grace_s)
        except Exception as error:
            self.trouble.append(f"{pod.name}: {type(error).__name__}: {error}")
            pod.ended = True

    async def _create(self, deployment: Mapping[str, Any]) -> None:
        template, owner = deployment["spec"]["template"], deployment["metadata"]
        revision = deployments.revision_of(template)
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                **template.get("metadata", {}),
                "name": f"{owner['name']}-{revision[:6]}-{secrets.token_hex(2)}",
                "labels": {**template["metadata"]["labels"], "pod-template-hash": revision},
                "ownerReferences": [
                    {
                        "apiVersion": "apps/v1",
                        "kind": "Deployment",
                        "name": owner["name"],
                        "uid": owner["uid"],
                        "controller": True,
                    }
                ],
            },
            "spec": {**template["spec"], "nodeName": NODE_NAME},
        }
        if self._node.sidecars is not None:
            body = {**self._node.sidecars.admitted(body)}
        token = await self._token(template["spec"])
        record = await self._api.create(f"/api/v1/namespaces/{self.namespace}/pods", body)
        pod = RunningPod(record, token, self._node, self._sources, self._serve)
        self._pods[pod.name] = pod

    async def _delete(self, pod: RunningPod) -> None:
        """Delete it at the API server; it ends when the API server shows that."""
        grace: int = pod.spec.get("terminationGracePeriodSeconds", 30)
        await self._api.delete(self._path(pod.name), grace)
        pod.terminating = True
        self._ending[pod.name] = asyncio.create_task(self._end(pod, grace))

    async def _token(self, spec: Mapping[str, Any]) -> Mapping[str, bytes]:
        name = spec.get("serviceAccountName") or "default"
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{name}"
        wanted = spec.get("automountServiceAccountToken")
        if wanted is None:
            try:
                wanted = (await self._api.get(path)).get("automountServiceAccountToken", True)
            except ApiError as error:
                if error.status != 404 or name != "default":
                    raise
                wanted = False  # a controller would have created this one; it is not needed here
        if not wanted:
            return {}
        answer = await self._api.create(f"{path}/token", {"spec": {"expirationSeconds": _TOKEN_S}})
        token: str = answer["status"]["token"]
        return {"token": token.encode(), "ca.crt": self._ca, "namespace": self.namespace.encode()}

    async def _tell(self, uid: str, path: str, status: Json) -> None:
        if self._told.get(uid) != status:
            await self._api.merge(f"{path}/status", {"status": status})
            self._told[uid] = status

    def _sources(self, pod: RunningPod) -> Sources:
        return Sources(self._seen.secrets, self._seen.config_maps, pod.record, pod.token)

    def _views(self, deployment: Mapping[str, Any]) -> list[PodView]:
        uid = deployment["metadata"]["uid"]
        return [
            PodView(pod.name, pod.revision, pod.ready, pod.terminating)
            for pod in self._pods.values()
            if pod.owner == uid
        ]

    def _path(self, pod: str) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/{pod}"


def _admin_token(server: ApiServer) -> str:
    token: str = yaml.safe_load(server.kubeconfig.read_text())["users"][0]["user"]["token"]
    return token
