"""What changes in the shared memory, and by which rules: in Python, as `script.SCRIPT` has them in Redis."""

from collections.abc import Sequence
from functools import reduce
from typing import Final

import msgspec
from msgspec.structs import replace

from limpet_extproc.memory import (
    PENDING_S,
    ConversationPace,
    LastFailure,
    Remembered,
    ServedTurn,
    Warm,
    only_pace,
    with_failure,
    withdrawn,
    without,
)
from limpet_extproc.memory.head_table import HeadChange
from limpet_extproc.memory.objects import ObjectPlace
from limpet_extproc.memory.served import with_warm

SHOWN_S: Final = 3600.0
"""How long a cold conversation is kept, so that the reason of its next request can be that it went cold."""


class StoredConversation(msgspec.Struct, frozen=True, gc=False):
    """One conversation as stored in Redis, with the names of providers."""

    pending: str | None = None
    since_s: float = 0.0
    """When the pending request was sent."""
    warm: tuple[Warm, ...] = ()
    failure: LastFailure | None = None
    pace: ConversationPace = ConversationPace()
    cause: str = ""

    def remembered(self) -> Remembered:
        """As decisions see it."""
        return Remembered(self.warm, self.pending, self.failure, self.pace, self.cause)


NOTHING: Final = StoredConversation()


class Expect(msgspec.Struct, frozen=True, gc=False):
    """See `Memory.expect`."""

    provider: str
    now_s: float


class Remember(msgspec.Struct, frozen=True, gc=False):
    """See `Memory.remember`."""

    warm: Warm
    max_providers: int
    now_s: float
    turn: ServedTurn | None = None


class Forget(msgspec.Struct, frozen=True, gc=False):
    """See `Memory.forget`."""

    provider: str


class Withdraw(msgspec.Struct, frozen=True, gc=False):
    """See `Memory.withdraw`."""

    provider: str


class NoteFailure(msgspec.Struct, frozen=True, gc=False):
    """See `Memory.note_failure`."""

    failure: LastFailure


class Clear(msgspec.Struct, frozen=True, gc=False):
    """A lookup found the conversation over at `now_s`; if it still is, it is deleted."""

    now_s: float


class NotePlace(msgspec.Struct, frozen=True, gc=False):
    """See `ObjectMemory.note_place`; of a key that is an object's."""

    place: ObjectPlace


MemoryChange = Expect | Remember | Forget | Withdraw | NoteFailure | Clear | NotePlace | HeadChange


def changed(state: StoredConversation, change: MemoryChange) -> StoredConversation:
    """The conversation after a change, by the rules of `script.SCRIPT`."""
    match change:
        case Expect(provider, now_s):
            return state if state.warm else replace(state, pending=provider, since_s=now_s)
        case Remember(warm, max_providers, now_s, turn):
            return _stored(with_warm(state.remembered(), warm, max_providers, now_s, turn))
        case Forget(provider):
            rest = without(state.remembered(), provider)
            return _stored(rest, state.since_s) if rest else NOTHING
        case Withdraw(provider):
            left = withdrawn(state.remembered(), provider)
            return _stored(left, state.since_s) if left else NOTHING
        case NoteFailure(failure):
            return _stored(with_failure(state.remembered(), failure), state.since_s)
        case Clear(now_s):
            left = only_pace(state.remembered())
            return state if not is_over(state, now_s) else _stored(left) if left else NOTHING
        case _:  # of another kind of key
            return state


def _stored(remembered: Remembered, since_s: float = 0.0) -> StoredConversation:
    pending = remembered.pending
    return StoredConversation(
        pending,
        since_s if pending else 0.0,
        remembered.warm,
        remembered.failure,
        remembered.pace,
        remembered.cause,
    )


def all_changed(state: StoredConversation, changes: Sequence[MemoryChange]) -> StoredConversation:
    """The conversation after several changes."""
    return reduce(changed, changes, state)


def is_over(state: StoredConversation, now_s: float) -> bool:
    """Whether all its providers have gone cold, the outcome of its first request never came, or its failure is old.

    Of one that is over, only its pace is left.
    """
    if state.warm:
        return all(warm.until_s <= now_s for warm in state.warm)
    if state.pending is not None:
        return now_s - state.since_s > PENDING_S
    return state.failure is not None and not state.remembered().failed_lately(now_s)
