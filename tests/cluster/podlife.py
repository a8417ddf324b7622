"""One pod's life: network, volumes, init containers and sidecars in order, containers, and the end in reverse order."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from tests.cluster import images, volumes
from tests.cluster.container import Container, Surroundings
from tests.cluster.environment import environment, expanded
from tests.cluster.images import Image
from tests.cluster.pods import Network, Pod
from tests.cluster.services import CLUSTER_DOMAIN, PodAddress
from tests.cluster.volumes import Directory, NotThere, Sources
from tests.cluster.world import ADDRESS

Json = Mapping[str, Any]

TOKEN_PATH: Final = "/var/run/secrets/kubernetes.io/serviceaccount"


class Sidecars(Protocol):
    """What a service mesh adds to the pods of a namespace."""

    def admitted(self, pod: Json) -> Json:
        """The pod as the API server gets it."""

    def beside(self, pod: Pod, record: Json) -> AbstractAsyncContextManager[None]:
        """What runs in the pod before its first container and after its last."""


@dataclass(frozen=True, slots=True)
class Node:
    """What every pod of a kubelet is started on."""

    directory: Path
    network: Network
    images: Sequence[Image]
    api_port: int
    plugging: asyncio.Lock
    """One network at a time: `ip` itself is not made for more."""
    sidecars: Sidecars | None = None


class RunningPod:
    """A pod on this node, from its record at the API server to its end."""

    def __init__(
        self,
        record: Json,
        token: Mapping[str, bytes],
        node: Node,
        sources: Callable[["RunningPod"], Sources],
        changed: Callable[[], None],
    ) -> None:
        self.name: str = record["metadata"]["name"]
        self.namespace: str = record["metadata"]["namespace"]
        self.uid: str = record["metadata"]["uid"]
        self.revision: str = record["metadata"]["labels"]["pod-template-hash"]
        self.owner: str = record["metadata"]["ownerReferences"][0]["uid"]
        self.labels: Mapping[str, str] = record["metadata"]["labels"]
        self.record = record
        self.spec: Json = record["spec"]
        self.token = token
        self.recorded = False
        """The API server has listed it."""
        self.terminating = False
        self.ended = False
        self.waiting_for = ""
        self.ip = ""
        self.containers: dict[str, Container] = {}
        self._node = node
        self._directory = node.directory / self.name
        self._sources = sources
        self._changed = changed
        self._stack = ExitStack()
        self._beside = AsyncExitStack()
        self._volumes: dict[str, Directory] = {}
        self._plugged = asyncio.create_task(self._plug())
        self._life = asyncio.create_task(self._start())

    @property
    def ready(self) -> bool:
        """Every container that runs for good is ready."""
        lasting = [*self._sidecars(), *(each["name"] for each in self.spec["containers"])]
        return not self.terminating and all(name in self.containers and self.containers[name].ready for name in lasting)

    def volume(self, name: str) -> Path:
        """Where a volume is on this machine."""
        return self._volumes[name].path

    def address(self) -> PodAddress:
        """What Services see."""
        named = {
            port["name"]: port["containerPort"]
            for each in (*self.spec["containers"], *self.spec.get("initContainers", ()))
            for port in each.get("ports", ())
            if "name" in port
        }
        return PodAddress(self.name, self.ip, self.labels, self.ready, self.terminating, named)

    def status(self) -> dict[str, Any]:
        """The status to write to the API server."""
        ready = "True" if self.ready else "False"
        sidecars = set(self._sidecars())
        statuses: dict[str, dict[str, Any]] = {
            name: {
                "name": name,
                "image": "local",
                "imageID": "local",
                "ready": each.ready,
                "started": each.started,
                "restartCount": each.restarts,
                "state": {"running": {}}
                if each.pid
                else {"waiting": {"reason": "NotRunning", "message": each.trouble}},
            }
            for name, each in self.containers.items()
        }
        running = any(each.started for each in self.containers.values())
        return {
            "phase": "Running" if running else "Pending",
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": ready, "message": self.waiting_for},
                {"type": "ContainersReady", "status": ready},
            ],
            "initContainerStatuses": [value for name, value in statuses.items() if name in sidecars],
            "containerStatuses": [
                value
                for name, value in statuses.items()
                if name in {container["name"] for container in self.spec["containers"]}
            ],
            **({"podIP": self.ip, "podIPs": [{"ip": self.ip}], "hostIP": ADDRESS} if self.ip else {}),
        }

    def refresh(self) -> None:
        """Bring what is mounted up to date."""
        sources = self._sources(self)
        for volume in self.spec.get("volumes", ()):
            directory = self._volumes.get(volume["name"])
            if directory is not None:
                try:
                    files = volumes.files_of(volume, sources)
                except NotThere:
                    continue  # what is mounted stays as it was
                if files is not None:
                    directory.show(files)
        if self.token and (directory := self._volumes.get(TOKEN_PATH)) is not None:
            directory.show(self.token)

    def kill(self) -> None:
        """End all of its processes at once, as a lost machine does."""
        for container in self.containers.values():
            container.kill()

    async def terminate(self, grace_s: float) -> None:
        """End it in order; returns when nothing of it is left."""
        self.terminating = True
        self._changed()
        deadline = time.monotonic() + grace_s
        self._life.cancel()
        await asyncio.gather(self._life, return_exceptions=True)
        sidecars = self._sidecars()
        await asyncio.gather(*(each.stop(deadline) for each in self.containers.values() if each.name not in sidecars))
        for name in reversed(sidecars):
            if name in self.containers:
                await self.containers[name].stop(max(deadline, time.monotonic() + 2.0))
        await self._beside.aclose()
        await asyncio.gather(self._plugged, return_exceptions=True)
        async with self._node.plugging:
            await asyncio.to_thread(self._stack.close)
        self.ended = True
        self._changed()

    def _sidecars(self) -> list[str]:
        return [each["name"] for each in self.spec.get("initContainers", ()) if each.get("restartPolicy") == "Always"]

    async def _plug(self) -> Pod:
        async with self._node.plugging:
            return await asyncio.to_thread(self._stack.enter_context, self._node.network.pod(self.name))

    async def _start(self) -> None:
        pod = await asyncio.shield(self._plugged)
        self.ip = pod.ip
        self.record = {**self.record, "status": {"podIP": self.ip, "hostIP": ADDRESS}}
        self._changed()
        if self._node.sidecars is not None:
            self.waiting_for = "the mesh's sidecar"
            await self._beside.enter_async_context(self._node.sidecars.beside(pod, self.record))
        while not self._mount():  # noqa: ASYNC110 - a node asks again, too
            await asyncio.sleep(0.1)
        for spec in self.spec.get("initContainers", ()):
            container = await self._container(spec)
            if spec.get("restartPolicy") == "Always":
                container.begin()
                await self._until(container, f"sidecar {spec['name']} has started")
            else:
                while status := await container.run_once():
                    container.trouble = self.waiting_for = f"init container {spec['name']} ended with status {status}"
                    await asyncio.sleep(1.0)
        for spec in self.spec["containers"]:
            (await self._container(spec)).begin()
        self.waiting_for = ""
        self._changed()

    async def _until(self, container: Container, what: str) -> None:
        self.waiting_for = what
        while not container.started:  # noqa: ASYNC110 - it has its own restarts and probes
            await asyncio.sleep(0.02)

    def _mount(self) -> bool:
        sources = self._sources(self)
        try:
            for volume in self.spec.get("volumes", ()):
                files = volumes.files_of(volume, sources)
                directory = Directory(self._directory / "volumes" / volume["name"], volumes.mode_of(volume))
                if files is not None:
                    directory.show(files)
                self._volumes[volume["name"]] = directory
        except NotThere as missing:
            self.waiting_for = f"there is no {missing}"
            return False
        if self.token:
            self._volumes[TOKEN_PATH] = Directory(self._directory / "token", 0o644)
            self._volumes[TOKEN_PATH].show(self.token)
        return True

    async def _container(self, spec: Json) -> Container:
        image = images.find(self._node.images, spec["image"])
        while True:
            try:
                env = environment(spec, self.record, self._sources(self))
                break
            except NotThere as missing:
                self.waiting_for = f"there is no {missing}"
                await asyncio.sleep(0.1)
        directory = self._directory / spec["name"]
        around = Surroundings(
            spec["name"],
            directory,
            spec,
            self._sandbox(spec, image, env),
            self.ip,
            self.spec.get("terminationGracePeriodSeconds", 30),
        )
        container = self.containers[spec["name"]] = Container(around, self._changed)
        return container

    def _sandbox(self, spec: Json, image: Image, declared: Mapping[str, str]) -> dict[str, Any]:
        cluster = {"KUBERNETES_SERVICE_HOST": ADDRESS, "KUBERNETES_SERVICE_PORT": str(self._node.api_port)}
        env = {"PATH": image.path, "HOME": "/", "HOSTNAME": self.name, **cluster, **declared}
        argv = image.argv(spec.get("command", ()), spec.get("args", ()))
        security = spec.get("securityContext") or {}
        search = f"{self.namespace}.svc.{CLUSTER_DOMAIN} svc.{CLUSTER_DOMAIN} {CLUSTER_DOMAIN}"
        return {
            "hostname": self.name,
            "network": f"/run/netns/{self.name}",
            "image": list(image.files),
            "files": {
                "/etc/resolv.conf": f"search {search}\nnameserver {ADDRESS}\noptions ndots:5 timeout:1 attempts:2\n",
                "/etc/hosts": f"127.0.0.1 localhost\n::1 localhost\n{self.ip} {self.name}\n",
                "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
                "/etc/hostname": f"{self.name}\n",
            },
            "mounts": self._mounts(spec),
            "read_only_root": bool(security.get("readOnlyRootFilesystem")),
            "drop_capabilities": "ALL" in (security.get("capabilities") or {}).get("drop", ()),
            "no_new_privileges": security.get("allowPrivilegeEscalation") is False,
            "argv": [expanded(word, env) for word in argv],
            "env": env,
            "cwd": spec.get("workingDir") or image.cwd,
        }

    def _mounts(self, spec: Json) -> list[dict[str, Any]]:
        found = []
        kinds = {volume["name"]: volume for volume in self.spec.get("volumes", ())}
        for mount in spec.get("volumeMounts", ()):
            source = self._volumes[mount["name"]].path
            if sub := mount.get("subPath"):
                source = source / sub
                if "emptyDir" in kinds[mount["name"]]:
                    source.mkdir(parents=True, exist_ok=True)
            read_only = bool(mount.get("readOnly")) or "emptyDir" not in kinds[mount["name"]]
            found.append({"source": str(source), "target": mount["mountPath"], "read_only": read_only})
        if TOKEN_PATH in self._volumes:
            found.append({"source": str(self._volumes[TOKEN_PATH].path), "target": TOKEN_PATH, "read_only": True})
        return sorted(found, key=lambda mount: str(mount["target"]))
