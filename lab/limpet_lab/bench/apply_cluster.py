"""Where the objects of `limpet bench apply` are: an API server of its own, or a namespace in a given cluster."""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

from limpet_lab.bed import Object
from limpet_lab.kubernetes.apiserver import ApiServer
from limpet_lab.kubernetes.assets import provide
from limpet_operator.resources.problem import API_VERSION
from limpet_operator.resources.schema import load_crds
from limpet_operator.sources.kube_error import ApiError
from limpet_operator.sources.kube_reader import Access
from limpet_operator.status.kube_writer import KubeWriter

_APPLY: Final = "application/apply-patch+yaml"
_CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_PATHS: Final = {
    "Secret": ("/api/v1", "secrets"),
    "Provider": (f"/apis/{API_VERSION}", "providers"),
    "Pricing": (f"/apis/{API_VERSION}", "pricings"),
    "HealthProbe": (f"/apis/{API_VERSION}", "healthprobes"),
    "StickyPolicy": (f"/apis/{API_VERSION}", "stickypolicies"),
}
_AT_ONCE: Final = 16
_PATIENCE_S: Final = 120.0


class NotThereInTimeError(Exception):
    """Something the benchmark waits for did not come; the message says what."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The benchmark's own namespace."""

    api: KubeWriter
    kubeconfig: Path
    namespace: str

    async def fill(self, objects: Iterable[Object]) -> None:
        """Create all of them. Raises ApiError."""
        remaining = iter(objects)

        async def one_after_another() -> None:
            for each in remaining:
                await self.api.call("POST", self._path(each["kind"]), each)

        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(one_after_another())

    async def apply(self, wanted: Object) -> None:
        """What `kubectl apply --server-side` sends. Raises ApiError."""
        path = f"{self._path(wanted['kind'])}/{wanted['metadata']['name']}?fieldManager=limpet-bench&force=true"
        await self.api.call("PATCH", path, wanted, content_type=_APPLY)

    async def delete(self, kind: str, name: str) -> None:
        """Raises ApiError."""
        await self.api.call("DELETE", f"{self._path(kind)}/{name}")

    def _path(self, kind: str) -> str:
        base, plural = _PATHS[kind]
        return f"{base}/namespaces/{self.namespace}/{plural}"


@asynccontextmanager
async def own_cluster() -> AsyncIterator[Cluster]:
    """An API server and etcd until the end of the block. Raises AssetsMissingError and UnexpectedResultError."""
    assets = provide(os.environ)
    with (
        tempfile.TemporaryDirectory(prefix="limpet-bench-") as folder,
        ApiServer.running(assets, Path(folder), bound=True) as server,
    ):
        async with _connected(server.kubeconfig) as api:
            await _install_crds(api)
            yield await _with_namespace(api, server.kubeconfig)


@asynccontextmanager
async def given_cluster(kubeconfig: Path) -> AsyncIterator[Cluster]:
    """A namespace in this cluster, deleted at the end with the CRDs that were missing before.

    Raises NoClusterError and ApiError.
    """
    async with _connected(kubeconfig) as api:
        installed = await _install_crds(api)
        cluster = await _with_namespace(api, kubeconfig)
        try:
            yield cluster
        finally:
            path = f"/api/v1/namespaces/{cluster.namespace}"
            await api.call("DELETE", path)
            await _until(f"the end of namespace {cluster.namespace}", api, path, 404)
            for name in installed:
                await api.call("DELETE", f"{_CRDS}/{name}")


@asynccontextmanager
async def _connected(kubeconfig: Path) -> AsyncIterator[KubeWriter]:
    api = KubeWriter(await Access(kubeconfig).configuration())
    try:
        yield api
    finally:
        await api.close()


async def _with_namespace(api: KubeWriter, kubeconfig: Path) -> Cluster:
    cluster = Cluster(api, kubeconfig, f"limpet-bench-{token_hex(4)}")
    metadata = {"name": cluster.namespace}
    await api.call("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    return cluster


async def _install_crds(api: KubeWriter) -> list[str]:
    """Create those that are missing and wait until they are served; their names."""
    installed = []
    for crd in load_crds():
        name: str = crd["metadata"]["name"]
        if not await _exists(api, f"{_CRDS}/{name}"):
            await api.call("POST", _CRDS, crd)
            installed.append(name)
        await _until(f"the kind {crd['spec']['names']['kind']}", api, f"/apis/{API_VERSION}/{_plural(crd)}?limit=1")
    return installed


def _plural(crd: Mapping[str, Any]) -> str:
    plural: str = crd["spec"]["names"]["plural"]
    return plural


async def _exists(api: KubeWriter, path: str) -> bool:
    try:
        await api.call("GET", path)
    except ApiError as failed:
        if failed.status != 404:
            raise
        return False
    return True


async def _until(what: str, api: KubeWriter, path: str, status: int = 200) -> None:
    """Return when a GET shows this."""
    deadline = time.monotonic() + _PATIENCE_S
    while await _exists(api, path) != (status == 200):
        if time.monotonic() > deadline:
            raise NotThereInTimeError(f"{what} did not come within {_PATIENCE_S:.0f} s")
        await asyncio.sleep(0.1)
