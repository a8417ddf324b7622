"""Which objects a request asks for: by its path, or by what it names in its body. Pure."""

import re
from typing import Final, NamedTuple
from urllib.parse import unquote

from limpet_extproc.contract.apis import MESSAGE_BATCHES, Api

_SEARCHED_BYTES: Final = 1 << 20
"""Of a body: what makes an object names others near its beginning, and a batch of prompts may be very long."""
_MAX_IDS: Final = 32

_COLLECTION: Final = {"chatkit": 2, "fine_tuning": 2, MESSAGE_BATCHES: 2}
"""How many parts of a path name the collection, where that is not one: `/fine_tuning/jobs`."""
_ACTIONS: Final = frozenset({("threads", "runs")})
"""What stands in the place of an id, and makes something new."""

_NAMED: Final = re.compile(
    rb'"(?:input_file_id|training_file|validation_file|file_ids?|vector_store_ids?|assistant_id|thread_id|container|'
    rb'container_id|eval_id|previous_response_id|conversation)"\s*:\s*("[^"\\]{1,256}"|\[[^\[\]\\]{1,8192}\])'
)
_ID: Final = re.compile(rb'"([^"\\]{1,256})"')
_ODD: Final = frozenset({"", ".", ".."})


class ObjectPath(NamedTuple):
    """What a path asks for."""

    id: str
    """Of the object that all else belongs to; empty: it is that of a collection."""
    odd: bool = False
    """Whether a provider could take it for another path, of another object."""


def object_path(api: Api, path: str) -> ObjectPath:
    """The object of a path that `apis.asked` has left."""
    parts = path[1:].split("/")
    below = parts[_COLLECTION.get(api.name, 1) :]
    if not below or (api.name, below[0]) in _ACTIONS:
        return ObjectPath("")
    plain = [unquote(part) for part in below]
    odd = any(part in _ODD or "/" in part or "\\" in part or "%" in part for part in plain)
    return ObjectPath(plain[0], odd)


def named_ids(body: bytes | memoryview) -> tuple[str, ...]:
    """The objects that are named in a body, each once: a batch its file, say."""
    text = bytes(body[:_SEARCHED_BYTES])
    found = (each for value in _NAMED.findall(text) for each in _ID.findall(value))
    return tuple(dict.fromkeys(each.decode("utf-8", "replace") for each in found))[:_MAX_IDS]
