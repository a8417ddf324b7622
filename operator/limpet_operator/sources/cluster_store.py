"""The newest known state of each object of a cluster.

Watches deliver changes and can miss a deletion; a listing shows what existed at one moment. Resource versions, which
Kubernetes compares as numbers, decide which of the two is newer, so both may come in any order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from limpet_operator.resources.objects import Foreign, Objects, Parsed, Parser
from limpet_operator.resources.problem import Invalid, ObjectKey


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What Kubernetes stores about an object besides its spec: what a status is written on and compared with."""

    uid: str
    resource_version: int
    generation: int
    labels: Mapping[str, str] = field(default_factory=dict)
    status: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class StoreChange:
    """What an update changed: the spec, from which is planned, or only the status."""

    spec: bool = False
    status: bool = False


NOTHING = StoreChange()


@dataclass(frozen=True, slots=True)
class Listing:
    """The names of one kind, in one namespace (None: in all), at one moment."""

    kind: str
    namespace: str | None
    resource_version: int
    objects: Mapping[ObjectKey, int]
    """The resource version that each has in the listing."""


class ClusterStore:
    """Holds the newest state of each object; `objects` is a value that readers can keep."""

    def __init__(self, parser: Parser) -> None:
        self._parser = parser
        self._parsed: dict[ObjectKey, Parsed] = {}
        self._invalid: dict[ObjectKey, Invalid] = {}
        self._stored: dict[ObjectKey, StoredObject] = {}
        self._objects: Objects | None = None

    @property
    def objects(self) -> Objects:
        """All objects now."""
        if self._objects is None:
            self._objects = Objects(dict(self._parsed), dict(self._invalid))
        return self._objects

    def parsed(self, key: ObjectKey) -> Parsed | None:
        """The object; None: there is none of that name, or it is not valid."""
        return self._parsed.get(key)

    def stored(self, key: ObjectKey) -> StoredObject | None:
        """What Kubernetes stores about the object; None: there is none of that name."""
        return self._stored.get(key)

    def put(self, raw: Mapping[str, Any]) -> StoreChange:
        """Take in an object from the API server; a version older than the one here changes nothing."""
        metadata, new = raw["metadata"], stored_object(raw)
        key = ObjectKey(raw["kind"], metadata["namespace"], metadata["name"])
        old = self._stored.get(key)
        if old is not None and new.resource_version <= old.resource_version:
            return NOTHING
        self._stored[key] = new
        status = old is None or old.status != new.status
        # The API server raises the generation of our kinds with every change of their spec, other kinds have none.
        if old and (old.uid, old.generation, old.labels) == (new.uid, new.generation, new.labels) and new.generation:
            return StoreChange(status=status)
        return StoreChange(self._take(key, self._parser.parse(raw)), status)

    def refuse(self, invalid: Invalid) -> StoreChange:
        """Take in that an object can't be read, whether it exists or not."""
        assert invalid.key is not None
        self._stored.pop(invalid.key, None)
        return StoreChange(spec=self._take(invalid.key, invalid))

    def drop(self, key: ObjectKey, uid: str | None = None) -> StoreChange:
        """Remove an object. `uid`: only if it is still this one and not a later one of the same name."""
        stored = self._stored.get(key)
        if uid is not None and (stored is None or stored.uid != uid):
            return NOTHING
        self._stored.pop(key, None)
        removed = self._parsed.pop(key, None) or self._invalid.pop(key, None)
        if removed is None:
            return NOTHING
        self._objects = None
        return StoreChange(spec=True, status=True)

    def drop_unlisted(self, listing: Listing) -> StoreChange:
        """Remove objects whose deletion was missed: not in a listing that is newer than their last known version."""
        deleted = [
            key
            for key, stored in self._stored.items()
            if key.kind == listing.kind
            and listing.namespace in (None, key.namespace)
            and key not in listing.objects
            and stored.resource_version <= listing.resource_version
        ]
        for key in deleted:
            self.drop(key)
        return StoreChange(spec=bool(deleted), status=bool(deleted))

    def behind(self, listing: Listing) -> frozenset[ObjectKey]:
        """Objects that are newer in the listing than here: an update is on its way, or the watch has died."""
        return frozenset(
            key
            for key, version in listing.objects.items()
            if (stored := self._stored.get(key)) is None or stored.resource_version < version
        )

    def _take(self, key: ObjectKey, result: Parsed | Invalid | Foreign) -> bool:
        before = self._parsed.get(key) or self._invalid.get(key)
        if before == result or isinstance(result, Foreign):
            return False
        self._objects = None
        if isinstance(result, Invalid):
            self._parsed.pop(key, None)
            self._invalid[key] = Invalid(key, result.problems)
        else:
            self._invalid.pop(key, None)
            self._parsed[key] = result
        return True


def stored_object(raw: Mapping[str, Any]) -> StoredObject:
    """From an object as the API server sends it."""
    metadata = raw["metadata"]
    return StoredObject(
        uid=metadata["uid"],
        resource_version=int(metadata["resourceVersion"]),
        generation=metadata.get("generation", 0),
        labels=metadata.get("labels") or {},
        status=raw.get("status") or {},
    )
