"""What is wrong with each provider in its own words: the last thing that a person would have to put right.

A provider that refuses our key, or does not know a model under that name, fails as long as nobody looks; failover hides
it. So the last such answer is kept until an answer shows that it no longer holds, or for a while, and travels to
the operator beside what is known of the provider's health. Of failures that pass by themselves the last one is kept
too, to be told as the reason when the provider goes out.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from limpet_extproc.contract.attempt import Attempt, Cause

SETTLED_BY_PEOPLE: Final[frozenset[Cause]] = frozenset({"CredentialRefused", "NoCredit", "ModelNotFound", "Redirected"})
"""Causes that stay until somebody changes a key, an account, a name or a URL. They are told at the first time."""

_OF_ONE_MODEL: Final[frozenset[Cause]] = frozenset({"ModelNotFound"})
"""Other models of the provider may go on well, so only an answer of this model says that it is over."""

KEPT_S: Final = 300.0
"""So long a complaint about a model stands without being heard again: perhaps nobody can ask for it any more."""


class Complaint(msgspec.Struct, frozen=True, gc=False):
    """What a provider answered, and when it did so last (Unix seconds)."""

    cause: Cause
    status: int
    says: str
    model: str
    at_s: float


class Complaints:
    """Those of all providers, as one worker hears them. `on_news` runs when one begins, changes or ends."""

    def __init__(self, on_news: Callable[[], None]) -> None:
        self._standing: dict[str, Complaint] = {}
        self._last: dict[str, Complaint] = {}
        self._on_news = on_news

    def heard(self, attempt: Attempt, now_s: float) -> None:
        """An attempt that was no success."""
        if attempt.outcome not in ("failed", "limited") or not attempt.cause:
            return
        new = Complaint(attempt.cause, attempt.status, attempt.says, attempt.model, now_s)
        self._last[attempt.provider] = new
        if attempt.cause not in SETTLED_BY_PEOPLE:
            return
        before = self._standing.get(attempt.provider)
        if before is None or (before.cause, before.status) != (new.cause, new.status):
            self._standing[attempt.provider] = new
            self._on_news()
        else:
            # Its words may hold the number of the request. They stay, or each answer would be news.
            self._standing[attempt.provider] = msgspec.structs.replace(before, model=new.model, at_s=now_s)

    def answered(self, provider: str, model: str) -> None:
        """An attempt succeeded."""
        standing = self._standing.get(provider)
        if standing is not None and (standing.cause not in _OF_ONE_MODEL or standing.model in ("", model)):
            del self._standing[provider]
            self._on_news()

    def standing(self, provider: str, now_s: float) -> Complaint | None:
        """What a person has to put right there, as far as is known now."""
        found = self._standing.get(provider)
        over = found is not None and found.cause in _OF_ONE_MODEL and now_s >= found.at_s + KEPT_S
        return None if over else found

    def last(self, provider: str) -> Complaint | None:
        """How it failed last, whatever the cause; for a provider that is out or never gave an answer."""
        return self._last.get(provider)

    def providers(self) -> frozenset[str]:
        """Those that a complaint stands against."""
        return frozenset(self._standing)
