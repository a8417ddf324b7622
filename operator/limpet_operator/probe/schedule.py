"""Which probe of which provider is due when. Pure: time and randomness are passed in.

Every interval is a little longer or shorter than written, so that probes that began together drift apart. What is new
or has changed is probed soon, and as often as needed until its verdict is known, but many new ones one after another.
What could not be sent is tried again soon as well, but after some times less and less often: a part of the way to the
provider may have been taken, and a completion costs money.
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
SOON_AGAIN: Final = 4
"""So many probes that were not sent are each tried again as soon; then each pause is twice the one before."""
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
    started_s: float | None = None
    """Of the last probe."""
    unsent: int = 0
    """Newest probes in a row that were not sent."""


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

    def next_s(self, after_s: float = float("-inf")) -> float | None:
        """When the next one is due that is not due by `after_s`; None: nothing is waiting."""
        waiting = (slot.due_s for slot in self.slots.values() if slot.due_s is not None and slot.due_s > after_s)
        return min(waiting, default=None)


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
        due_s = now_s + (position + random.random()) * APART_S
        slot = slots.get(pair, Slot(wanted[pair], due_s))
        if slot.started_s is not None:
            # However often it is changed.
            due_s = max(due_s, slot.started_s + min(wanted[pair], UNSETTLED_S))
        slots[pair] = replace(slot, due_s=_no_later(slot.due_s, due_s), unsent=0)
    return ProbeSchedule(slots)


def reachable(schedule: ProbeSchedule, now_s: float, random: Random) -> ProbeSchedule:
    """There is a way for probes again: what could not be sent is tried again soon."""
    unsent = [pair for pair, slot in schedule.slots.items() if slot.unsent and slot.due_s is not None]
    return planned(schedule, {pair: slot.interval_s for pair, slot in schedule.slots.items()}, unsent, now_s, random)


def started(schedule: ProbeSchedule, pairs: Iterable[Pair], now_s: float) -> ProbeSchedule:
    """These are under way since now: none of them is due before it has ended."""
    begun = {pair: replace(schedule.slots[pair], due_s=None, started_s=now_s) for pair in pairs}
    return ProbeSchedule({**schedule.slots, **begun})


def ended(
    schedule: ProbeSchedule, pair: Pair, now_s: float, random: Random, *, settled: bool = True, sent: bool = True
) -> ProbeSchedule:
    """One has ended; the next is due an interval after it was started. Nothing happens if it is no longer wanted."""
    slot = schedule.slots.get(pair)
    if slot is None or slot.started_s is None:
        return schedule
    unsent = 0 if sent else slot.unsent + 1
    pause_s = slot.interval_s if settled else min(slot.interval_s, UNSETTLED_S * _growth(unsent))
    due_s = max(now_s, slot.started_s + pause_s * random.uniform(1 - JITTER, 1 + JITTER))
    return ProbeSchedule({**schedule.slots, pair: replace(slot, due_s=due_s, unsent=unsent)})


def _growth(unsent: int) -> int:
    return 1 << min(30, max(0, unsent - SOON_AGAIN))


def _no_later(due_s: float | None, latest_s: float) -> float | None:
    """A shorter interval holds from now on."""
    return None if due_s is None else min(due_s, latest_s)
