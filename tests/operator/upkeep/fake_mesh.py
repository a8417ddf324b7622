"""A Kubernetes API in memory with Istio's kinds: server-side apply, listings and watches; it can be made to refuse."""

import asyncio
import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from limpet_operator.sources.kube_error import ApiError
from limpet_operator.status.kube_writer import APPLY_PATCH, JSON, Gate, NotSentError

Json = dict[str, Any]
GROUP = "networking.istio.io"
PLURALS = {
    "serviceentries": "ServiceEntry",
    "virtualservices": "VirtualService",
    "destinationrules": "DestinationRule",
    "envoyfilters": "EnvoyFilter",
}


@dataclass(slots=True)
class FakeMeshApi:
    """`refuse` may raise for a call before it is carried out, and before that `under_way` is awaited for a write."""

    crds: bool = True
    refuse: Callable[[str, str], None] = lambda _method, _path: None
    under_way: Callable[[], Awaitable[object]] | None = None
    objects: dict[str, Json] = field(default_factory=dict)
    """By path."""
    writes: list[tuple[str, str]] = field(default_factory=list)
    version: int = 100
    _watching: list[tuple[str, asyncio.Queue[Json]]] = field(default_factory=list)

    def put(self, kind: str, namespace: str, name: str, spec: Json, labels: Mapping[str, str] = {}) -> str:
        """An object as somebody else wrote it; returns its path."""
        plural = next(plural for plural, each in PLURALS.items() if each == kind)
        version = "v1alpha3" if kind == "EnvoyFilter" else "v1"
        path = f"/apis/{GROUP}/{version}/namespaces/{namespace}/{plural}/{name}"
        metadata = {"namespace": namespace, "name": name, "labels": dict(labels)}
        self._store(path, {"metadata": metadata, "spec": spec})
        return path

    def remove(self, path: str) -> None:
        """It is gone."""
        self._announce("DELETED", path, self.objects.pop(path))

    def about(self, kind: str) -> dict[str, Json]:
        """Specs of this kind by their first host."""
        plural = next(plural for plural, each in PLURALS.items() if each == kind)
        return {each["spec"]["hosts"][0]: each["spec"] for path, each in self.objects.items() if f"/{plural}/" in path}

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        self._check("GET", path)
        if path == f"/apis/{GROUP}":
            return {"versions": [{"version": "v1"}]}
        return {
            "metadata": {"resourceVersion": str(self.version)},
            "items": [copy.deepcopy(each) for key, each in self.objects.items() if _is_in(key, path)],
        }

    async def watch(self, path: str, query: Mapping[str, str]) -> AsyncIterator[Any]:
        self._check("WATCH", path)
        events: asyncio.Queue[Json] = asyncio.Queue()
        self._watching.append((path, events))
        while True:
            yield await events.get()

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        content_type: str = JSON,
        timeout_s: float = 10.0,
        gate: Gate | None = None,
    ) -> Any:
        if gate is not None and not gate():
            raise NotSentError
        if "/leases" in path:
            return {**(body or {}), "metadata": {"name": "limpet-operator", "uid": "lease-uid", "resourceVersion": "1"}}
        if "/roles/" in path:
            self._check(method, path)
            return {"metadata": {"name": path.rpartition("/")[2], "uid": f"uid of {path.split('/')[-3]}"}}
        path, _, query = path.partition("?")
        if self.under_way is not None:
            await self.under_way()
        self.writes.append((method, path))
        self._check(method, path)
        if method == "DELETE":
            if path not in self.objects:
                raise ApiError(404, "gone")
            self.remove(path)
            return {}
        assert (method, content_type) == ("PATCH", APPLY_PATCH)
        assert "fieldManager=limpet-mesh" in query
        assert body is not None
        applied = copy.deepcopy(dict(body))
        applied["metadata"]["managedFields"] = [{"manager": "limpet-mesh", "operation": "Apply"}]
        return copy.deepcopy(self._store(path, applied))

    def _store(self, path: str, raw: Json) -> Json:
        self.version += 1
        old = self.objects.get(path)
        raw["metadata"]["uid"] = old["metadata"]["uid"] if old else f"uid-{self.version}"
        raw["metadata"]["resourceVersion"] = str(self.version)
        self.objects[path] = raw
        self._announce("MODIFIED" if old else "ADDED", path, raw)
        return raw

    def _announce(self, what: str, path: str, raw: Json) -> None:
        for collection, events in self._watching:
            if _is_in(path, collection):
                events.put_nowait({"type": what, "object": copy.deepcopy(raw)})

    def _check(self, method: str, path: str) -> None:
        if not self.crds:
            raise ApiError(404, "the server could not find the requested resource")
        self.refuse(method, path)


def _is_in(path: str, collection: str) -> bool:
    base, _, plural = collection.rpartition("/")
    return path.startswith(base) and f"/{plural}/" in path
