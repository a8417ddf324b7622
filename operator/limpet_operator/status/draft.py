"""Whether an object's status must be written now, with what, and when to look again although nothing has changed.

No I/O: what is remembered of an object between two writes is a value that the caller keeps and passes in.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from limpet_operator.planning.finding import Finding
from limpet_operator.resources.problem import ObjectKey
from limpet_operator.sources.cluster_store import StoredObject
from limpet_operator.status.conditions import (
    as_before,
    desired_health,
    desired_status,
    desired_window,
    difference,
    steady,
    timestamp,
    without_history,
)
from limpet_operator.status.inputs import StatusInputs

_LONGEST_WAIT_S: Final = 3600.0
"""Wall clocks are set, so what changes with the time of day is looked at this often at least."""


@dataclass(slots=True)
class WriteState:
    """What is remembered of an object between two writes; times on the monotonic clock."""

    fingerprint: tuple[object, ...] | None = None
    """What its status depended on at the last comparison."""
    written: StoredObject | None = None
    """The object as it was after our last write, or when it was read after a conflict."""
    sent: object = None
    """What that write wanted, without history: an older CRD may drop a part of it, which must not be sent for ever."""
    status_after: Mapping[str, Any] = field(default_factory=dict)
    """The status as that write left it."""
    less_known_since_s: float | None = None
    not_before_s: float = -math.inf
    failures: int = 0

    def newest(self, stored: StoredObject | None) -> StoredObject | None:
        """The newest version of the object, from the watch or from an answer. Versions of one object are ordered."""
        if stored is None or self.written is None or self.written.uid != stored.uid:
            return stored
        return self.written if self.written.resource_version > stored.resource_version else stored


@dataclass(frozen=True, slots=True)
class Draft:
    """A status to write on top of a version of the object. An empty `patch`: nothing to write."""

    base: StoredObject
    wanted: Mapping[str, Any]
    patch: Mapping[str, Any]
    again_after_s: float | None
    """Seconds until the status changes with time alone; None: it does not."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Now, on both clocks."""

    wall: datetime
    monotonic_s: float


def draft(
    inputs: StatusInputs, key: ObjectKey, stored: StoredObject, state: WriteState, at: Moment, hold_s: float
) -> Draft | None:
    """None: the plan is of another spec than `stored`, and a newer plan is on its way."""
    generation = inputs.generation(key)
    if generation is not None and generation != stored.generation:
        return None
    found = inputs.findings(key, at.wall)
    findings, again_after_s = _steadied(stored, state, found, at.monotonic_s, hold_s)
    wanted = desired_status(stored.status, findings, stored.generation, at.wall)
    if key.kind == "Provider":
        read = inputs.prices_read(key)
        wanted["price"] = None if read is None else {"retrieved": timestamp(read)}
        health = inputs.health(key)
        if health.finding in findings:
            wanted["health"] = desired_health(stored.status, health, at.wall)
        if cache := inputs.cache(key):
            wanted["cache"] = cache
    elif key.kind == "HealthProbe" and findings == found:
        wanted["providers"] = inputs.providers_up(key)
    elif key.kind == "Pricing":
        wanted["window"] = desired_window(inputs.window(key, at.wall))
    changes_at = inputs.changes_at(key, at.wall)
    if changes_at is not None:
        again_after_s = min((changes_at - at.wall).total_seconds() + 1.0, _LONGEST_WAIT_S)
    patch = difference(stored.status, wanted)
    if state.sent == without_history(wanted) and state.status_after == stored.status:
        patch = {}
    return Draft(stored, wanted, patch, again_after_s)


def _steadied(
    stored: StoredObject, state: WriteState, findings: list[Finding], now_s: float, hold_s: float
) -> tuple[list[Finding], float | None]:
    """Findings that merely know less than before give way to those for `hold_s`; and how long that still lasts."""
    less_known = [finding for finding in findings if steady(stored.status, finding, stored.generation)]
    if not less_known:
        state.less_known_since_s = None
        return findings, None
    if state.less_known_since_s is None:
        state.less_known_since_s = now_s
    remaining_s = state.less_known_since_s + hold_s - now_s
    if remaining_s <= 0:
        return findings, None
    held = [as_before(stored.status, finding) if finding in less_known else finding for finding in findings]
    return held, remaining_s
