"""The gateways and providers that changed since the fleet last took them; servers and peers add them."""

import asyncio
from collections.abc import Iterable
from typing import NamedTuple


class Changed(NamedTuple):
    """Names."""

    gateways: set[str]
    providers: set[str]


class ChangeSet:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._changed = Changed(set(), set())
        self._event = asyncio.Event()

    def add(self, *, gateways: Iterable[str] = (), providers: Iterable[str] = ()) -> None:
        """These have changed; none: the catalog, or what a worker decides by."""
        self._changed.gateways.update(gateways)
        self._changed.providers.update(providers)
        self._event.set()

    async def wait(self) -> None:
        """Return when something has been added since the last `take`."""
        await self._event.wait()

    def take(self) -> Changed:
        """All that was added since the last call."""
        taken, self._changed = self._changed, Changed(set(), set())
        self._event.clear()
        return taken
