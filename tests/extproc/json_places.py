"""Where each value of a JSON text stands: a slow reader that shares nothing with ours."""

import re
from dataclasses import dataclass, field
from typing import Any

_SPACE = re.compile(rb"[ \t\r\n]*")
_SCALAR = re.compile(rb'"(?:[^"\\]|\\.)*"|[-+.\w]+', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Place:
    """A value from `begin` to `end`; of an object its members in order, of a list its items."""

    begin: int
    end: int
    members: list[tuple[bytes, int, "Place"]] = field(default_factory=list)
    """Key as written, where it begins, and the value."""
    items: list["Place"] = field(default_factory=list)

    def __getitem__(self, key: str) -> Any:
        """The value of a key that is written plainly."""
        return next(value for written, _, value in self.members if written == f'"{key}"'.encode())


def places(text: bytes) -> Place:
    """The value that is the text."""
    return _value(text, _past_space(text, 0))


def _value(text: bytes, at: int) -> Place:
    if text[at] not in b"{[":
        scalar = _SCALAR.match(text, at)
        assert scalar is not None
        return Place(at, scalar.end())
    members: list[tuple[bytes, int, Place]] = []
    items: list[Place] = []
    end = _past_space(text, at + 1)
    while text[end] not in b"}]":
        if text[at] == ord("{"):
            key = _value(text, end)
            colon = _past_space(text, key.end)
            value = _value(text, _past_space(text, colon + 1))
            members.append((text[key.begin : key.end], key.begin, value))
        else:
            value = _value(text, end)
            items.append(value)
        end = _past_space(text, value.end)
        if text[end] == ord(","):
            end = _past_space(text, end + 1)
    return Place(at, end + 1, members, items)


def _past_space(text: bytes, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()
