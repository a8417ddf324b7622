"""Objects of one kind of a mesh, as the API server has them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from limpet_operator.sources.following import Raw
from limpet_operator.sources.kube_error import ApiError

PlacedName = tuple[str, str]
"""Namespace and name."""


class FollowedKind:
    """What is there of a kind, by what `Following` reads and by answers to writes. All belongs to one event loop."""

    def __init__(self, kind: str, changed: Callable[[Mapping[str, Any]], None]) -> None:
        """`changed` hears of each object that came, changed or went, and of nothing ({}) when the rest has changed."""
        self._kind = kind
        self._changed = changed
        self.objects: dict[PlacedName, dict[str, Any]] = {}
        self.known = False
        """Whether all that there are have been listed."""
        self.refusal: str | None = None
        """Why they may not be read; None: they may, as far as is known."""

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

    def listed(self, items: Sequence[Raw]) -> None:
        """These are all that there are."""
        found = {_placed(each): each for each in items}
        for key in self.objects.keys() - found.keys():
            self.drop(key)
        for each in found.values():
            self.put(each)
        self.known, self.refusal = True, None
        self._changed({})

    def came(self, raw: Raw) -> None:
        """An object is new, or has changed."""
        self.put(raw)

    def went(self, raw: Raw) -> None:
        """An object is gone."""
        self.drop(_placed(raw))

    def refused(self, error: ApiError) -> None:
        """They may not be read."""
        self.refusal, self.known = str(error), False
        self._changed({})


def _placed(raw: Mapping[str, Any]) -> PlacedName:
    return raw["metadata"]["namespace"], raw["metadata"]["name"]


def _version(raw: Mapping[str, Any]) -> int:
    return int(raw["metadata"]["resourceVersion"])
