"""What the operator knows of a cluster right now: each object as it was last told of, one at a time.

Watches tell of changes and can miss a deletion; a listing says what was there at one moment. Resource versions, which
Kubernetes compares as numbers, decide which of the two is newer, so both may come in any order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from limpet_operator.resources.objects import Foreign, Objects, Parsed, Parser
from limpet_operator.resources.problem import Invalid, ObjectKey


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What Kubernetes says about an object besides its spec: what a status is written from and compared with."""

    uid: str
    resource_version: int
    generation: int
    labels: Mapping[str, str] = field(default_factory=dict)
    status: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class StoreChange:
    """What one piece of news changed: what is planned from an object, or the status that somebody wrote into it."""

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
        """What Kubernetes says about the object; None: there is none of that name."""
        return self._stored.get(key)

    def put(self, raw: Mapping[str, Any]) -> StoreChange:
        """Takes in an object as the API server told of it; older news than what is here changes nothing."""
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
        """An object that may be there, but that we can't get at."""
        assert invalid.key is not None
        self._stored.pop(invalid.key, None)
        return StoreChange(spec=self._take(invalid.key, invalid))

    def drop(self, key: ObjectKey, uid: str | None = None) -> StoreChange:
        """The object is gone. `uid`: only if it is still this one and not a later one of the same name."""
        stored = self._stored.get(key)
        if uid is not None and (stored is None or stored.uid != uid):
            return NOTHING
        self._stored.pop(key, None)
        gone = self._parsed.pop(key, None) or self._invalid.pop(key, None)
        if gone is None:
            return NOTHING
        self._objects = None
        return StoreChange(spec=True, status=True)

    def drop_unlisted(self, listing: Listing) -> StoreChange:
        """Drops what was deleted unnoticed: it is not in a listing that is newer than what is known of it."""
        gone = [
            key
            for key, stored in self._stored.items()
            if key.kind == listing.kind
            and listing.namespace in (None, key.namespace)
            and key not in listing.objects
            and stored.resource_version <= listing.resource_version
        ]
        for key in gone:
            self.drop(key)
        return StoreChange(spec=bool(gone), status=bool(gone))

    def behind(self, listing: Listing) -> frozenset[ObjectKey]:
        """What is newer in the listing than here: news that is still on its way, or a watch that has died."""
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
    """What an API server tells of an object; everything that comes from one has these."""
    metadata = raw["metadata"]
    return StoredObject(
        uid=metadata["uid"],
        resource_version=int(metadata["resourceVersion"]),
        generation=metadata.get("generation", 0),
        labels=metadata.get("labels") or {},
        status=raw.get("status") or {},
    )
