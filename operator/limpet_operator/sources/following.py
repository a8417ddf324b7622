"""A collection of the Kubernetes API, followed by a listing and a watch for as long as it exists."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from random import Random
from typing import Any, Final, Protocol

from limpet_operator.sources.kube_error import ApiError
from limpet_operator.sources.kube_reader import KubeReader

_BACKOFF_S: Final = (0.2, 0.5, 1.0, 2.0)
_REFUSALS: Final = 3
"""So many in a row are meant: an API server that has just started refuses every request until it has read its roles."""
_REFUSED_S: Final = 10.0

_log = logging.getLogger(__name__)

Raw = Mapping[str, Any]
"""An object as the API server sends it; an item of a listing has neither `kind` nor `apiVersion`."""


class Follower(Protocol):
    """Takes in what is read."""

    def listed(self, items: Sequence[Raw]) -> None:
        """These are all that there are."""

    def came(self, raw: Raw) -> None:
        """An object is new, or has changed."""

    def went(self, raw: Raw) -> None:
        """An object is gone, or is no longer selected; this was its last state."""

    def refused(self, error: ApiError) -> None:
        """They may not be read. They are asked for again, and `listed` says when they may be."""


class Following:
    """Follows the objects of one collection. All methods belong to one event loop."""

    def __init__(
        self,
        api: KubeReader,
        path: str,
        selector: str,
        follower: Follower,
        rng: Random,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`path` is that of the collection, `selector` one of labels, empty for all objects."""
        self._api = api
        self._path = path
        self._query = {"labelSelector": selector} if selector else {}
        self._follower = follower
        self._rng = rng
        self._sleep = sleep

    async def run(self) -> None:
        """Follow them until the API server says that it has no such kind; whatever else goes wrong is tried again."""
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
                    self._follower.refused(error)
                wait_s = _REFUSED_S if refusals >= _REFUSALS else _BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)]
                failures += 1
            except Exception:
                # To stop would miss every later change.
                _log.exception("an object of %s could not be taken in; this is a bug in Limpet", self._path)
                version, wait_s = None, _BACKOFF_S[-1]
            await self._sleep(wait_s * self._rng.uniform(0.75, 1.25))

    async def _list(self) -> str:
        found = await self._api.get(self._path, self._query)
        self._follower.listed(found.get("items") or ())
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
                self._follower.went(found)
            elif what != "BOOKMARK":
                self._follower.came(found)
        return version
