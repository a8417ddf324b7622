"""A conversation as its page tells it: its turns in a row, where it switched, and where it is warm."""

from collections.abc import Sequence

import msgspec

from limpet_activity.store.facts import sums_of
from limpet_activity.store.port import Sums
from limpet_activity.web.course import why_it_switched
from limpet_extproc.contract.activity import ActivityRecord


class ShownTurn(msgspec.Struct, frozen=True):
    """One request of the conversation."""

    number: int
    record: ActivityRecord
    gap_s: float | None
    """Since the one before."""
    cached: float | None
    """The share of its prompt that was read from the cache, 0 to 1; None: not reported."""
    switched_from: str
    """Who served the turn before, where that was another one."""


class Switch(msgspec.Struct, frozen=True):
    """A turn that another provider served than the one before."""

    turn: ShownTurn
    why: str


class WarmPlace(msgspec.Struct, frozen=True):
    """A provider whose cache has, or had, the conversation."""

    provider: str
    tokens: int | None
    until_s: float


class ConversationView(msgspec.Struct, frozen=True):
    """What the page shows."""

    turns: Sequence[ShownTurn]
    switches: Sequence[Switch]
    places: Sequence[WarmPlace]
    """The longest warm first."""
    providers: Sequence[str]
    """That served a turn."""
    sums: Sums


def conversation_view(records: Sequence[ActivityRecord]) -> ConversationView:
    """Of its last turns, the oldest first."""
    turns: list[ShownTurn] = []
    before: ActivityRecord | None = None
    served_by = ""
    for number, record in enumerate(records, 1):
        moved = served_by if record.provider and served_by and record.provider != served_by else ""
        gap_s = record.time_s - before.time_s if before is not None else None
        turns.append(ShownTurn(number, record, gap_s, cached_share(record), moved))
        before, served_by = record, record.provider or served_by
    switches = [Switch(turn, why_it_switched(turn.record, turn.switched_from)) for turn in turns if turn.switched_from]
    return ConversationView(
        turns, switches, warm_places(records), sorted({r.provider for r in records} - {""}), sums_of(records)
    )


def cached_share(record: ActivityRecord) -> float | None:
    """Of the prompt, from 0 to 1."""
    if record.cached_tokens is None or not record.prompt_tokens:
        return None
    return min(max(record.cached_tokens / record.prompt_tokens, 0.0), 1.0)


def warm_places(records: Sequence[ActivityRecord]) -> list[WarmPlace]:
    """By the last turn that each provider served: until when its cache keeps that one."""
    places: dict[str, WarmPlace] = {}
    for record in records:
        for each in record.considered:
            if each.provider == record.provider and each.warm_until_s:
                places[each.provider] = WarmPlace(each.provider, record.prompt_tokens, each.warm_until_s)
    return sorted(places.values(), key=lambda place: -place.until_s)
