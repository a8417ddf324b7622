"""Whether an object's status is to be written now, with what, and when to look again without being told of a change.

No I/O: what is remembered of an object between two looks is a value that the caller keeps and passes in.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from limpet_operator.planning.finding import Finding
from limpet_operator.resources.problem import ObjectKey
from limpet_operator.sources.cluster_store import StoredObject
from limpet_operator.status.conditions import as_before, desired_status, difference, steady, without_history
from limpet_operator.status.inputs import StatusInputs

_LOOK_AGAIN_S: Final = 3600.0
"""At least so often, where something changes with the time of day: wall clocks are set."""


@dataclass(slots=True)
class WriteState:
    """What is remembered of an object between two looks; times on the monotonic clock."""

    made_of: tuple[object, ...] | None = None
    """What its status depended on at the last look."""
    answer: StoredObject | None = None
    """The object as it was after our last write, or when it was read after a conflict."""
    sent: object = None
    """What that write wanted, without history: an older CRD may drop a part of it, which must not be sent for ever."""
    left: Mapping[str, Any] = field(default_factory=dict)
    """The status as that write left it."""
    less_known_since_s: float | None = None
    not_before_s: float = -math.inf
    failures: int = 0

    def newest(self, held: StoredObject | None) -> StoredObject | None:
        """The object as last heard of, by the watch or by an answer. Versions of one object are ordered."""
        if held is None or self.answer is None or self.answer.uid != held.uid:
            return held
        return self.answer if self.answer.resource_version > held.resource_version else held


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be written, and on top of what. An empty `patch`: nothing."""

    on: StoredObject
    wanted: Mapping[str, Any]
    patch: Mapping[str, Any]
    look_again_s: float | None
    """When it is to be looked at again (monotonic); None: when something changes."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Now, on both clocks."""

    wall: datetime
    monotonic_s: float


def draft(
    outlook: StatusInputs, key: ObjectKey, held: StoredObject, memory: WriteState, at: Moment, hold_s: float
) -> Draft | None:
    """None: the plan is of an older spec than `held`, and a newer plan is on its way."""
    generation = outlook.generation(key)
    if generation is not None and generation != held.generation:
        return None
    told, look_again_s = _steadied(held, memory, outlook.findings(key, at.wall), at.monotonic_s, hold_s)
    wanted = desired_status(held.status, told, held.generation, at.wall, outlook.prices_read(key))
    if cache := outlook.cache(key):
        wanted["cache"] = cache
    changes_at = outlook.changes_at(key)
    if changes_at is not None and changes_at > at.wall:
        look_again_s = at.monotonic_s + min((changes_at - at.wall).total_seconds() + 1.0, _LOOK_AGAIN_S)
    patch = difference(held.status, wanted)
    if memory.sent == without_history(wanted) and memory.left == held.status:
        patch = {}
    return Draft(held, wanted, patch, look_again_s)


def _steadied(
    held: StoredObject, memory: WriteState, told: list[Finding], now_s: float, hold_s: float
) -> tuple[list[Finding], float | None]:
    """With what was known before, for `hold_s`, where now only less is known; and until when."""
    shaky = [finding for finding in told if steady(held.status, finding, held.generation)]
    if not shaky:
        memory.less_known_since_s = None
        return told, None
    if memory.less_known_since_s is None:
        memory.less_known_since_s = now_s
    until_s = memory.less_known_since_s + hold_s
    if now_s >= until_s:
        return told, None
    return [as_before(held.status, finding) if finding in shaky else finding for finding in told], until_s
