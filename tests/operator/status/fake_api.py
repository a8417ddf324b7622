"""A Kubernetes API in memory that knows versions, merge patches and status subresources, and can be made to fail."""

import copy
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from limpet_operator.sources.kube_error import ApiError
from limpet_operator.status.kube_writer import JSON, MERGE_PATCH, Gate, NotSentError

Json = dict[str, Any]


def merge(value: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(value) if isinstance(value, Mapping) else {}
    for name, below in patch.items():
        if below is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), below)
    return merged


@dataclass(slots=True)
class FakeApi:
    """Objects by path. `trouble`, if set, may raise for a call before it is carried out, or let it pass."""

    objects: dict[str, Json] = field(default_factory=dict)
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    trouble: Callable[[str, str], None] = lambda _method, _path: None
    before: Callable[[str], Awaitable[None]] | None = None
    """The same, taking its time; hears the method."""
    drops: str | None = None
    """A field of status that the schema does not know."""
    version: int = 0

    @property
    def writes(self) -> list[tuple[str, str, Any]]:
        return [call for call in self.calls if call[0] != "GET"]

    def put(self, path: str, **parts: Any) -> Json:
        """An object as somebody else wrote it; its uid stays the first one's."""
        self.version += 1
        old = self.objects.get(path, {"metadata": {"uid": f"uid-{self.version}", "generation": 1}})
        if self.drops in parts.get("status", {}):
            parts["status"] = {name: part for name, part in parts["status"].items() if name != self.drops}
        metadata = {"name": path.rpartition("/")[2], **old["metadata"], **parts.pop("metadata", {})}
        self.objects[path] = {**old, **parts, "metadata": {**metadata, "resourceVersion": str(self.version)}}
        return self.objects[path]

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
        assert timeout_s > 0
        if gate is not None and not gate():
            raise NotSentError
        path = path.partition("?")[0]
        self.calls.append((method, path, copy.deepcopy(body)))
        if self.before is not None:
            await self.before(method)
        self.trouble(method, path)
        if method == "POST":
            assert body is not None
            path = f"{path}/{body['metadata']['name']}"
            if path in self.objects:
                raise ApiError(409, f"{path} is there already", reason="AlreadyExists")
            return copy.deepcopy(self.put(path, **copy.deepcopy(dict(body))))
        found = path.removesuffix("/status")
        old = self.objects.get(found)
        if old is None:
            raise ApiError(404, f"there is no {found}", reason="NotFound")
        if method == "GET":
            return copy.deepcopy(old)
        assert body is not None
        claimed = body.get("metadata", {})
        if any(
            claimed.get(name, old["metadata"][name]) != old["metadata"][name] for name in ("uid", "resourceVersion")
        ):
            raise ApiError(409, f"{found} has been changed", reason="Conflict")
        if method == "PATCH":
            assert content_type == MERGE_PATCH
            new = merge(old, {name: part for name, part in body.items() if name != "metadata"})
        else:
            new = {**old, **{name: part for name, part in body.items() if name != "metadata"}}
        return copy.deepcopy(self.put(found, **copy.deepcopy({k: v for k, v in new.items() if k != "metadata"})))
