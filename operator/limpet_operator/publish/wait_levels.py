"""How long a streamed answer may be silent: in Envoy that belongs to a route, so providers' timeouts become few levels.

A request waits as long as the slowest provider of its order may take: a slow self-hosted model does not lengthen the
wait at fast vendors that it is not tried together with, and no provider is ever cut short by another's timeouts. For
whole answers Envoy has a limit that belongs to the provider's cluster, so they need no level.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from limpet_operator.resources.provider import Timeouts

MAX_LEVELS: Final = 4
"""Each costs every request a few comparisons; what waits longer than the last but one shares the last."""


@dataclass(frozen=True, slots=True)
class WaitLevel:
    """Seconds of silence: before the first byte of a streamed answer, and within one."""

    first_byte_s: float = 600.0
    idle_s: float = 120.0

    def covers(self, timeouts: Timeouts) -> bool:
        """Whether it never cuts a provider with these timeouts short."""
        return self.first_byte_s >= timeouts.first_byte_s and self.idle_s >= timeouts.idle_s


def wait_levels(all_timeouts: Iterable[Timeouts]) -> tuple[WaitLevel, ...]:
    """In rising order, each at least as long in both as the one before; one if there are no providers."""
    distinct = sorted({(each.first_byte_s, each.idle_s) for each in all_timeouts})
    if not distinct:
        return (WaitLevel(),)
    rising: list[WaitLevel] = []
    for first_byte_s, idle_s in distinct:
        before = rising[-1] if rising else WaitLevel(0, 0)
        level = WaitLevel(max(before.first_byte_s, first_byte_s), max(before.idle_s, idle_s))
        if level != before:
            rising.append(level)
    return (*rising[: MAX_LEVELS - 1], rising[-1]) if len(rising) > MAX_LEVELS else tuple(rising)


def level_of(timeouts: Timeouts, levels: Sequence[WaitLevel]) -> int:
    """The shortest level that covers the provider."""
    return next(number for number, level in enumerate(levels) if level.covers(timeouts))
