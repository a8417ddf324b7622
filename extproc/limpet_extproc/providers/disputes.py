"""Where this gateway finds a provider well or unwell and others tell the opposite: one of the ways there is broken.

The own way is what this gateway's requests take, so for a while its own outcomes have the last word. Until there are
some, what others tell counts: that is how a provider which dies costs all gateways three failures, not three each.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

Scope: TypeAlias = tuple[str, str]
"""A provider and one of its models; without a model: the provider with all of them."""

DISPUTED_S: Final = 300.0
"""So long after the last own outcome it still has the last word."""
MOST_HEARD: Final = 2
"""Failures of others that put off our own trial, one after another."""


class Dispute(msgspec.Struct, frozen=True, gc=False):
    """What is known of one scope beyond its state. 0: has not happened."""

    well_s: float = 0.0
    """The last own answer, since one of these brought it back."""
    told_well_s: float = 0.0
    """When an answer of another gateway brought it back; there has been no own outcome since."""
    unwell_s: float = 0.0
    """The last own failure, since one of these followed such a return."""
    heard: int = 0
    """So much of others has prolonged the present trouble."""
    heard_s: float = 0.0
    """The last of it."""


_NONE: Final = Dispute()


class Disputes:
    """Of all providers. Times are those of the tracker's clock."""

    def __init__(self) -> None:
        self._by_scope: dict[Scope, Dispute] = {}

    @property
    def known(self) -> int:
        """Scopes of which anything is kept."""
        return len(self._by_scope)

    def failed(self, scope: Scope, now_s: float) -> None:
        """An own attempt failed."""
        known = self._by_scope.pop(scope, _NONE)
        if known.told_well_s or known.unwell_s:
            self._by_scope[scope] = Dispute(unwell_s=now_s)

    def answered(self, scope: Scope, now_s: float, *, returned: bool) -> None:
        """An own attempt got an answer, which `returned` the provider or not."""
        known = self._by_scope.get(scope)
        if known is None and not returned:
            return
        if returned or (known is not None and known.well_s):
            self._by_scope[scope] = Dispute(well_s=now_s)
        elif known is not None and known.heard:
            self._by_scope[scope] = Dispute(heard=known.heard, heard_s=known.heard_s)
        else:
            self._by_scope.pop(scope, None)

    def told_well(self, scope: Scope, now_s: float) -> None:
        """An answer at another gateway brought it back."""
        self._by_scope[scope] = Dispute(told_well_s=now_s)

    def heard(self, scope: Scope, now_s: float) -> None:
        """A failure at another gateway changed the state of one that is in trouble."""
        known = self._by_scope.get(scope, _NONE)
        self._by_scope[scope] = msgspec.structs.replace(known, heard=known.heard + 1, heard_s=now_s)

    def found_well(self, scope: Scope, now_s: float) -> bool:
        """Whether own answers say that it is well, so that failures at other gateways do not count."""
        known = self._by_scope.get(scope)
        return known is not None and known.well_s > 0.0 and now_s < known.well_s + DISPUTED_S

    def found_unwell(self, scope: Scope, now_s: float) -> bool:
        """Whether own failures say that it is unwell, so that answers at other gateways do not count."""
        known = self._by_scope.get(scope)
        return known is not None and known.unwell_s > 0.0 and now_s < known.unwell_s + DISPUTED_S

    def heard_enough(self, scope: Scope) -> bool:
        """Whether the next trial is to be one of our own."""
        known = self._by_scope.get(scope)
        return known is not None and known.heard >= MOST_HEARD

    def drop(self, gone: Callable[[Scope], bool]) -> None:
        """Drop what concerns these."""
        for scope in [scope for scope in self._by_scope if gone(scope)]:
            del self._by_scope[scope]

    def sweep(self, now_s: float) -> None:
        """Drop what is over."""
        for scope, known in list(self._by_scope.items()):
            last_s = max(known.well_s, known.told_well_s, known.unwell_s, known.heard_s)
            if now_s >= last_s + DISPUTED_S:
                del self._by_scope[scope]
