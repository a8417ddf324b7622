"""A router over memories in this process, for requests of any path."""

from typing import Any

import msgspec
from tests.extproc.conftest import CHEAP, Make
from tests.extproc.hand_clock import HandClock

from limpet_extproc.contract.catalog import CatalogProvider, Model
from limpet_extproc.decision.snapshot import Snapshot
from limpet_extproc.dialects.port import Dialect, Refusal
from limpet_extproc.dialects.registry import spoken
from limpet_extproc.memory.in_process import InProcessMemory
from limpet_extproc.memory.in_process_heads import InProcessHeads
from limpet_extproc.memory.in_process_objects import InProcessObjects
from limpet_extproc.memory.objects import ObjectMemory
from limpet_extproc.providers.limit_use import LimitUse
from limpet_extproc.providers.tracker import ProviderTracker
from limpet_extproc.request.parsing import RequestHead
from limpet_extproc.request.pins import Pins
from limpet_extproc.request.reading import RequestReader
from limpet_extproc.request.router import StickyRouting
from limpet_extproc.request.routing import Routing

NOW = 1000.0


class Gateway:
    """Sticky routing for requests of any path."""

    def __init__(self, snapshot: Snapshot, objects: ObjectMemory | None = None) -> None:
        self.memory, self.heads = InProcessMemory(), InProcessHeads()
        clock, self._seeds = HandClock(NOW), iter(range(256))
        limit_use = LimitUse("node/0", clock)
        self.pins = Pins(objects or InProcessObjects(), b"secret", clock)
        self.tracker = ProviderTracker(clock, lambda _change: None, used=limit_use.used)
        self._router = StickyRouting(
            RequestReader().read,
            lambda: snapshot,
            self.memory,
            self.heads,
            self.tracker,
            limit_use,
            self.pins,
            b"secret",
            clock,
            lambda: bytes([next(self._seeds)]),
            RequestReader().untranslatable,
            RequestReader().references,
        )

    @staticmethod
    def dialect(path: str) -> Dialect:
        return spoken(path).dialect

    async def answer(self, path: str, body: Any, **headers: str) -> Routing | Refusal:
        found = spoken(path, headers.get("content-type", ""))
        encoded = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return await self._router.route(
            RequestHead(found.dialect, {":path": path, **headers}, found.api, found.asked), encoded
        )

    async def route(self, path: str, body: Any, **headers: str) -> Routing:
        routing = await self.answer(path, body, **headers)
        assert isinstance(routing, Routing), routing
        return routing


def seller(make: Make, name: str, *models: str, endpoints: tuple[str, ...] = (), **fields: Any) -> CatalogProvider:
    models = models or ("embed",)
    provider = make.provider(name, endpoints=endpoints, **fields)
    return msgspec.structs.replace(provider, models=tuple(Model(each, each, 0, CHEAP) for each in models))
