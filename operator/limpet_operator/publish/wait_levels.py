"""How long a request waits for its providers: in Envoy that belongs to a route, so their timeouts become few levels.

A request waits as long as the slowest provider of its order may take: a slow self-hosted model does not lengthen the
wait at fast vendors that it is not tried together with, and no provider is ever cut short by another's timeouts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from limpet_operator.resources.provider import Timeouts

MAX_LEVELS: Final = 4
"""Each costs every request a few comparisons; what waits longer than the last but one shares the last."""


@dataclass(frozen=True, slots=True)
class WaitLevel:
    """Seconds of silence: before a whole answer, before the first byte of a streamed one, and within one."""

    unstreamed_s: float = 600.0
    first_byte_s: float = 600.0
    idle_s: float = 120.0

    def before_answer_s(self, stream: bool) -> float:
        """Until the first byte."""
        return self.first_byte_s if stream else self.unstreamed_s

    def within_answer_s(self, stream: bool) -> float:
        """The longest gap: Envoy counts it from the request on, so it cannot be shorter than the wait before."""
        return max(self.idle_s, self.before_answer_s(stream) + 1)

    def covers(self, timeouts: Timeouts) -> bool:
        """Whether it never cuts a provider with these timeouts short."""
        return (
            self.unstreamed_s >= timeouts.unstreamed_s
            and self.first_byte_s >= timeouts.first_byte_s
            and self.idle_s >= timeouts.idle_s
        )


def wait_levels(all_timeouts: Iterable[Timeouts]) -> tuple[WaitLevel, ...]:
    """In rising order, each at least as long in everything as the one before; one if there are no providers."""
    distinct = sorted({(each.unstreamed_s, each.first_byte_s, each.idle_s) for each in all_timeouts})
    if not distinct:
        return (WaitLevel(),)
    rising: list[WaitLevel] = []
    for each in distinct:
        before = rising[-1] if rising else WaitLevel(0, 0, 0)
        level = WaitLevel(
            max(before.unstreamed_s, each[0]), max(before.first_byte_s, each[1]), max(before.idle_s, each[2])
        )
        if level != before:
            rising.append(level)
    return (*rising[: MAX_LEVELS - 1], rising[-1]) if len(rising) > MAX_LEVELS else tuple(rising)


def level_of(timeouts: Timeouts, levels: Sequence[WaitLevel]) -> int:
    """The shortest level that covers the provider."""
    return next(number for number, level in enumerate(levels) if level.covers(timeouts))
