"""Who owns each object that is written, so that Kubernetes removes it when the release or the right to write it goes.

An owner must be in the namespace of what it owns.
"""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

from limpet_operator.mesh.istio_object import IstioObject
from limpet_operator.sources.kube_error import ApiError
from limpet_operator.status.kube_writer import JSON
from limpet_operator.upkeep.istio_watch import IstioWatch
from limpet_operator.upkeep.ownership import owner_reference
from limpet_operator.upkeep.settings import UpkeepSettings

_LEASE: Final = ("coordination.k8s.io/v1", "Lease", "leases")
_ROLE: Final = ("rbac.authorization.k8s.io/v1", "Role", "roles")

CallApiServer = Callable[[str, str, Mapping[str, Any] | None, str], Awaitable[Any]]
"""Method, path, body and content type of a call to the API server."""
_OwnerPlace = tuple[tuple[str, str, str], str, str]
"""What it is, its namespace and its name."""


class Owners:
    """All methods belong to one event loop.

    EnvoyFilters are owned by the Role by which they may be written. The DestinationRule of a cluster is owned by its
    ServiceEntry: it is what speaks TLS there, so it must not go while the cluster stays. All else is the Lease's.
    """

    def __init__(self, settings: UpkeepSettings, watch: IstioWatch, call: CallApiServer) -> None:
        self._settings = settings
        self._watch = watch
        self._call = call
        self._known: dict[_OwnerPlace, Mapping[str, Any]] = {}

    def forget(self) -> None:
        """There may be others of these names."""
        self._known.clear()

    def known(self, target: IstioObject) -> Mapping[str, Any] | None:
        """Its owner, as a reference; None: not yet asked for."""
        entry = self._entry(target)
        return self._known.get(self._place(target)) if entry is None else owner_reference(entry)

    async def learn(self, target: IstioObject) -> None:
        """Ask for its owner, unless that is known. Raises ApiError."""
        if self.known(target) is not None:
            return
        place = self._place(target)
        (version, kind, plural), namespace, name = place
        try:
            found = await self._call("GET", f"/apis/{version}/namespaces/{namespace}/{plural}/{name}", None, JSON)
        except ApiError as error:
            if error.status in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
                said = f"{kind} {namespace}/{name}, which is to own it, can't be read: {error}"
                raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, said) from error
            raise
        self._known[place] = owner_reference({"apiVersion": version, "kind": kind, "metadata": found["metadata"]})

    def _entry(self, target: IstioObject) -> Mapping[str, Any] | None:
        if target.kind != "DestinationRule":
            return None
        found = self._watch.find(("ServiceEntry", target.namespace, target.name))
        return None if found is None else {**found, "apiVersion": target.body(self._watch.version)["apiVersion"]}

    def _place(self, target: IstioObject) -> _OwnerPlace:
        sidecars = self._settings.sidecars
        if target.kind == "EnvoyFilter" and sidecars is not None:
            return _ROLE, target.namespace, sidecars.role
        return _LEASE, *self._settings.lease
