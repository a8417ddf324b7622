"""What all answers have on the wire: a head, and a report of usage with the fields of the vendor or the API."""

from collections.abc import Mapping
from typing import Final

import msgspec

from limpet_lab.sim.rules import Quantity

_OF_THE_CACHE: Final = ("cached", "missed", "written", "written_short", "written_long")


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one request. `cached` and `written` are parts of `prompt`."""

    prompt: int
    cached: int
    written: int
    output: int
    written_long: int = 0
    """The part of `written` that stays for an hour."""
    reasoning: int = 0
    """The part of `output` that was thought."""

    @property
    def plain(self) -> int:
        """Tokens of the prompt that neither were in the cache nor are now."""
        return self.prompt - self.cached - self.written

    def amount(self, quantity: Quantity) -> int:
        """The number behind a word of the vendor's usage table."""
        amounts: dict[Quantity, int] = {
            "prompt": self.prompt,
            "plain": self.plain,
            "output": self.output,
            "reasoning": self.reasoning,
            "total": self.prompt + self.output,
            "cached": self.cached,
            "missed": self.prompt - self.cached,
            "written": self.written,
            "written_short": self.written - self.written_long,
            "written_long": self.written_long,
            "zero": 0,
        }
        return amounts[quantity]


class Head(msgspec.Struct, frozen=True):
    """What every chunk of an answer repeats."""

    id: str
    created: int
    """Seconds since 1970."""
    model: str


def usage_object(usage: Usage, shape: Mapping[str, Quantity], *, show_cache: bool) -> dict[str, object]:
    """The usage report in a vendor's shape: dotted paths become nested objects."""
    report: dict[str, object] = {}
    for path, quantity in shape.items():
        if not show_cache and quantity in _OF_THE_CACHE:
            continue
        *parents, leaf = path.split(".")
        place = report
        for parent in parents:
            inner = place.setdefault(parent, {})
            assert isinstance(inner, dict)
            place = inner
        place[leaf] = usage.amount(quantity)
    return report


def call_id(head: Head) -> str:
    """The id of the tool call in this answer."""
    return "call_" + head.id.rpartition("-")[2].rpartition("_")[2]
