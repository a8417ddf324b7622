"""Which probe of which provider is due when. Pure: time and randomness are passed in.

Every interval is a little longer or shorter than written, so that probes that began together drift apart. What is new
or has changed is probed soon, and as often as needed until its verdict is known, but many new ones one after another.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final, NamedTuple

from limpet_operator.resources.problem import ObjectKey

JITTER: Final = 0.1
"""Share of an interval by which it may be longer or shorter."""
UNSETTLED_S: Final = 1.0
"""The longest interval until the first verdict, or until it is known what a change did."""
APART_S: Final = 0.02
"""New probes start so far apart on the average: a thousand providers take twenty seconds."""


class Pair(NamedTuple):
    """One HealthProbe and one of its providers."""

    probe: ObjectKey
    provider: str


@dataclass(frozen=True, slots=True)
class Slot:
    """When a pair is due; None: a probe of it is under way."""

    interval_s: float
    due_s: float | None


@dataclass(frozen=True, slots=True)
class ProbeSchedule:
    """All pairs that are probed. Times are of any steady clock."""

    slots: Mapping[Pair, Slot] = field(default_factory=dict)

    def due(self, now_s: float) -> tuple[Pair, ...]:
        """Those whose time has come, the longest overdue first."""
        due = (
            (slot.due_s, pair) for pair, slot in self.slots.items() if slot.due_s is not None and slot.due_s <= now_s
        )
        return tuple(pair for _, pair in sorted(due))

    def next_s(self) -> float | None:
        """When the next one is due; None: nothing is waiting."""
        return min((slot.due_s for slot in self.slots.values() if slot.due_s is not None), default=None)


def planned(
    schedule: ProbeSchedule, wanted: Mapping[Pair, float], changed: Collection[Pair], now_s: float, random: Random
) -> ProbeSchedule:
    """For these pairs with their intervals, from now on: what is new or `changed` starts soon, the others go on."""
    slots = {
        pair: replace(slot, interval_s=wanted[pair], due_s=_no_later(slot.due_s, now_s + wanted[pair]))
        for pair, slot in schedule.slots.items()
        if pair in wanted
    }
    soon = [pair for pair in wanted if pair not in slots or (pair in changed and slots[pair].due_s is not None)]
    random.shuffle(soon)
    for position, pair in enumerate(soon):
        slots[pair] = Slot(wanted[pair], now_s + (position + random.random()) * APART_S)
    return ProbeSchedule(slots)


def started(schedule: ProbeSchedule, pairs: Iterable[Pair]) -> ProbeSchedule:
    """These are under way: none of them is due before it has ended."""
    return ProbeSchedule({**schedule.slots, **{pair: replace(schedule.slots[pair], due_s=None) for pair in pairs}})


def ended(
    schedule: ProbeSchedule, pair: Pair, started_s: float, now_s: float, settled: bool, random: Random
) -> ProbeSchedule:
    """One has ended; the next is due an interval after it was started. Nothing happens if it is no longer wanted."""
    slot = schedule.slots.get(pair)
    if slot is None:
        return schedule
    interval_s = slot.interval_s if settled else min(slot.interval_s, UNSETTLED_S)
    due_s = max(now_s, started_s + interval_s * random.uniform(1 - JITTER, 1 + JITTER))
    return ProbeSchedule({**schedule.slots, pair: replace(slot, due_s=due_s)})


def _no_later(due_s: float | None, latest_s: float) -> float | None:
    """A shorter interval holds from now on."""
    return None if due_s is None else min(due_s, latest_s)
