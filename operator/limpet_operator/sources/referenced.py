"""Secrets and ConfigMaps: those that Providers name, and no others.

Each has its own watch, which the server restricts to its name, so nothing else is ever sent here. (One watch of
metadata would report changes too, but kubectl keeps whole Secrets in an annotation.) The rights can be as narrow: get,
list and watch with `resourceNames`.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from random import Random
from typing import Any, Final

from limpet_operator.resources.problem import Invalid, ObjectKey, Problem
from limpet_operator.sources.kube_error import ApiError
from limpet_operator.sources.kube_reader import KubeReader

_PLURALS: Final = {"Secret": "secrets", "ConfigMap": "configmaps"}
_CONCURRENT_READS: Final = 16
"""First reads under way at the same time; what is watched already does not wait for them."""
_BACKOFF_S: Final = (0.2, 0.5, 1.0, 2.0)
_REFUSALS: Final = 3
"""So many in a row are meant: an API server that has just started refuses every request until it has read its roles."""
_REFUSED_S: Final = 10.0
_LASTING_S: Final = 10.0
"""A watch that breaks off after so long had begun well; one that ends at once counts as failed."""

_log = logging.getLogger(__name__)

ReadResult = Mapping[str, Any] | Invalid | None
"""The object, why it can't be read, or None: there is none."""


class ReferencedObjects:
    """Follows objects by name. All methods belong to one event loop."""

    def __init__(
        self,
        api: KubeReader,
        deliver: Callable[[ObjectKey, ReadResult], None],
        on_recovery: Callable[[], None],
        rng: Random,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`deliver` gets each state of each followed object; `on_recovery` is called when the API answers again."""
        self._api = api
        self._deliver = deliver
        self._on_recovery = on_recovery
        self._rng = rng
        self._clock = clock
        self._sleep = sleep
        self._followers: dict[ObjectKey, asyncio.Task[None]] = {}
        self._delivered: set[ObjectKey] = set()
        self._existing: set[ObjectKey] = set()
        """Those that existed when they were last read."""
        self._first_reads = asyncio.Semaphore(_CONCURRENT_READS)

    @property
    def unknown(self) -> frozenset[ObjectKey]:
        """Followed, but not read yet, so whether they exist is unknown."""
        return frozenset(self._followers.keys() - self._delivered)

    def follows(self, key: ObjectKey) -> bool:
        """Whether this object is followed."""
        return key in self._followers

    def follow_only(self, keys: Collection[ObjectKey]) -> frozenset[ObjectKey]:
        """Follow exactly these from now on; returns those that are no longer followed and must be forgotten."""
        removed = frozenset(self._followers.keys() - keys)
        for key in removed:
            self._followers.pop(key).cancel()
            self._delivered.discard(key)
            self._existing.discard(key)
        self.follow(keys)
        return removed

    def follow(self, keys: Iterable[ObjectKey]) -> bool:
        """Follow these too; returns whether any of them is still unknown."""
        any_unknown = False
        for key in keys:
            if key not in self._followers:
                self._followers[key] = asyncio.create_task(self._follow(key), name=f"watch {key}")
            any_unknown = any_unknown or key not in self._delivered
        return any_unknown

    async def close(self) -> None:
        """Stop following."""
        tasks = list(self._followers.values())
        self.follow_only(())
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, key: ObjectKey) -> None:
        failures = refusals = 0
        version: str | None = None
        while True:
            began_s = self._clock()
            try:
                if version is None:
                    async with self._first_reads:
                        version = await self._read(key)
                    if failures:
                        self._on_recovery()
                version = await self._watch(key, version)
                wait_s, failures, refusals = 0.0 if version else _BACKOFF_S[0], 0, 0
            except ApiError as error:
                version = None  # Only another read shows what happened in between.
                if self._clock() - began_s > _LASTING_S:
                    failures = refusals = 0
                refusals = refusals + 1 if error.status in (401, 403) else 0
                if refusals == _REFUSALS:
                    self._refuse(key, error)
                wait_s = _REFUSED_S if refusals >= _REFUSALS else _backoff_s(failures)
                failures += 1
                _log.debug("watching %s: %s", key, error)
            except Exception:
                # A follower that stopped would miss every later rotation.
                _log.exception("%s could not be taken in; this is a bug in Limpet. It is read again", key)
                version, wait_s = None, _backoff_s(failures)
                failures += 1
            await self._sleep(wait_s * self._rng.uniform(0.75, 1.25))

    async def _read(self, key: ObjectKey) -> str:
        """Deliver the object as it is now; returns the version of the collection from which to watch it."""
        found = await self._api.get(_path(key), {"fieldSelector": f"metadata.name={key.name}"})
        items = found.get("items") or []
        self._take(key, {**items[0], "apiVersion": "v1", "kind": key.kind} if items else None)
        version: str = found["metadata"]["resourceVersion"]
        return version

    async def _watch(self, key: ObjectKey, version: str) -> str | None:
        """Watch until the server ends it; returns the version to go on from, None: read it again."""
        query = {"fieldSelector": f"metadata.name={key.name}", "resourceVersion": version}
        async for event in self._api.watch(_path(key), query):
            what, found = event["type"], event["object"]
            if what == "ERROR":
                return None
            version = found["metadata"]["resourceVersion"]
            if what in ("ADDED", "MODIFIED"):
                self._take(key, found)
            elif what == "DELETED":
                self._take(key, None)
        return version

    def _refuse(self, key: ObjectKey, error: ApiError) -> None:
        """Traffic must not end because the right to read was lost: a credential that was read once stays in force."""
        if key in self._existing:
            _log.warning("%s: %s; what was read before stays in force", key, _refused(key, error))
        else:
            self._take(key, Invalid(key, (Problem("", _refused(key, error)),)))

    def _take(self, key: ObjectKey, result: ReadResult) -> None:
        self._delivered.add(key)
        if result is None or isinstance(result, Invalid):
            self._existing.discard(key)
        else:
            self._existing.add(key)
        self._deliver(key, result)


def _backoff_s(failures: int) -> float:
    return _BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)]


def _path(key: ObjectKey) -> str:
    return f"/api/v1/namespaces/{key.namespace}/{_PLURALS[key.kind]}"


def _refused(key: ObjectKey, error: ApiError) -> str:
    plural = _PLURALS[key.kind]
    return f"Limpet may not read it: grant get, list and watch on {plural} in namespace {key.namespace} ({error})"
