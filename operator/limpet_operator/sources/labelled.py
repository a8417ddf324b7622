"""Secrets with keys of clients: those of one namespace that have the label, by one listing and a watch.

The server filters by the label, so no other Secret is ever sent here. What was read stays in force while the API server
is away: clients must not be locked out by that, and a key that was revoked meanwhile ends as soon as it answers again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random
from typing import Any, Final

from limpet_operator.resources.client_keys import LABEL
from limpet_operator.resources.problem import ObjectKey
from limpet_operator.sources.following import Following, Raw
from limpet_operator.sources.kube_error import ApiError
from limpet_operator.sources.kube_reader import KubeReader

_AGAIN_S: Final = 2.0

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
        self._namespace = namespace
        self._deliver = deliver
        self._sleep = sleep
        self._following = Following(api, f"/api/v1/namespaces/{namespace}/secrets", LABEL, self, rng, sleep=sleep)
        self.keys: set[ObjectKey] = set()
        """Those that there are."""
        self.known = False
        """Whether that is known: they were listed once, or may not be."""
        self.problem: str | None = None
        """Why they may not be read."""

    async def run(self) -> None:
        """Follow them until cancelled."""
        while True:
            await self._following.run()
            # Every cluster has Secrets: whatever is between has no API server to ask just now.
            await self._sleep(_AGAIN_S)

    def listed(self, items: Sequence[Raw]) -> None:
        """These are all that there are."""
        self.known, self.problem = True, None
        found = {self._key(each): each for each in items}
        for key in self.keys - found.keys():
            self._take(key, None)
        for key, item in found.items():
            self._take(key, item)
        if not found:
            self._deliver_nothing()

    def came(self, raw: Raw) -> None:
        """One has the label now, or has changed."""
        self._take(self._key(raw), raw)

    def went(self, raw: Raw) -> None:
        """One is gone or has lost its label."""
        self._take(self._key(raw), None)

    def refused(self, error: ApiError) -> None:
        """They may not be read."""
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
