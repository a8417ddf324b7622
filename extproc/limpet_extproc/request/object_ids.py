"""Which object a request asks for by its path. Pure."""

from typing import Final, NamedTuple
from urllib.parse import unquote

from limpet_extproc.contract.apis import MESSAGE_BATCHES, Api

_COLLECTION: Final = {"chatkit": 2, "fine_tuning": 2, MESSAGE_BATCHES: 2}
"""How many parts of a path name the collection, where that is not one: `/fine_tuning/jobs`."""
_ACTIONS: Final = frozenset({("threads", "runs")})
"""What stands in the place of an id, and makes something new."""

_ODD: Final = frozenset({"", ".", ".."})


class ObjectPath(NamedTuple):
    """What a path asks for."""

    id: str
    """Of the object that all else belongs to; empty: it is that of a collection."""
    odd: bool = False
    """Whether a provider could take it for another path, of another object."""
    whole: bool = True
    """Whether it is asked for as it is, and not its content or what else belongs to it."""


def object_path(api: Api, path: str) -> ObjectPath:
    """The object of a path that `apis.asked` has left."""
    parts = path[1:].split("/")
    below = parts[_COLLECTION.get(api.name, 1) :]
    if not below or (api.name, below[0]) in _ACTIONS:
        return ObjectPath("")
    plain = [unquote(part) for part in below]
    odd = any(part in _ODD or "/" in part or "\\" in part or "%" in part for part in plain)
    return ObjectPath(plain[0], odd, len(plain) == 1)
