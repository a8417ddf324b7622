"""What is wrong with each provider in its own words: the last thing that a person has to put right.

A provider that refuses our key, or has no model of that name, goes on failing behind failover until someone looks. So
the last such answer is kept until another answer shows that it no longer holds, or for a while, and is reported to the
operator with the provider's health. Of failures that pass unaided the last one is kept as well: it is reported as the
reason when the provider goes out.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from limpet_extproc.contract.attempt import Attempt, Cause

SETTLED_BY_PEOPLE: Final[frozenset[Cause]] = frozenset({"CredentialRefused", "NoCredit", "ModelNotFound", "Redirected"})
"""Causes that stay until a key, an account, a name or a URL is changed. They are reported the first time."""

_OF_ONE_MODEL: Final[frozenset[Cause]] = frozenset({"ModelNotFound"})
"""Other models of the provider may work, so only an answer of this model ends it."""

EXPIRES_S: Final = 300.0
"""How long a complaint about a model stands without being repeated: it may be that no client asks for it any more."""


class Complaint(msgspec.Struct, frozen=True, gc=False):
    """A provider's answer, and the last time it was given (Unix seconds)."""

    cause: Cause
    status: int
    message: str
    model: str
    at_s: float


class Complaints:
    """Those of all providers, as one worker sees them. `on_change` runs when one begins, changes or ends."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._standing: dict[str, Complaint] = {}
        self._last: dict[str, Complaint] = {}
        self._on_change = on_change

    def add(self, attempt: Attempt, now_s: float) -> None:
        """Keep what an attempt failed with."""
        if attempt.outcome not in ("failed", "limited") or not attempt.cause:
            return
        new = Complaint(attempt.cause, attempt.status, attempt.message, attempt.model, now_s)
        self._last[attempt.provider] = new
        if attempt.cause not in SETTLED_BY_PEOPLE:
            return
        before = self._standing.get(attempt.provider)
        if before is None or (before.cause, before.status) != (new.cause, new.status):
            self._standing[attempt.provider] = new
            self._on_change()
        else:
            # The first words are kept: they may contain the number of the request, and each answer would be a change.
            self._standing[attempt.provider] = msgspec.structs.replace(before, model=new.model, at_s=now_s)

    def resolve(self, provider: str, model: str) -> None:
        """Drop what a successful attempt shows to be over."""
        standing = self._standing.get(provider)
        if standing is not None and (standing.cause not in _OF_ONE_MODEL or standing.model in ("", model)):
            del self._standing[provider]
            self._on_change()

    def standing(self, provider: str, now_s: float) -> Complaint | None:
        """What a person has to put right there."""
        found = self._standing.get(provider)
        over = found is not None and found.cause in _OF_ONE_MODEL and now_s >= found.at_s + EXPIRES_S
        return None if over else found

    def last(self, provider: str) -> Complaint | None:
        """Its last failure, whatever the cause; for a provider that is out or has never answered."""
        return self._last.get(provider)

    def providers(self) -> frozenset[str]:
        """Those with a standing complaint."""
        return frozenset(self._standing)
