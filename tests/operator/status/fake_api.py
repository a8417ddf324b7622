"""A Kubernetes API in memory that knows versions, merge patches and status subresources, and can be told to fail."""

import asyncio
import copy
import heapq
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
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


class Timeline:
    """Both clocks and all pauses, moved on by the test; frozen ones sleep on."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = count()
        self.slept = 0
        """How often somebody began to sleep."""

    def clock(self) -> float:
        return self.now_s

    def now(self) -> datetime:
        return datetime(2026, 12, 1, tzinfo=UTC) + timedelta(seconds=self.now_s - 1000.0)

    async def sleep(self, seconds: float) -> None:
        self.slept += 1
        waking: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now_s + seconds, next(self._numbers), waking))
        await waking

    async def advance(self, seconds: float) -> None:
        """Let so much time pass; whoever wakes meanwhile does so at the right moment and is done before it goes on."""
        end_s = self.now_s + seconds
        await settled()
        while self._sleepers and self._sleepers[0][0] <= end_s:
            self.now_s, _, waking = heapq.heappop(self._sleepers)
            if not waking.done():
                waking.set_result(None)
            await settled()
        self.now_s = end_s


async def settled() -> None:
    """Everything that needs no time to pass has happened."""
    for _ in range(50):
        await asyncio.sleep(0)
