"""What is wrong with each provider in its own words: the last thing that a person has to put right.

A provider that refuses our key, or has no model of that name, goes on failing behind failover until someone looks. So
the last such answer is kept until another answer shows that it no longer holds, or for a while, and is reported to the
operator with the provider's health. Of failures that pass unaided the last one is kept as well: it is reported as the
reason when the provider goes out.
"""

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from limpet_extproc.contract.attempt import OF_ONE_API, OF_THE_PROVIDER, SETTLED_BY_PEOPLE, Attempt, Cause
from limpet_extproc.contract.health_stream import Probed

EXPIRES_S: Final = 300.0
"""How long a complaint about a model stands without being repeated: it may be that no client asks for it any more."""

HEARD_LATE_S: Final = 10.0
"""By how much a failure may be heard of later than it happened, so after the probes have already recovered."""


class Complaint(msgspec.Struct, frozen=True, gc=False):
    """A provider's answer, and the last time it was given (Unix seconds)."""

    cause: Cause
    status: int
    message: str
    at_s: float
    api: str = ""
    """What was asked for, as `apis.Api` names it."""


class Complaints:
    """Those of all providers, as one worker sees them. `on_change` runs when one begins, changes or ends.

    One that concerns a model alone is kept for that model; where `model` is empty, the provider with all its models
    is meant.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._standing: dict[tuple[str, str], Complaint] = {}
        self._last: dict[tuple[str, str], Complaint] = {}
        self._on_change = on_change

    def add(self, attempt: Attempt, now_s: float, api: str = "") -> None:
        """Keep what an attempt failed with."""
        if attempt.outcome not in ("failed", "limited") or not attempt.cause:
            return
        scope = (attempt.provider, "" if attempt.cause in OF_THE_PROVIDER else attempt.model)
        new = Complaint(attempt.cause, attempt.status, attempt.message, now_s, api)
        self._last[scope] = new
        if attempt.cause not in SETTLED_BY_PEOPLE:
            return
        before = self._standing.get(scope)
        if before is None or (before.cause, before.status, before.api) != (new.cause, new.status, new.api):
            self._standing[scope] = new
            self._on_change()
        else:
            # The first words are kept: they may contain the number of the request, and each answer would be a change.
            self._standing[scope] = msgspec.structs.replace(before, at_s=now_s)

    def resolve(self, provider: str, model: str, api: str = "") -> None:
        """Drop what a successful attempt shows to be over: what concerns all models, and what concerns this one."""
        if not self._standing:
            return
        ended = False
        for scope in dict.fromkeys(((provider, ""), (provider, model))):
            found = self._standing.get(scope)
            if found is not None and not (found.cause in OF_ONE_API and found.api != api):
                del self._standing[scope]
                ended = True
        if ended:
            self._on_change()

    def resolve_probed(self, probed: Iterable[Probed], now_s: float) -> None:
        """Drop what good probes that were sent later show to be over.

        Of one without a model only if it was not good all the while: its path may need no key.
        """
        ended = False
        for each in probed:
            if each.good_age_s is None:
                continue
            for scope in dict.fromkeys(((each.provider, ""), (each.provider, each.model))):
                last = self._last.get(scope)
                if last is None or last.cause in OF_ONE_API or last.at_s >= now_s - each.good_age_s:
                    continue
                if each.model or each.since_s >= last.at_s - HEARD_LATE_S:
                    del self._last[scope]
                    ended |= self._standing.pop(scope, None) is not None
        if ended:
            self._on_change()

    def standing(self, provider: str, model: str, now_s: float) -> Complaint | None:
        """What a person has to put right there."""
        found = self._standing.get((provider, model))
        over = found is not None and model and now_s >= found.at_s + EXPIRES_S
        return None if over else found

    def last(self, provider: str, model: str) -> Complaint | None:
        """The last failure, whatever the cause; for what is out or has never answered."""
        return self._last.get((provider, model))

    def standing_scopes(self) -> frozenset[tuple[str, str]]:
        """Providers and models with a standing complaint."""
        return frozenset(self._standing)
