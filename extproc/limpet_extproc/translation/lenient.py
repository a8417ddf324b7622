"""Answers as typed values, whatever is odd in them: what has another type than it should have counts as absent."""

import json
import types
from typing import Any, Final, Generic, TypeVar, Union, get_args, get_origin

import msgspec

_T = TypeVar("_T")
_MISSING: Final = object()


class UnreadableAnswerError(ValueError):
    """It is no JSON object."""


class LenientDecoder(Generic[_T]):
    """Of a struct, all of whose fields have defaults. What is as it should be costs no more than in a strict one."""

    def __init__(self, type_: type[_T]) -> None:
        self._type = type_
        self._strict = msgspec.json.Decoder(type_)

    def decode(self, data: bytes) -> _T:
        """The value. Half a surrogate pair stays one. Raises UnreadableAnswerError."""
        try:
            return self._strict.decode(data)
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            found = _taken(self._type, _loaded(data))
        if found is _MISSING:
            raise UnreadableAnswerError
        value: _T = found
        return value


def encoded(value: object) -> bytes:
    """As JSON; with the replacement character for half a surrogate pair."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_mended(msgspec.to_builtins(value)))


def mended(text: str) -> str:
    """With pairs of surrogates as the characters that they mean, and the replacement character for any other."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _loaded(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise UnreadableAnswerError from error


def _taken(type_: Any, value: Any) -> Any:
    """The value as this type; _MISSING if it is none."""
    if get_origin(type_) in (Union, types.UnionType):
        found = (_taken(each, value) for each in get_args(type_))
        return next((each for each in found if each is not _MISSING), _MISSING)
    if get_origin(type_) is list:
        if not isinstance(value, list):
            return _MISSING
        items = (_taken(get_args(type_)[0], each) for each in value)
        return [each for each in items if each is not _MISSING]
    if type_ is msgspec.Raw:
        return msgspec.Raw(json.dumps(value).encode())
    if type_ is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if type_ in (str, int):
        return value if type(value) is type_ else _MISSING
    if isinstance(value, dict) and isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        known = {each.name: _taken(each.type, value.get(each.name)) for each in msgspec.structs.fields(type_)}
        return type_(**{name: each for name, each in known.items() if each is not _MISSING})
    return _MISSING


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return mended(value)
    if isinstance(value, list):
        return [_mended(each) for each in value]
    if isinstance(value, dict):
        return {_mended(name): _mended(each) for name, each in value.items()}
    return value
