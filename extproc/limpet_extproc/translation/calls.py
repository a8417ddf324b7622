"""Tool calls of a conversation by their ids: Anthropic wants each to have an id of its own, and to be answered."""

import re
from collections import deque
from typing import Final, NamedTuple

from limpet_extproc.translation.untranslatable import refuse

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_ODD: Final = re.compile(r"[^a-zA-Z0-9_-]")
"""What an id may not have."""


class _Call(NamedTuple):
    id: str
    field: str


class OpenCalls:
    """Those of the present turn, which wait for their results."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[_Call]] = {}
        """By the client's id; without any left, those of an id have been answered."""
        self._taken: dict[str, int] = {}
        """All ids that were given, and the number that the last one had that would have been the same."""

    def begun(self, written: str, field: str) -> str:
        """The id of a call, in Anthropic's letters and unlike all before it."""
        id_ = self._unique(_ODD.sub("_", written) or "call")
        self._waiting.setdefault(written, deque()).append(_Call(id_, field))
        return id_

    def answered(self, written: str, field: str) -> str:
        """The id of the call that a result is of. Raises UntranslatableError if none of this id waits for one."""
        waiting = self._waiting.get(written)
        if waiting is None:
            refuse(field, "no tool call of the assistant's turn before it has this id")
        if not waiting:
            refuse(field, "this tool call has a result already")
        return waiting.popleft().id

    def check_answered(self) -> None:
        """At the end of the user's turn. Raises UntranslatableError for a call without a result."""
        for waiting in self._waiting.values():
            if waiting:
                refuse(waiting[0].field, "the messages after it have no result of this tool call")
        self._waiting.clear()

    def _unique(self, id_: str) -> str:
        number = self._taken.get(id_, 0)
        while (found := f"{id_}_{number + 1}" if number else id_) in self._taken:
            number += 1
        self._taken[id_] = number
        self._taken.setdefault(found, 0)
        return found


def check_name(name: str, field: str) -> None:
    """Raises UntranslatableError for a tool's name that Anthropic does not take."""
    if _NAME.fullmatch(name) is None:
        refuse(field, "Anthropic takes letters, digits, _ and -, up to 128 of them")
