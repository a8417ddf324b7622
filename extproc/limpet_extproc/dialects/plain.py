"""An ordinary request in one pass of the decoder: what nearly every client of a conversation's API sends.

A body that is unusual or wrong is left to the careful reading of its dialect, which gives the same for every request
that is read here.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw

from limpet_extproc.dialects.careful import MISSPELT, OURS
from limpet_extproc.dialects.opener import ABSENT, MESSAGE_FIELDS, READ_MESSAGES, present
from limpet_extproc.dialects.spans import Body, Span, address
from limpet_extproc.dialects.text import find

MAX_BYTES: Final = 1 << 17
"""Of a body that is read here; reading a longer one twice would cost too much."""

_TAIL_BYTES: Final = 512
_NEAR_END_BYTES: Final = 4096
"""In which the last key is looked for: behind very many messages the first one is far."""
_KEY: Final = b'"model"'
_BACKSLASH: Final = 0x5C
"""Stands in texts alone."""
_MAX_NAME_CHARS: Final = 256

ShortName = Annotated[str, Meta(max_length=_MAX_NAME_CHARS)] | None
TokenCount = Annotated[int, Meta(le=1 << 53)] | None
Flag = bool | None
"""Types of fields; a value of another type is unusual."""

_UNUSUAL: Final = (*OURS, *MISSPELT)
_USUAL: Final = (ABSENT,) * len(_UNUSUAL)

_AT_FIRST: Final = re.compile(rb'\s*\{\s*"model"\s*:\s*("[^"\\]*")')
_AFTER_MESSAGES: Final = re.compile(rb'\s*\]\s*,\s*"model"\s*:\s*("[^"\\]*")')
_SHALLOW: Final = rb'(?:"[^"\\{}\[\]]*"|[^"{}\[\]])*+'
_AT_LAST: Final = re.compile(
    rb'"model"\s*:\s*("[^"\\]*")\s*'
    rb'(?:,\s*"[^"\\]*"\s*:\s*(?:"[^"\\]*"|[-+.\w]+|\{' + _SHALLOW + rb"\}|\[" + _SHALLOW + rb"\])\s*)*+\}\s*\Z"
)
"""The key and all that follows it up to the end of the body, where only one brace is closed: it is not a nested one."""


class _Model(msgspec.Struct, frozen=True, gc=False):
    model: Raw


_MODEL: Final = msgspec.json.Decoder(_Model)


class _ModelName(str):
    """The model's name; its own type, so that the decoder calls a hook for each."""

    __slots__ = ()


class OnceName(str):
    """A name or null, and not twice; its own type for the same reason. An API has one such field at most."""

    __slots__ = ()


class Plain(msgspec.Struct, frozen=True, gc=False):
    """What is read alike in all dialects."""

    model: str
    model_span: Span
    messages: tuple[Raw, ...]
    """The first ones."""
    fields: tuple[Any, ...]
    """The dialect's own, in the order in which it has named them."""


class PlainReader:
    """Reads ordinary requests of one API. Its decoder counts, so it serves one thread."""

    def __init__(self, prompt: str, fields: Sequence[tuple[str, Any, Any]]) -> None:
        """`prompt` is the field with the messages; `fields` are others, each with its type and what stands for none."""
        self._names = self._others = self._lists = 0
        messages = msgspec.defstruct(
            "Messages",
            MESSAGE_FIELDS,
            array_like=True,
            frozen=True,
            gc=False,
            namespace={"__post_init__": self._count_list},
        )
        members: list[tuple[str, Any, Any]] = [*fields, *((key, Raw, ABSENT) for key in _UNUSUAL)]
        body = msgspec.defstruct("Body", [("model", _ModelName), (prompt, messages), *members], frozen=True, gc=False)
        self._decoder = msgspec.json.Decoder(body, dec_hook=self._count_name)
        self._read = 2 + len(fields)

    def read(self, body: Body) -> Plain | None:
        """What is read of the request, if it is an ordinary one."""
        if len(body) > MAX_BYTES:
            return None
        self._names = self._others = self._lists = 0
        try:
            fields = msgspec.structs.astuple(self._decoder.decode(body))
        except (msgspec.MsgspecError, RecursionError):
            return None
        model, decoded = fields[:2]
        if fields[self._read :] != _USUAL or self._names != 1 or self._lists != 1 or not model:
            return None
        messages = present(decoded)
        if not messages:
            return None
        return Plain(str(model), _model_span(body, messages), messages, fields[2 : self._read])

    def _count_list(self, _: object = None) -> None:
        self._lists += 1

    def _count_name(self, kind: type, value: Any) -> str:
        if kind is OnceName:
            return self._count_other("" if value is None else value)
        self._names += 1
        if self._names > 1 or not isinstance(value, str) or len(value) > _MAX_NAME_CHARS:
            raise ValueError(value)
        return _ModelName(value)

    def _count_other(self, value: Any) -> OnceName:
        self._others += 1
        if self._others > 1 or not isinstance(value, str) or len(value) > _MAX_NAME_CHARS:
            raise ValueError(value)
        return OnceName(value)


def _model_span(body: Body, messages: tuple[Raw, ...]) -> Span:
    """Where the only name of a model stands."""
    if found := _AT_FIRST.match(body) or _AT_LAST.search(body, max(0, len(body) - _TAIL_BYTES)):
        return _span(found)
    last = messages[-1]
    end = address(last) - address(body) + len(memoryview(last))
    if len(messages) < READ_MESSAGES and (found := _AFTER_MESSAGES.match(body, end)):
        return _span(found)
    near_end = max(end, len(body) - _NEAR_END_BYTES)
    near = _from_key(body, body.rfind(_KEY, near_end))
    return near or _from_key(body, find(body, _KEY, end)) or _decoded(body, 0)


def _span(found: re.Match[bytes]) -> Span:
    begin, end = found.span(1)
    return Span(begin, end - begin)


def _from_key(body: Body, at: int) -> Span | None:
    """Where it stands if the key at `at` is that of the request itself."""
    if at < 0 or body[at - 1] == _BACKSLASH:
        return None
    # What follows the key of a nested object closes more than the one brace that is put before it.
    with suppress(msgspec.MsgspecError, RecursionError):
        return _decoded(b"{" + body[at:], at - 1)
    return None


def _decoded(text: Body, offset: int) -> Span:
    value = _MODEL.decode(text).model
    return Span(offset + address(value) - address(text), len(memoryview(value)))
