"""What a request has that cannot be carried over."""

import re
from typing import Any, Final, NamedTuple, NoReturn, TypeVar

import msgspec

_MAX_CHARS: Final = 200
"""Of a field's name, which a client chooses."""


class Untranslatable(NamedTuple):
    """A field of the request as an error's `param`, and why it cannot be carried over."""

    field: str
    why: str


class UntranslatableError(Exception):
    """A request cannot be carried over."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(why)
        self.found: Final = Untranslatable(field[:_MAX_CHARS], why)


ABSENT: Final = msgspec.Raw(b"null")
"""A field that is not there, or null, which means the same."""

_NULL: Final = b"null"
_T = TypeVar("_T")
_AT: Final = re.compile(r" - at `(?:key in )?\$([^`]*)`$")


def given(raw: msgspec.Raw) -> bool:
    """Whether a field has a value."""
    return len(memoryview(raw)) != len(_NULL) or bytes(raw) != _NULL


def decoded(decoder: msgspec.json.Decoder[_T], data: bytes | msgspec.Raw, field: str) -> _T:
    """A field's value. Raises UntranslatableError, which names the part of it that has another type."""
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        text = str(error)
        found = _AT.search(text)
        refuse(field + (found[1] if found else ""), _AT.sub("", text))
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        refuse(field, str(error))


def refuse(field: str, why: str) -> NoReturn:
    """Raises UntranslatableError."""
    raise UntranslatableError(field, why)


MessagesBlock = dict[str, Any]
"""A part of Anthropic's JSON; what is taken over as it was written is `msgspec.Raw`."""
