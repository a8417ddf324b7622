"""Which objects a request asks for: by its path, or by what it names in its body. Pure."""

import re
from collections.abc import Iterable
from itertools import islice
from typing import Final, NamedTuple
from urllib.parse import unquote

from limpet_extproc.contract.apis import MESSAGE_BATCHES, Api

_SEARCHED_BYTES: Final = 1 << 20
"""Of what makes an object: it names others near its beginning, and a batch of prompts may be very long."""
_MAX_IDS: Final = 32

_COLLECTION: Final = {"chatkit": 2, "fine_tuning": 2, MESSAGE_BATCHES: 2}
"""How many parts of a path name the collection, where that is not one: `/fine_tuning/jobs`."""
_ACTIONS: Final = frozenset({("threads", "runs")})
"""What stands in the place of an id, and makes something new."""

_OF_TURNS: Final = ("file_id", "file_ids", "vector_store_ids", "container", "container_id")
_OF_OBJECTS: Final = (
    *_OF_TURNS,
    "assistant_id",
    "conversation",
    "eval_id",
    "input_file_id",
    "previous_response_id",
    "thread_id",
    "training_file",
    "validation_file",
    "vector_store_id",
)


def _naming(fields: Iterable[str]) -> re.Pattern[bytes]:
    names = b"|".join(field.encode() for field in fields)
    return re.compile(rb'"(?:' + names + rb')"\s*:\s*("[^"\\]{1,256}"|\[[^\[\]\\]{1,8192}\])')


_IN_TURNS: Final = _naming(_OF_TURNS)
_IN_OBJECTS: Final = _naming(_OF_OBJECTS)
_MENTIONS: Final = tuple(b'"' + field.encode() for field in ("file_id", "vector_store_ids", "container"))
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
    """The objects that are named in the body of what makes another: a batch its file, say."""
    return _named(_IN_OBJECTS, body[:_SEARCHED_BYTES])


def ids_in_turn(body: bytes | memoryview) -> tuple[str, ...]:
    """The same in a turn of a conversation: the file of a picture, say."""
    text = bytes(body)
    return _named(_IN_TURNS, text) if any(mention in text for mention in _MENTIONS) else ()


def _named(naming: re.Pattern[bytes], body: bytes | memoryview) -> tuple[str, ...]:
    found = (each for value in naming.findall(body) for each in _ID.findall(value))
    return tuple(dict.fromkeys(each.decode("utf-8", "replace") for each in islice(found, _MAX_IDS)))
