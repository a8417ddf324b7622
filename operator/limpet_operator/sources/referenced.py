"""Secrets and ConfigMaps: those that Providers name, and no others.

Each has a watch of its own, restricted to its name by the server, so that nothing else is ever sent here. (One watch of
metadata would tell of changes too, but kubectl keeps whole Secrets in an annotation.) The rights can be as narrow: get,
list and watch with `resourceNames`.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from random import Random
from typing import Any, Final

from limpet_operator.resources.problem import Invalid, ObjectKey, Problem
from limpet_operator.sources.kube_error import ApiError
from limpet_operator.sources.kube_reader import KubeReader

_PLURALS: Final = {"Secret": "secrets", "ConfigMap": "configmaps"}
_AT_ONCE: Final = 16
"""First readings under way at the same time; what is known already waits for nobody."""
_BACKOFF_S: Final = (0.2, 0.5, 1.0, 2.0)
_REFUSALS: Final = 3
"""So many in a row are meant: an API server that has just started refuses everybody until it has read its roles."""
_REFUSED_S: Final = 10.0
_LASTING_S: Final = 10.0
"""A watch that breaks off after so long had begun well; one that ends at once, again and again, counts as failed."""

_log = logging.getLogger(__name__)

ReadResult = Mapping[str, Any] | Invalid | None
"""The object, why it can't be read, or None: there is none."""


class ReferencedObjects:
    """Follows the objects that are wanted. All methods belong to one event loop."""

    def __init__(
        self,
        api: KubeReader,
        deliver: Callable[[ObjectKey, ReadResult], None],
        came_back: Callable[[], None],
        dice: Random,
    ) -> None:
        """`deliver` hears each state of each wanted object; `came_back` that the API answers again after silence."""
        self._api = api
        self._deliver = deliver
        self._came_back = came_back
        self._dice = dice
        self._followers: dict[ObjectKey, asyncio.Task[None]] = {}
        self._known: set[ObjectKey] = set()
        self._held: set[ObjectKey] = set()
        """Those that were there when they were read last."""
        self._first_readings = asyncio.Semaphore(_AT_ONCE)

    @property
    def unknown(self) -> frozenset[ObjectKey]:
        """Wanted, but the API server has not said yet whether they are there."""
        return frozenset(self._followers.keys() - self._known)

    def want(self, keys: Collection[ObjectKey]) -> frozenset[ObjectKey]:
        """Follow exactly these from now on; says which were followed until now and must be forgotten."""
        gone = frozenset(self._followers.keys() - keys)
        for key in gone:
            self._followers.pop(key).cancel()
            self._known.discard(key)
            self._held.discard(key)
        self.ask(keys)
        return gone

    def ask(self, keys: Iterable[ObjectKey]) -> bool:
        """Follow these too; whether there are some among them of which nothing has been heard yet."""
        heard = True
        for key in keys:
            if key not in self._followers:
                self._followers[key] = asyncio.create_task(self._follow(key), name=f"watch {key}")
            heard = heard and key in self._known
        return not heard

    async def close(self) -> None:
        """Follow nothing any more."""
        tasks = list(self._followers.values())
        self.want(())
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, key: ObjectKey) -> None:
        now_s = asyncio.get_running_loop().time
        failures = refusals = 0
        version: str | None = None
        while True:
            began_s = now_s()
            try:
                if version is None:
                    async with self._first_readings:
                        version = await self._read(key)
                    if failures:
                        self._came_back()
                version = await self._watch(key, version)
                wait, failures, refusals = 0.0 if version else _BACKOFF_S[0], 0, 0
            except ApiError as error:
                version = None  # What happened meanwhile is only known by reading it again.
                if now_s() - began_s > _LASTING_S:
                    failures = refusals = 0
                refusals = refusals + 1 if error.status in (401, 403) else 0
                if refusals == _REFUSALS:
                    self._refuse(key, error)
                wait = _REFUSED_S if refusals >= _REFUSALS else _BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)]
                failures += 1
                _log.debug("watching %s: %s", key, error)
            except Exception:
                # Whoever stopped following would never hear of a rotation.
                _log.exception("%s could not be taken in, which is a defect of Limpet's; it is read again", key)
                version, wait = None, _BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)]
                failures += 1
            await asyncio.sleep(wait * self._dice.uniform(0.75, 1.25))

    async def _read(self, key: ObjectKey) -> str:
        """The object now, and the version of the world from which on to watch it."""
        found = await self._api.get(_path(key), {"fieldSelector": f"metadata.name={key.name}"})
        items = found.get("items") or []
        self._tell(key, {**items[0], "apiVersion": "v1", "kind": key.kind} if items else None)
        version: str = found["metadata"]["resourceVersion"]
        return version

    async def _watch(self, key: ObjectKey, version: str) -> str | None:
        """Follow until the server ends it; the version to go on from, None: read it again."""
        query = {"fieldSelector": f"metadata.name={key.name}", "resourceVersion": version}
        async for event in self._api.watch(_path(key), query):
            what, found = event["type"], event["object"]
            if what == "ERROR":
                return None
            version = found["metadata"]["resourceVersion"]
            if what in ("ADDED", "MODIFIED"):
                self._tell(key, found)
            elif what == "DELETED":
                self._tell(key, None)
        return version

    def _refuse(self, key: ObjectKey, error: ApiError) -> None:
        """Traffic must not end because a right to read was lost: a credential that was read once stays in force."""
        if key in self._held:
            _log.warning("%s: %s; what was read before stays in force", key, _refused(key, error))
        else:
            self._tell(key, Invalid(key, (Problem("", _refused(key, error)),)))

    def _tell(self, key: ObjectKey, news: ReadResult) -> None:
        self._known.add(key)
        (self._held.discard if news is None or isinstance(news, Invalid) else self._held.add)(key)
        self._deliver(key, news)


def _path(key: ObjectKey) -> str:
    return f"/api/v1/namespaces/{key.namespace}/{_PLURALS[key.kind]}"


def _refused(key: ObjectKey, error: ApiError) -> str:
    plural = _PLURALS[key.kind]
    return f"Limpet may not read it: grant get, list and watch on {plural} in namespace {key.namespace} ({error})"
