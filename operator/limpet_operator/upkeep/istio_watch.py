"""What a cluster has of Istio: whether its CRDs are there, and the objects that matter to ours."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from http import HTTPStatus
from random import Random
from typing import Any, Final

from limpet_operator.mesh.istio_object import GATEWAY_LABEL, ISTIO_GROUP, PLURALS_OF_ISTIO, api_version
from limpet_operator.mesh.istio_reading import served_version
from limpet_operator.serve.tasks import first_of
from limpet_operator.sources.following import Following
from limpet_operator.sources.kube_error import ApiError
from limpet_operator.sources.kube_reader import KubeReader
from limpet_operator.upkeep.followed import FollowedKind
from limpet_operator.upkeep.ownership import is_ours
from limpet_operator.upkeep.settings import UpkeepSettings

_log = logging.getLogger(__name__)

SHARED: Final = ("ServiceEntry", "VirtualService")
"""The kinds that are written, and that others may have written for the same hosts."""
_EVERYWHERE: Final = ""
_AGAIN_S: Final = 5.0
"""How often a cluster without Istio's CRDs is asked for them."""


class IstioWatch:
    """Follows them. All methods belong to one event loop."""

    def __init__(
        self,
        api: KubeReader,
        settings: UpkeepSettings,
        changed: Callable[[], None],
        rng: Random,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`changed` is called after every change of what this knows."""
        self._api = api
        self._settings = settings
        self._changed = changed
        self._rng = rng
        self._sleep = sleep
        self._followed: dict[tuple[str, str], FollowedKind] = {}
        """By kind and namespace."""
        self._told_missing = False
        self.version: str | None = None
        """The newest version of Istio's API that is served; None: unknown, or it has no CRDs."""
        self.missing = False
        """Whether the cluster was asked and has none of Istio's CRDs, or not all of them."""
        self.of_others = 0
        """Another number whenever an object of somebody else has changed."""

    @property
    def known(self) -> bool:
        """Whether all is known of what there is."""
        return bool(self._followed) and all(
            each.known or (kind == "EnvoyFilter" and each.refusal is not None)
            for (kind, _), each in self._followed.items()
        )

    @property
    def refused(self) -> str | None:
        """What must be granted before anything can be written; None: nothing."""
        refused = [
            (namespace, PLURALS_OF_ISTIO[kind], each.refusal)
            for (kind, namespace), each in self._followed.items()
            if each.refusal is not None and kind != "EnvoyFilter"
        ]
        if not refused:
            return None
        namespace, _, why = refused[0]
        kinds = ", ".join(sorted(plural for where, plural, _ in refused if where == namespace))
        place = "in all namespaces" if namespace == _EVERYWHERE else f"in namespace {namespace}"
        return f"grant list and watch on {kinds} of {ISTIO_GROUP} {place} to the operator ({why})"

    @property
    def closed(self) -> Mapping[str, str]:
        """Namespaces of applications whose EnvoyFilters may not be read, so that none is written there, and why."""
        return {
            place: each.refusal
            for (kind, place), each in self._followed.items()
            if kind == "EnvoyFilter" and each.refusal is not None
        }

    def others(self) -> list[Mapping[str, Any]]:
        """What somebody else has written."""
        return [each for each in self._all() if each["kind"] in SHARED and not is_ours(each, self._settings.gateway)]

    def ours(self) -> dict[tuple[str, str, str], Mapping[str, Any]]:
        """What was written for this gateway beside it, by kind, namespace and name."""
        own = self._settings.gateway
        return {_key(each): each for each in self._all() if is_ours(each, own)}

    def find(self, key: tuple[str, str, str]) -> Mapping[str, Any] | None:
        """The object of this kind, namespace and name, whoever wrote it."""
        followed = self._where(key[0], key[1])
        return None if followed is None else followed.objects.get(key[1:])

    def put(self, found: Mapping[str, Any]) -> None:
        """An object as the answer to a write has it."""
        if (followed := self._where(found["kind"], found["metadata"]["namespace"])) is not None:
            followed.put(found)

    def drop(self, key: tuple[str, str, str]) -> None:
        """An object that was deleted."""
        if (followed := self._where(key[0], key[1])) is not None:
            followed.drop(key[1:])

    async def run(self) -> None:
        """Follow all for ever; where the CRDs are missing, wait for them."""
        try:
            while True:
                if (version := await self._find_version()) is not None:
                    await first_of(*(each.run() for each in self._follow(version)))
                self._followed, self.version = {}, None
                self._set_missing(True)
                await self._sleep(_AGAIN_S)
        finally:
            # What is remembered is nothing to write by, once it is no longer followed.
            self._followed, self.version = {}, None

    async def _find_version(self) -> str | None:
        while True:
            try:
                return served_version(await self._api.get(f"/apis/{ISTIO_GROUP}"))
            except ApiError as error:
                if error.status == HTTPStatus.NOT_FOUND:
                    return None
                await self._sleep(_AGAIN_S)

    def _follow(self, version: str) -> list[Following]:
        self.version = version
        own = self._settings.gateway.namespace
        places = [(kind, _EVERYWHERE if self._settings.whole_cluster else own) for kind in SHARED]
        if self._settings.app_namespaces:
            places.append(("DestinationRule", own))
        places += (("EnvoyFilter", namespace) for namespace in self._settings.app_namespaces)
        self._followed = {(kind, namespace): FollowedKind(kind, self._noticed) for kind, namespace in places}
        # Nobody else's matter but where they may be for the same hosts.
        labelled = f"{GATEWAY_LABEL}={self._settings.gateway.label}"
        return [
            Following(
                self._api,
                collection_path(kind, namespace, version),
                "" if kind in SHARED else labelled,
                each,
                self._rng,
                sleep=self._sleep,
            )
            for (kind, namespace), each in self._followed.items()
        ]

    def _noticed(self, found: Mapping[str, Any]) -> None:
        if self.known:
            self._set_missing(False)
        if not found or not is_ours(found, self._settings.gateway):
            self.of_others += 1
        self._changed()

    def _set_missing(self, missing: bool) -> None:
        if missing and not self._told_missing:
            _log.warning("the cluster lacks CRDs of Istio: nothing is written for the mesh until they are there")
        elif not missing and self._told_missing:
            _log.info("the CRDs of Istio are there now")
        self._told_missing = missing
        if self.missing != missing:
            self.missing = missing
            self._changed()

    def _where(self, kind: str, namespace: str) -> FollowedKind | None:
        """What follows this kind in this namespace."""
        return self._followed.get((kind, namespace)) or self._followed.get((kind, _EVERYWHERE))

    def _all(self) -> Iterator[Mapping[str, Any]]:
        for followed in self._followed.values():
            yield from followed.objects.values()


def collection_path(kind: str, namespace: str, version: str | None) -> str:
    """Of all objects of a kind in a namespace, or everywhere if that is empty; `version` as for `api_version`."""
    inside = f"/namespaces/{namespace}" if namespace else ""
    return f"/apis/{api_version(kind, version)}{inside}/{PLURALS_OF_ISTIO[kind]}"


def _key(raw: Mapping[str, Any]) -> tuple[str, str, str]:
    return raw["kind"], raw["metadata"]["namespace"], raw["metadata"]["name"]
