"""Secrets with keys of clients: those of one namespace that have the label, by one listing and a watch.

The server filters by the label, so no other Secret is ever sent here. What was read stays in force while the API server
is away: clients must not be locked out by that, and a key that was revoked meanwhile ends as soon as it answers again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Any, Final

from limpet_operator.resources.client_keys import LABEL
from limpet_operator.resources.problem import ObjectKey
from limpet_operator.sources.kube_error import ApiError
from limpet_operator.sources.kube_reader import KubeReader

_BACKOFF_S: Final = (0.2, 0.5, 1.0, 2.0)
_REFUSALS: Final = 3
"""So many in a row are meant: an API server that has just started refuses every request until it has read its roles."""
_REFUSED_S: Final = 10.0

_log = logging.getLogger(__name__)


class LabelledSecrets:
    """Follows them. All methods belong to one event loop."""

    def __init__(
        self,
        api: KubeReader,
        namespace: str,
        deliver: Callable[[ObjectKey, Mapping[str, Any] | None], None],
        rng: Random,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`deliver` gets each of them in each state, None when it is gone or has lost its label."""
        self._api = api
        self._namespace = namespace
        self._path = f"/api/v1/namespaces/{namespace}/secrets"
        self._deliver = deliver
        self._rng = rng
        self._sleep = sleep
        self.keys: set[ObjectKey] = set()
        """Those that there are."""
        self.known = False
        """Whether that is known: they were listed once, or may not be."""
        self.problem: str | None = None
        """Why they may not be read."""

    async def run(self) -> None:
        """Follow them until cancelled."""
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
                refusals = refusals + 1 if error.status in (401, 403) else 0
                if refusals == _REFUSALS:
                    self._refused(error)
                wait_s = _REFUSED_S if refusals >= _REFUSALS else _BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)]
                failures += 1
            except Exception:
                # To stop would miss every later key.
                _log.exception("keys of clients could not be taken in; this is a bug in Limpet. They are read again")
                version, wait_s = None, _BACKOFF_S[-1]
            await self._sleep(wait_s * self._rng.uniform(0.75, 1.25))

    async def _list(self) -> str:
        found = await self._api.get(self._path, {"labelSelector": LABEL})
        items = {self._key(each): each for each in found.get("items") or []}
        self.known, self.problem = True, None
        for key in self.keys - items.keys():
            self._take(key, None)
        for key, item in items.items():
            self._take(key, item)
        if not items:
            self._deliver_nothing()
        version: str = found["metadata"]["resourceVersion"]
        return version

    async def _watch(self, version: str) -> str | None:
        """Watch until the server ends it; returns the version to go on from, None: list them again."""
        async for event in self._api.watch(self._path, {"labelSelector": LABEL, "resourceVersion": version}):
            what, found = event["type"], event["object"]
            if what == "ERROR":
                return None
            version = found["metadata"]["resourceVersion"]
            if what != "BOOKMARK":
                self._take(self._key(found), None if what == "DELETED" else found)
        return version

    def _refused(self, error: ApiError) -> None:
        wanted = f"grant list and watch on secrets in namespace {self._namespace}"
        self.problem = f"Limpet may not read keys of clients: {wanted} ({error})"
        _log.warning("%s; what was read before stays in force", self.problem)
        self.known = True
        self._deliver_nothing()

    def _deliver_nothing(self) -> None:
        """Calls for a plan: one may have waited to know that there are none."""
        self._deliver(ObjectKey("Secret", self._namespace, ""), None)

    def _key(self, raw: Mapping[str, Any]) -> ObjectKey:
        return ObjectKey("Secret", self._namespace, raw["metadata"]["name"])

    def _take(self, key: ObjectKey, raw: Mapping[str, Any] | None) -> None:
        if raw is None:
            self.keys.discard(key)
            self._deliver(key, None)
        else:
            self.keys.add(key)
            self._deliver(key, {**raw, "apiVersion": "v1", "kind": "Secret"})
