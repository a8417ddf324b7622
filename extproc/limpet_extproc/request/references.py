"""Which objects a body names, each of which lives in one account. Pure.

All keys of these names count, wherever they stand, unless that is text of the client's own: a field that is new at a
vendor is rather looked up in vain than passed on unseen.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final, Literal

from limpet_extproc.contract.apis import REFERENCES
from limpet_extproc.dialects.form import Form, FormBody, boundary_of, parts
from limpet_extproc.dialects.port import BadRequestError

Searched = Literal["items", "turn", "object"]
"""For what: the items of earlier responses alone; for all that a turn may name; for all that a request may that makes
or changes an object."""

MOST_IDS: Final = 500
"""In one request. OpenAI takes as many files for a vector store at once (API reference, 2026)."""

_OF_OBJECTS: Final[dict[str, str]] = {
    **REFERENCES,
    "assistant_id": "runs",
    "batch_id": "file batches",
    "conversation": "Responses, also as an object with its id",
    "conversation_id": "ChatKit",
    "eval_id": "runs of evals",
    "input_file_id": "batches",
    "input_file": "batches of Mistral and others",
    "input_files": "the same",
    "previous_response_id": "Responses, in batches too",
    "response_id": "sources of evals",
    "run_id": "evals",
    "thread_id": "runs, ChatKit",
    "training_file": "fine-tuning",
    "training_files": "fine-tuning of Mistral",
    "validation_file": "fine-tuning",
    "validation_files": "fine-tuning of Mistral",
    "vector_store_id": "files of vector stores",
}
"""Names of fields and where the APIs have them, from the references of OpenAI, Anthropic and Mistral, 2026."""

_FREE: Final = frozenset({"arguments", "attributes", "input_schema", "metadata", "parameters", "schema"})
"""Fields whose content is the client's own; so is the `input` of a call of its tools."""
_TOOL_CALL: Final = "tool_use"
_ITEMS: Final = frozenset({"input", "items"})
"""Lists in which an item may stand for one of an earlier response, by its id alone."""
_CONTENT_OF: Final = {"image_generation_call": ("result",), "reasoning": ("encrypted_content", "content")}
"""Items that are looked up by their ids where they come without these."""

_MOST_ID_CHARS: Final = 256
_ID_KEY: Final = re.compile(rb'"(?:[iI]|\\u00[46]9)(?:[dD]|\\u00[46]4)"')
"""However written, and in any case, as some providers take it: one search of a body, of half the cost for its quote."""
_MENTION: Final = re.compile(b'"(?:id|%s)"' % b"|".join(field.encode() for field in REFERENCES), re.IGNORECASE)
_ESCAPED: Final = re.compile(rb"\\u00[4-7]")
"""The escape of what needs none. Only so can a name be written that the search before does not find."""
_PARTS: Final = (b",", b"[", b"{")
_MOST_PARTS: Final = 2_000_000
"""Each takes about a hundred bytes while it is searched."""
_IN_NAME: Final = re.compile(rb"[^\[\].]+")


class _Object(tuple[tuple[str, Any], ...]):
    """Of JSON, with all its members: of two with one name it is the provider that chooses."""

    __slots__ = ()

    def all(self, key: str) -> list[Any]:
        """The values of this name."""
        return [value for name, value in self if name == key]


def references(body: bytes, searched: Searched) -> tuple[str, ...]:
    """The ids of these objects. Raises BadRequestError if the body cannot be searched, or names too many."""
    if sum(map(body.count, _PARTS)) > _MOST_PARTS:
        raise BadRequestError(None, "the body has too many parts to be searched for the objects that it names")
    try:
        value = json.loads(body.decode(), object_pairs_hook=_Object)
    except RecursionError:
        raise BadRequestError(None, "the body is nested too deeply") from None
    except ValueError as error:
        raise BadRequestError(None, f"the body is not valid JSON: {error}") from None
    return _few(_found(value, searched))


def in_form(body: FormBody, form: Form, searched: Searched) -> tuple[str, ...]:
    """The same of a form, whose fields may have brackets: `file_ids[0]`, `image[file_id]`."""
    fields, view = _fields(searched), memoryview(body)
    found = (
        bytes(view[part.content.offset : part.content.offset + part.content.length])
        for part in parts(view, boundary_of(form.content_type))
        if any(word.decode("latin-1") in fields for word in _IN_NAME.findall(part.name.lower()))
    )
    return _few(text.decode("latin-1") for text in found)


def mentions_any(body: bytes, searched: Searched) -> bool:
    """Whether there is anything to find, perhaps."""
    if searched == "object":
        return True
    if searched == "items":
        return _ID_KEY.search(body) is not None
    return _MENTION.search(body) is not None or _ESCAPED.search(body) is not None


def _fields(searched: Searched) -> dict[str, str]:
    return _OF_OBJECTS if searched == "object" else REFERENCES if searched == "turn" else {}


def _few(found: Iterator[str]) -> tuple[str, ...]:
    # A provider may take them without the blanks around.
    ids = dict.fromkeys(short for each in found if (short := each.strip()))
    if len(ids) > MOST_IDS:
        raise BadRequestError(
            None, f"the request names {len(ids)} objects; {MOST_IDS} are the most", "too_many_objects"
        )
    if any(len(each) > _MOST_ID_CHARS for each in ids):
        raise BadRequestError(None, f"an id has more than {_MOST_ID_CHARS} characters", "invalid_id")
    try:
        "".join(ids).encode()
    except UnicodeEncodeError:
        message = "an id has one half of a surrogate pair, which is not a character"
        raise BadRequestError(None, message, "invalid_id") from None
    return tuple(ids)


def _found(value: Any, searched: Searched) -> Iterator[str]:
    fields = _fields(searched)
    left = [(value, False)]
    while left:
        each, is_item = left.pop()
        if isinstance(each, _Object):
            if _stands_for_another(each, is_item=is_item):
                yield from _ids(each.all("id"))
            calls_tool = bool(types := each.all("type")) and all(str(kind).endswith(_TOOL_CALL) for kind in types)
            for name, inner in each:
                key = name.lower()
                if key in fields:
                    yield from _ids([inner])
                if isinstance(inner, _Object | list) and key not in _FREE and not (calls_tool and key == "input"):
                    left.append((inner, key in _ITEMS))
        elif isinstance(each, list):
            left.extend((inner, is_item) for inner in each if isinstance(inner, _Object | list))


def _stands_for_another(each: _Object, *, is_item: bool) -> bool:
    kinds = each.all("type")
    if "item_reference" in kinds or "file_id" in kinds:
        return True
    if is_item and (not kinds or None in kinds):
        return not each.all("role")
    return any(not any(map(any, map(each.all, _CONTENT_OF[kind]))) for kind in kinds if kind in _CONTENT_OF)


def _ids(values: list[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, _Object):
            yield from _ids([each for each in value.all("id") if isinstance(each, str)])
        elif isinstance(value, list):
            yield from (each for each in value if isinstance(each, str))
