"""Objects of one kind of a mesh, followed by a listing and a watch."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from random import Random
from typing import Any, Final

from limpet_operator.sources.kube_error import ApiError
from limpet_operator.sources.kube_reader import KubeReader

PlacedName = tuple[str, str]
"""Namespace and name."""

_BACKOFF_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
_REFUSALS: Final = 3
"""So many in a row are meant: an API server that has just started refuses every request until it has read its roles."""
_REFUSED_S: Final = 10.0


class FollowedKind:
    """What is there of a kind. All methods belong to one event loop."""

    def __init__(
        self,
        api: KubeReader,
        kind: str,
        path: str,
        changed: Callable[[Mapping[str, Any]], None],
        rng: Random,
        *,
        selector: str = "",
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`path` is that of the collection; `changed` hears of each object that came, changed or went."""
        self._api = api
        self._kind = kind
        self._path = path
        self._query = {"labelSelector": selector} if selector else {}
        self._changed = changed
        self._rng = rng
        self._sleep = sleep
        self.objects: dict[PlacedName, dict[str, Any]] = {}
        self.known = False
        """Whether all that there are have been listed."""
        self.refused: str | None = None
        """Why they may not be read; None: they may, as far as is known."""

    async def run(self) -> None:
        """Follow them until the API server says that it has no such kind."""
        failures = refusals = 0
        version: str | None = None
        while True:
            try:
                if version is None:
                    version = await self._list()
                    refusals = 0
                version = await self._watch(version)
                wait_s, failures = 0.0 if version else _BACKOFF_S[0], 0
            except ApiError as error:
                version = None
                if error.status == HTTPStatus.NOT_FOUND:
                    return
                refusals = refusals + 1 if error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) else 0
                if refusals == _REFUSALS:
                    self.refused, self.known = str(error), False
                    self._changed({})
                wait_s = _REFUSED_S if refusals >= _REFUSALS else _BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)]
                failures += 1
            await self._sleep(wait_s * self._rng.uniform(0.75, 1.25))

    def put(self, found: Mapping[str, Any]) -> None:
        """An object as an answer or the watch has it; one that is known in a newer version stays."""
        key, raw = _placed(found), {**found, "kind": self._kind}
        old = self.objects.get(key)
        if (
            old is not None
            and _version(old) >= _version(raw)
            and old["metadata"].get("uid") == raw["metadata"].get("uid")
        ):
            return
        self.objects[key] = raw
        self._changed(raw)

    def drop(self, key: PlacedName) -> None:
        """It is gone."""
        if (old := self.objects.pop(key, None)) is not None:
            self._changed(old)

    async def _list(self) -> str:
        found = await self._api.get(self._path, self._query)
        items = {_placed(each): each for each in found.get("items") or ()}
        for key in self.objects.keys() - items.keys():
            self.drop(key)
        for each in items.values():
            self.put(each)
        self.known, self.refused = True, None
        self._changed({})
        version: str = found["metadata"]["resourceVersion"]
        return version

    async def _watch(self, version: str) -> str | None:
        """Watch until the server ends it; returns the version to go on from, None: list them again."""
        async for event in self._api.watch(self._path, {**self._query, "resourceVersion": version}):
            what, found = event["type"], event["object"]
            if what == "ERROR":
                return None
            version = found["metadata"]["resourceVersion"]
            if what == "DELETED":
                self.drop(_placed(found))
            elif what != "BOOKMARK":
                self.put(found)
        return version


def _placed(raw: Mapping[str, Any]) -> PlacedName:
    return raw["metadata"]["namespace"], raw["metadata"]["name"]


def _version(raw: Mapping[str, Any]) -> int:
    return int(raw["metadata"]["resourceVersion"])
